//! Who may use the API of a running service, and that it follows what changes: the key file, and the
//! keys of the issuer of tokens.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use mainstay::{
    lifecycle::{Lifecycle, Phase},
    metrics::Metrics,
    telemetry::error_chain,
};
use orders_api::auth::{Auth, Keys, Source, Tokens};
use serde_json::{Value, json};

use crate::{
    cli::Serve,
    config::{Config, Jwt},
    console::Failure,
    keys::{self, KeyFiles},
};

/// All that is known of who may come in.
pub(crate) struct Identities {
    pub(crate) auth: Arc<Auth>,
    /// The development key, when one was made.
    pub(crate) key: Option<String>,
    followed: Option<Followed>,
    tokens: Option<(Arc<Tokens>, Source, Duration)>,
    trouble: Arc<Trouble>,
}

/// Why the key file that is there is not used, if it is not.
type Trouble = Mutex<Option<String>>;

/// A key file that is looked at again and again.
struct Followed {
    files: KeyFiles,
    every: Duration,
    /// What was read last, whether it could be used or not.
    last: Option<keys::Texts>,
}

/// What the status page tells, once there is something to tell.
pub(crate) type Told = Arc<OnceLock<Box<dyn Fn() -> Value + Send + Sync>>>;

impl Identities {
    /// Reads who may come in.
    pub(crate) fn open(
        config: &Config,
        options: &Serve,
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let opened = keys::load(config, options)?;
        let jwt = config.auth.jwt.as_ref();
        let tokens = jwt.map(|jwt| tokens(jwt, metrics)).transpose()?;
        let shared = tokens.as_ref().map(|(tokens, ..)| Arc::clone(tokens));
        let every = config.auth.reload_every;
        let followed =
            opened.files.map(|(files, texts)| Followed { files, every, last: Some(texts) });
        let auth = Arc::new(Auth::new(opened.keys, shared, metrics));
        Ok(Self { auth, key: opened.development, followed, tokens, trouble: Arc::default() })
    }

    /// Follows what changes until the process drains, and lets the status page tell of it.
    pub(crate) fn follow(self, lifecycle: &Lifecycle, told: &Told) {
        let Self { auth, followed, tokens, trouble, .. } = self;
        let (known, seen) = (Arc::clone(&auth), Arc::clone(&trouble));
        let _set_once = told.set(Box::new(move || tell(&known, &seen))).is_ok();
        if let Some(followed) = followed {
            until_draining(lifecycle, "keys", followed.keep_fresh(auth, trouble));
        }
        if let Some((tokens, source, every)) = tokens {
            let work = async move { tokens.keep_fresh(&source, every).await };
            until_draining(lifecycle, "jwks", work);
        }
    }
}

fn until_draining(
    lifecycle: &Lifecycle,
    name: &'static str,
    work: impl Future<Output = Infallible> + Send + 'static,
) {
    let watched = lifecycle.clone();
    lifecycle.tasks().spawn(name, async move {
        tokio::select! {
            never = work => match never {},
            () = watched.reached(Phase::Draining) => {}
        }
    });
}

/// The tokens that are set, and where their keys are.
fn tokens(jwt: &Jwt, metrics: &Metrics) -> Result<(Arc<Tokens>, Source, Duration), Failure> {
    let source = match jwt.url()? {
        Some(url) => Source::server(&url, &jwt.client, metrics)?,
        None => Source::File(jwt.jwks_file.clone().unwrap_or_default()),
    };
    Ok((Arc::new(Tokens::new(jwt.trust()?)), source, jwt.refresh_every))
}

impl Followed {
    /// Takes up what changed for as long as it is polled.
    async fn keep_fresh(mut self, auth: Arc<Auth>, trouble: Arc<Trouble>) -> Infallible {
        loop {
            tokio::time::sleep(self.every).await;
            let last = self.last.take();
            let files = self.files.clone();
            // A file system may hang, and must hold up nothing else.
            let looked = tokio::task::spawn_blocking(move || look(&files, last)).await;
            let (texts, found) = looked.unwrap_or_else(|error| (None, Err(error.to_string())));
            self.last = texts;
            match found {
                Ok(Some(keys)) => {
                    let (count, peers) = keys.count();
                    auth.replace_keys(keys);
                    set(&trouble, None);
                    tracing::info!(keys = count, peers, "new key file taken up");
                }
                Ok(None) => {}
                Err(error) => {
                    if set(&trouble, Some(error.clone())).as_ref() != Some(&error) {
                        tracing::warn!(error, "key file refused; the keys of before stay");
                    }
                }
            }
        }
    }
}

/// What the files hold now, and the keys in it if they changed. Files that were refused are not read
/// again until they change.
fn look(
    files: &KeyFiles,
    last: Option<keys::Texts>,
) -> (Option<keys::Texts>, Result<Option<Keys>, String>) {
    match files.texts() {
        Err(error) => (None, Err(error_chain(&error))),
        Ok(texts) if last.as_ref() == Some(&texts) => (last, Ok(None)),
        // As one that is being written is for a moment; without any key it would still say so.
        Ok(texts) if texts.is_empty() => (None, Err("the key file is empty".to_owned())),
        Ok(texts) => {
            let keys = files.open(&texts).map(Some).map_err(|error| error_chain(&*error));
            (Some(texts), keys)
        }
    }
}

/// Puts the new state in the place of the one before, and gives that.
fn set(trouble: &Trouble, now: Option<String>) -> Option<String> {
    let mut held = trouble.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *held, now)
}

/// What the status page tells; no secret, and no name.
fn tell(auth: &Auth, trouble: &Trouble) -> Value {
    let (keys, peers) = auth.keys().count();
    let last_error = trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let tokens = auth.tokens().map(|status| {
        json!({
            "keys": status.keys,
            "age_seconds": status.age.map(|age| age.as_secs()),
            "failures": status.failures,
            "last_error": status.last_error,
        })
    });
    json!({ "keys": keys, "peers": peers, "last_error": last_error, "tokens": tokens })
}
