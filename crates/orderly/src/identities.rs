//! Who may use the API of a running service, and that it follows what changes: the key file, and the
//! keys of the issuer of tokens.

use std::{
    convert::Infallible,
    mem,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use mainstay::{
    client::http::Client,
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

/// How long files that changed must stay as they are before they are taken up.
const MOMENT: Duration = Duration::from_millis(200);

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
    seen: Seen,
}

/// What was seen of the files.
#[derive(Default)]
struct Seen {
    /// What was last taken up or refused.
    last: Option<keys::Texts>,
    /// What is there instead, and may be a part of what is still being written.
    next: Option<keys::Texts>,
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
        let followed = opened.files.map(|(files, texts)| Followed {
            files,
            every,
            seen: Seen { last: Some(texts), next: None },
        });
        let auth = Arc::new(Auth::new(opened.keys, shared, metrics));
        Ok(Self { auth, key: opened.development, followed, tokens, trouble: Arc::default() })
    }

    /// Follows what changes until the process drains, and lets the status page tell of it.
    pub(crate) fn follow(self, lifecycle: &Lifecycle, told: &Told) {
        let Self { auth, followed, tokens, trouble, .. } = self;
        let (known, seen) = (Arc::clone(&auth), Arc::clone(&trouble));
        let client = tokens.as_ref().and_then(|(_, source, _)| source.client().cloned());
        let now = move || tell(&known, &seen, client.as_ref());
        let _set_once = told.set(Box::new(now)).is_ok();
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
            let is_new = self.seen.next.is_some();
            tokio::time::sleep(if is_new { MOMENT.min(self.every) } else { self.every }).await;
            let (files, seen) = (self.files.clone(), mem::take(&mut self.seen));
            // A file system may hang, and must hold up nothing else.
            let looked = tokio::task::spawn_blocking(move || look(&files, seen)).await;
            let (seen, found) =
                looked.unwrap_or_else(|error| (Seen::default(), Err(error.to_string())));
            self.seen = seen;
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

/// What the files hold now, and the keys in it if they changed and were the same a moment ago. Files
/// that were refused are not tried again until they change.
fn look(files: &KeyFiles, seen: Seen) -> (Seen, Result<Option<Keys>, String>) {
    match files.texts() {
        Err(error) => (Seen::default(), Err(error_chain(&error))),
        Ok(texts) if seen.last.as_ref() == Some(&texts) => (Seen { next: None, ..seen }, Ok(None)),
        // The beginning of a file can be one too, and a key without its scopes opens everything.
        Ok(texts) if seen.next.as_ref() != Some(&texts) => {
            (Seen { next: Some(texts), ..seen }, Ok(None))
        }
        // As one that is being written may be for long; without any key it would still say so.
        Ok(texts) if texts.is_empty() => (Seen::default(), Err("the key file is empty".to_owned())),
        Ok(texts) => {
            let keys = files.open(&texts).map(Some).map_err(|error| error_chain(&*error));
            (Seen { last: Some(texts), next: None }, keys)
        }
    }
}

/// Puts the new state in the place of the one before, and gives that.
fn set(trouble: &Trouble, now: Option<String>) -> Option<String> {
    let mut held = trouble.lock().unwrap_or_else(PoisonError::into_inner);
    mem::replace(&mut *held, now)
}

/// What the status page tells; no secret, and the name only of what a file is refused for. The client is
/// the one that gets the issuer's keys, if they are on a server.
fn tell(auth: &Auth, trouble: &Trouble, client: Option<&Client>) -> Value {
    let (keys, peers) = auth.keys().count();
    let last_error = trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let tokens = auth.tokens().map(|status| {
        json!({
            "keys": status.keys,
            "age_seconds": status.age.map(|age| age.as_secs()),
            "failures": status.failures,
            "last_error": status.last_error,
            "client": client.map(Client::status),
        })
    });
    json!({ "keys": keys, "peers": peers, "last_error": last_error, "tokens": tokens })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::config;

    #[test]
    fn a_key_file_is_taken_up_once_it_stays_as_it_is() {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let settings = config::Auth {
            keys_file: Some(at("keys.toml")),
            pepper_file: Some(at("pepper")),
            ..config::Auth::default()
        };
        let files = KeyFiles::of(&settings, &Serve::default()).unwrap();
        fs::write(at("pepper"), "p".repeat(32)).unwrap();
        let hash = "0".repeat(64);
        let part = format!(
            "[[key]]\nid = \"a\"\ntenant = \"shop\"\nprincipal = \"till\"\nhash = \"{hash}\"\n"
        );

        fs::write(at("keys.toml"), &part).unwrap();
        let (seen, found) = look(&files, Seen::default());
        assert!(matches!(found, Ok(None)), "its scopes may be still to come");
        fs::write(at("keys.toml"), format!("{part}scopes = []\n")).unwrap();
        let (seen, found) = look(&files, seen);
        assert!(matches!(found, Ok(None)), "and more may follow");
        let (seen, found) = look(&files, seen);
        assert!(matches!(found, Ok(Some(_))));
        let (seen, found) = look(&files, seen);
        assert!(matches!(found, Ok(None)) && seen.next.is_none(), "it is known");
    }
}
