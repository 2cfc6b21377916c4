//! Who holds a token: read, its signature checked with a key of the issuer's, and remembered for a
//! moment.
//!
//! One task looks for the keys: at the start, at an interval, and when a token names a key that is not
//! known. It rests after each look, so no stranger's token can make it ask more often. The last keys it
//! got stay, however long their server is away.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use mainstay_context::Principal;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    jwks::{Faulty, Key, KeySet, NoKey},
    jwt::{Algorithm, Trust, Unproven},
    key_source::Source,
    verified::{Digest, Verified, digest},
};

/// How long it rests at least between two looks for keys.
pub const REST: Duration = Duration::from_secs(10);
/// How long a request waits for a look that is under way: less than the 2 s that it has by default,
/// whose end would be told in the place of what is the matter.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Why nobody comes in with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not good, for this reason.
    Token(&'static str),
    /// It cannot be told: the issuer does not answer, and no key that is known is the token's. It may be
    /// good, and must not be thrown away.
    KeysAway,
}

/// The tokens of one issuer.
pub struct Tokens {
    trust: Trust,
    state: Mutex<State>,
    /// Until when it rests after the last look; nothing before the first.
    rests: watch::Sender<Option<Instant>>,
    /// That somebody needs a key that is not known.
    wanted: Notify,
}

#[derive(Default)]
struct State {
    keys: Option<Held>,
    /// How often the keys were changed.
    changes: u64,
    verified: Verified,
    failures: u64,
    last_error: Option<String>,
}

struct Held {
    keys: Arc<KeySet>,
    since: Instant,
}

/// What is told of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysStatus {
    /// How many keys are known.
    pub keys: usize,
    /// How long ago they were got; `None` when they never were.
    pub age: Option<Duration>,
    /// How many looks for them failed.
    pub failures: u64,
    /// Why the last look failed, if it did.
    pub last_error: Option<String>,
}

impl Tokens {
    /// The tokens that this trust lets in, once there are keys.
    pub fn new(trust: Trust) -> Self {
        let (rests, wanted) = (watch::Sender::new(None), Notify::new());
        Self { trust, state: Mutex::default(), rests, wanted }
    }

    /// Looks for the keys at every interval, or sooner when they are needed, for as long as it is
    /// polled.
    pub async fn keep_fresh(&self, source: &Source, every: Duration) -> Infallible {
        loop {
            let found = source.ask().await;
            // Whoever asked meanwhile is answered by this look.
            let _asked = self.wanted.notified().now_or_never();
            self.take_up(found);
            let rests = Instant::now() + REST;
            self.rests.send_replace(Some(rests));
            sleep_until(rests).await;
            tokio::select! {
                () = sleep(every.saturating_sub(REST)) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// What is known of the keys now.
    pub fn status(&self) -> KeysStatus {
        let state = self.state();
        KeysStatus {
            keys: state.keys.as_ref().map_or(0, |held| held.keys.count()),
            age: state.keys.as_ref().map(|held| held.since.elapsed()),
            failures: state.failures,
            last_error: state.last_error.clone(),
        }
    }

    /// Who holds this token.
    pub(super) async fn verify(&self, token: &str, now: Timestamp) -> Result<Principal, Refused> {
        let digest = digest(token);
        if let Some(principal) = self.state().verified.get(&digest, now) {
            return Ok(principal);
        }
        let unproven = Unproven::read(token, &self.trust, now).map_err(Refused::Token)?;
        let (key, changes) = self.key(unproven.key.as_deref(), unproven.algorithm).await?;
        if !key.has_signed(unproven.message.as_bytes(), &unproven.signature) {
            return Err(Refused::Token("The signature of the token does not hold."));
        }
        self.remember(digest, &unproven, now, changes);
        Ok(unproven.principal)
    }

    /// The key of this name, and how often the keys were changed before it was looked up.
    async fn key(
        &self,
        name: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<(Arc<Key>, u64), Refused> {
        let mut answered = None;
        loop {
            match (self.find(name, algorithm), answered) {
                (Some(Ok(found)), _) => return Ok(found),
                (Some(Err(NoKey::Unnamed)), _) => {
                    return Err(Refused::Token("The token does not name its key (`kid`)."));
                }
                (Some(Err(NoKey::Unfit)), _) => {
                    return Err(Refused::Token("The key of the token signs in another way."));
                }
                (Some(Err(NoKey::Unknown)), Some(true)) => {
                    return Err(Refused::Token("The key of the token is not known here."));
                }
                (Some(Err(NoKey::Unknown)) | None, Some(_)) => return Err(Refused::KeysAway),
                (Some(Err(NoKey::Unknown)) | None, None) => {}
            }
            answered = Some(self.look_again().await);
        }
    }

    /// The key among those that are known; `None` while there are none.
    fn find(
        &self,
        name: Option<&str>,
        algorithm: Algorithm,
    ) -> Option<Result<(Arc<Key>, u64), NoKey>> {
        let state = self.state();
        let found = state.keys.as_ref()?.keys.find(name, algorithm);
        Some(found.map(|key| (key, state.changes)))
    }

    /// Waits until the keys were looked for, unless that was done a moment ago; tells whether they were
    /// there.
    async fn look_again(&self) -> bool {
        let mut rests = self.rests.subscribe();
        let is_resting = rests.borrow_and_update().is_some_and(|until| Instant::now() < until);
        if !is_resting {
            self.wanted.notify_one();
            if timeout(PATIENCE, rests.changed()).await.is_err() {
                return false;
            }
        }
        self.state().last_error.is_none()
    }

    fn remember(&self, digest: Digest, proven: &Unproven<'_>, now: Timestamp, changes: u64) {
        let mut state = self.state();
        // What was proven with a key of before may be false by now.
        if state.changes == changes {
            state.verified.add(digest, proven.principal.clone(), now, proven.ends);
        }
    }

    /// Uses the keys that were found; without any, the last ones stay.
    fn take_up(&self, found: Result<KeySet, String>) {
        let mut state = self.state();
        match found {
            Ok(keys) => {
                let before = state.keys.take();
                let same = before.filter(|held| held.keys.is_same(&keys)).map(|held| held.keys);
                if same.is_none() {
                    tracing::info!(keys = keys.count(), "new keys of the issuer taken up");
                    for Faulty { key, fault } in keys.faulty() {
                        tracing::warn!(kid = key, fault, "a key of the issuer cannot be used");
                    }
                    state.changes += 1;
                    state.verified.clear();
                }
                let keys = same.unwrap_or_else(|| Arc::new(keys));
                state.keys = Some(Held { keys, since: Instant::now() });
                state.last_error = None;
            }
            Err(error) => {
                tracing::warn!(error, "no keys of the issuer; those that are known stay");
                state.failures += 1;
                state.last_error = Some(error);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows whose tokens are taken, and nothing of them.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("trust", &self.trust).finish_non_exhaustive()
    }
}
