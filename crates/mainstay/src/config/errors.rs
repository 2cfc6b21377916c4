use super::Layer;
use crate::chain::chain;
use std::{error::Error, fmt};

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `server.idle_timeout`; empty for a file as a whole.
    pub key: String,
    /// Where the value came from.
    pub layer: Layer,
    /// What is wrong.
    pub message: String,
}

/// `key (layer): message`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.key.is_empty() { "" } else { " " };
        write!(f, "{}{separator}({}): {}", self.key, self.layer, self.message)
    }
}

/// Everything that is wrong with a configuration, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Problem>);

/// A heading, and one line for each problem.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is refused:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Error for Errors {}

/// Gathers the rules over several keys that a configuration breaks, for
/// [`Loader::load_where`](super::Loader::load_where).
#[derive(Debug, Default)]
pub struct Rules(Vec<Broken>);

#[derive(Debug)]
struct Broken {
    keys: Vec<String>,
    message: String,
}

impl Rules {
    /// Requires that something holds. Otherwise `message` is told of the first of `keys`; when the
    /// value of any of them is faulty itself, only that is told.
    pub fn require(&mut self, holds: bool, keys: &[&str], message: impl Into<String>) {
        if !holds {
            let keys = keys.iter().map(|&key| key.to_owned()).collect();
            self.0.push(Broken { keys, message: message.into() });
        }
    }

    /// Requires that something can be done with `keys`, and gives its result; the message is the
    /// error with its sources.
    pub fn accept<T, E: Into<Box<dyn Error>>>(
        &mut self,
        keys: &[&str],
        done: Result<T, E>,
    ) -> Option<T> {
        match done {
            Ok(value) => Some(value),
            Err(error) => {
                self.require(false, keys, chain(&*error.into()));
                None
            }
        }
    }

    /// The broken rules over keys that are not in `known`.
    pub(super) fn problems(
        self,
        known: &[Problem],
        origin: impl Fn(&str) -> Layer,
    ) -> Vec<Problem> {
        let faulty = |key: &String| known.iter().any(|problem| problem.key == *key);
        let judged = self.0.into_iter().filter(|broken| !broken.keys.iter().any(faulty));
        let told = judged.map(|Broken { keys, message }| {
            let key = keys.into_iter().next().unwrap_or_default();
            Problem { layer: origin(&key), key, message }
        });
        told.collect()
    }
}
