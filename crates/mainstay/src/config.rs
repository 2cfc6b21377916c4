//! Layered configuration: defaults < TOML file < environment < flags.
//!
//! The whole is checked before anything starts: unknown keys are refused, every error is told at
//! once with its key and the layer it came from, and [`Loaded::print`] shows the effective
//! values with theirs. Secrets are never shown.
//!
//! A configuration is a plain struct with defaults:
//!
//! ```
//! use mainstay::config::{Layer, Loader, duration};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config {
//!     port: u16,
//!     #[serde(with = "duration::Text")]
//!     patience: Duration,
//! }
//!
//! impl Default for Config {
//!     fn default() -> Self {
//!         Self { port: 8080, patience: Duration::from_secs(2) }
//!     }
//! }
//!
//! let variables = [("SHOP_PORT".to_owned(), "9090".to_owned())];
//! let loaded = Loader::new().env("SHOP_", variables).load::<Config>()?;
//! assert_eq!(loaded.value.port, 9090);
//! assert_eq!(loaded.origin("patience"), Layer::Default);
//! # Ok::<(), mainstay::config::Errors>(())
//! ```
//!
//! With `schemars::JsonSchema` derived too, the doc comments of the fields are the reference:
//! [`reference()`] makes a commented file of all keys, and [`Loaded::explain`] tells of one.
//!
//! A relative path in any layer is relative to the working directory of the process, as is usual
//! for daemons; the chassis does not read it as relative to the file.
//!
//! Deliberately absent: reading the environment itself (the binary passes it in), and reload.

pub mod duration;

mod errors;
mod explain;
mod layers;
mod print;
mod reference;
mod secret;
mod words;

pub use self::errors::{Errors, Problem, Rules};
pub use self::explain::UnknownKey;
pub use self::layers::Layer;
pub use self::secret::Secret;

use self::{layers::Layers, reference::Entry};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::OsString,
    fmt,
    path::{self, Path, PathBuf},
};

/// Gathers the layers of a configuration.
#[derive(Default)]
pub struct Loader {
    layers: Layers,
    file: Option<PathBuf>,
    environment: Vec<(String, Layer, String)>,
    flags: Vec<(String, Layer, String)>,
}

impl Loader {
    /// Defaults only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a TOML file, which must exist when the configuration is loaded.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Adds the `variables` whose name begins with `prefix`: after `SHOP_`, `SERVER__IDLE_TIMEOUT`
    /// is the key `server.idle_timeout`. A value is read as TOML where it is valid and fits, and
    /// as plain text otherwise, so that strings need no quotes.
    ///
    /// Every variable with the prefix must be a key. Kubernetes invents variables such as
    /// `SHOP_PORT` for a service named `shop`; there, choose a prefix like `SHOP__`.
    #[must_use]
    pub fn env(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        for (name, value) in variables {
            if let Some(key) = name.strip_prefix(prefix) {
                let key = key.to_lowercase().replace("__", ".");
                self.environment.push((key, Layer::Environment(name), value));
            }
        }
        self
    }

    /// As [`env`](Self::env), with the variables as [`std::env::vars_os`] gives them: of those that
    /// are not text, which [`std::env::vars`] panics at, none can be a key.
    #[must_use]
    pub fn env_os(
        self,
        prefix: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        self.env(prefix, variables.into_iter().filter_map(text))
    }

    /// Adds values from the command line as pairs of a key such as `server.idle_timeout` and a
    /// text, read like a variable's.
    #[must_use]
    pub fn flags(mut self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let flag = |(key, value): (String, String)| (key.clone(), Layer::Flag(key), value);
        self.flags.extend(pairs.into_iter().map(flag));
        self
    }

    /// Reads all layers into a `T`, which must have `#[serde(default, deny_unknown_fields)]`.
    ///
    /// # Errors
    ///
    /// Tells everything that is wrong at once; within one value of an enum, only the first.
    pub fn load<T: DeserializeOwned>(self) -> Result<Loaded<T>, Errors> {
        self.load_where(|_, _| {})
    }

    /// Like [`load`](Self::load), with `rules` that span several keys or ask for what a value
    /// names, such as a file. What breaks them is told with everything else that is wrong.
    ///
    /// They judge the values that could be read, beside defaults for those that could not; see
    /// [`Rules::require`]. They judge nothing when the file as a whole could not be read.
    ///
    /// # Errors
    ///
    /// Tells everything that is wrong at once; within one value of an enum, only the first.
    pub fn load_where<T: DeserializeOwned>(
        mut self,
        rules: impl FnOnce(&T, &mut Rules),
    ) -> Result<Loaded<T>, Errors> {
        let read = self.file.take().map_or(Ok(()), |path| {
            let added = self.layers.add_file(&path);
            added.map_err(|problem| in_full(problem, &path))
        });
        for (key, layer, text) in self.environment.drain(..).chain(self.flags.drain(..)) {
            self.layers.add_text(&key, layer, text);
        }
        let file_read = read.is_ok();
        let mut problems: Vec<_> = read.err().into_iter().collect();
        let read = problems.len();
        let value = self.layers.read(&mut problems);
        for problem in problems.iter_mut().skip(read) {
            problem.message = words::plain(&problem.message);
        }
        if let Some(value) = value.as_ref().filter(|_| file_read) {
            let mut broken = Rules::default();
            rules(value, &mut broken);
            let origin = |key: &str| self.layers.origin(&layers::path(key));
            problems.extend(broken.problems(&problems, origin));
        }
        match value {
            Some(value) if problems.is_empty() => Ok(Loaded { value, layers: self.layers }),
            Some(_) | None => Err(Errors(problems)),
        }
    }
}

/// A file that is not there is told by its whole path: a relative one may be looked for in another
/// folder than was thought.
fn in_full(problem: Problem, path: &Path) -> Problem {
    if path.exists() {
        return problem;
    }
    let whole = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Problem { message: format!("there is no file {}", whole.display()), ..problem }
}

/// A commented TOML file of all keys with their defaults, ready to be saved and changed: the doc
/// comments of `T` and its sections. Keys without a value stand as comments such as
/// `#key = example`, and so do those of sections that are not there, such as
/// `#section.key = default`; each can be uncommented by itself.
pub fn reference<T: JsonSchema + Serialize + Default>() -> String {
    Entry::of::<T>().file()
}

impl fmt::Debug for Loader {
    /// Without the values: any of them may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A configuration, and where each of its values came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The effective values.
    pub value: T,
    layers: Layers,
}

impl<T> Loaded<T> {
    /// The layer that gave the value of a key such as `server.idle_timeout`.
    pub fn origin(&self, key: &str) -> Layer {
        self.layers.origin(&layers::path(key))
    }
}

impl<T: JsonSchema + Serialize + Default> Loaded<T> {
    /// The effective configuration as TOML, each value with a comment that says where it came
    /// from, and a comment for each key that has none. A [`Secret`] is shown as `[hidden]`.
    pub fn print(&self) -> String {
        print::annotated(&self.value, &Entry::of::<T>(), &self.layers)
    }
}
