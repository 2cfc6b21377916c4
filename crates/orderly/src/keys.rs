//! API keys: from a file, or one for development on this machine only.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown},
    path::{Path, PathBuf},
    process::ExitCode,
};

use mainstay::config::Rules;
use orders_api::auth::{self, Entry, Keys};

use crate::{
    cli::{NewKey, Serve, principal, tenant},
    config::{self, Auth, Config},
    console::{Failure, remark, say, whole},
};

/// The tenant of the development key.
const DEVELOPMENT: &str = "dev";

/// Something about the keys that needs mending.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot use {0}")]
    File(PathBuf, #[source] io::Error),
    #[error("there is no file {0}; `{1}` makes it")]
    Missing(PathBuf, String),
    #[error("{0} is not a key file")]
    Format(PathBuf, #[source] toml::de::Error),
    #[error("the pepper in {0} has fewer than 32 bytes; let `orderly key new` make one")]
    ShortPepper(PathBuf),
    #[error(
        "there is no file {0}, but there is {1}: a new pepper would make every key in it useless. \
         Put the pepper back, or remove the key file and make new keys with `{2}`"
    )]
    LostPepper(PathBuf, PathBuf, String),
    #[error(
        "set auth.keys_file and auth.pepper_file first, so that it is known where keys belong: in \
         the file of --config, or with --set auth.keys_file=keys.toml --set auth.pepper_file=pepper"
    )]
    NoFiles,
    #[error("no random numbers from the operating system: {0}")]
    Random(getrandom::Error),
}

/// The two files that keys are kept in.
struct Files<'a> {
    keys: &'a Path,
    pepper: &'a Path,
    /// The command that makes them.
    make: String,
}

impl<'a> Files<'a> {
    /// Those that are set, if they are.
    fn of(auth: &'a Auth, options: &Serve) -> Option<Self> {
        let (keys, pepper) = (auth.keys_file.as_deref()?, auth.pepper_file.as_deref()?);
        Some(Self { keys, pepper, make: options.key_new() })
    }

    fn pepper(&self) -> Result<Vec<u8>, KeyError> {
        if !self.pepper.exists() && self.keys.exists() {
            let (pepper, keys) = (whole(self.pepper), whole(self.keys));
            return Err(KeyError::LostPepper(pepper, keys, self.make.clone()));
        }
        let text = self.read(self.pepper)?;
        let pepper = text.trim().as_bytes().to_vec();
        if pepper.len() < 32 { Err(KeyError::ShortPepper(whole(self.pepper))) } else { Ok(pepper) }
    }

    fn entries(&self) -> Result<Vec<Entry>, KeyError> {
        entries(&self.read(self.keys)?, self.keys)
    }

    fn read(&self, path: &Path) -> Result<String, KeyError> {
        fs::read_to_string(path).map_err(|error| {
            let path = whole(path);
            if error.kind() == io::ErrorKind::NotFound {
                KeyError::Missing(path, self.make.clone())
            } else {
                KeyError::File(path, error)
            }
        })
    }
}

/// The keys of the key file, if one is set.
fn from_file(config: &Config, options: &Serve) -> Result<Option<Keys>, Failure> {
    let Some(files) = Files::of(&config.auth, options) else { return Ok(None) };
    Ok(Some(Keys::new(&files.pepper()?, files.entries()?)?))
}

/// Whether the key file and the pepper can be used, each told by its own key.
pub(crate) fn check(auth: &Auth, options: &Serve, rules: &mut Rules) {
    let Some(files) = Files::of(auth, options) else { return };
    let pepper = rules.accept(&["auth.pepper_file"], files.pepper());
    let entries = rules.accept(&["auth.keys_file"], files.entries());
    if let (Some(pepper), Some(entries)) = (pepper, entries) {
        rules.accept(&["auth.keys_file"], Keys::new(&pepper, entries));
    }
}

/// Whether others than its owner can read the file.
pub(crate) fn is_exposed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| there.mode() & 0o044 != 0)
}

/// Whose orders can be opened with the keys there are; `None` when their file cannot be read.
pub(crate) fn tenants(auth: &Auth) -> Option<BTreeSet<String>> {
    let Some(path) = &auth.keys_file else { return Some([DEVELOPMENT.to_owned()].into()) };
    let text = fs::read_to_string(path).ok()?;
    Some(entries(&text, path).ok()?.into_iter().map(|entry| entry.tenant).collect())
}

/// The keys that open the API, and the development key when one was made.
pub(crate) fn load(config: &Config, options: &Serve) -> Result<(Keys, Option<String>), Failure> {
    if let Some(keys) = from_file(config, options)? {
        return Ok((keys, None));
    }
    let token = development_token(&config.store.path)?;
    let (id, secret) = token.split_once('.').unwrap_or((DEVELOPMENT, &token));
    // The token is in a file of this machine, so a secret pepper would hide nothing.
    let pepper = DEVELOPMENT.as_bytes();
    let entry = Entry {
        id: id.to_owned(),
        tenant: DEVELOPMENT.to_owned(),
        principal: "developer".to_owned(),
        hash: auth::hash(pepper, secret),
    };
    Ok((Keys::new(pepper, vec![entry])?, Some(token)))
}

/// The development key, kept beside the store so that commands still work after a restart.
fn development_token(store: &Path) -> Result<String, KeyError> {
    let path = store.with_file_name("dev-key");
    match fs::read_to_string(&path) {
        Ok(token) if token.trim().contains('.') => return Ok(token.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(KeyError::File(path, error));
        }
        Ok(_) | Err(_) => {}
    }
    let token = format!("{DEVELOPMENT}.{}", random_hex()?);
    write_secret(&path, &format!("{token}\n"))?;
    Ok(token)
}

/// `orderly key new`.
pub(crate) fn new(options: &NewKey) -> Result<ExitCode, Failure> {
    let (tenant, principal) = (tenant(&options.tenant)?, principal(&options.principal)?);
    let config = config::load(&options.config)?.value;
    let files = Files::of(&config.auth, &options.config).ok_or(KeyError::NoFiles)?;
    if !files.pepper.exists() && !files.keys.exists() {
        write_secret(files.pepper, &format!("{}\n", random_hex()?))?;
    }
    let pepper = files.pepper()?;
    let mut entries = if files.keys.exists() { files.entries()? } else { Vec::new() };
    let id = random_hex()?.split_off(56);
    let secret = random_hex()?;
    entries.push(Entry {
        id: id.clone(),
        tenant: tenant.to_string(),
        principal: principal.to_owned(),
        hash: auth::hash(&pepper, &secret),
    });
    // Whatever the service would refuse is refused here.
    Keys::new(&pepper, entries.clone())?;
    replace(files.keys, &toml::to_string(&auth::File { keys: entries })?)?;
    say(&format!("{id}.{secret}"));
    remark(&format!(
        "added to {}; a running service reads it when it starts again",
        whole(files.keys).display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn entries(text: &str, path: &Path) -> Result<Vec<Entry>, KeyError> {
    let file = toml::from_str(text).map_err(|error| KeyError::Format(whole(path), error));
    file.map(|auth::File { keys }| keys)
}

/// 256 random bits.
fn random_hex() -> Result<String, KeyError> {
    let mut halves = [[0_u8; 16]; 2];
    for half in &mut halves {
        getrandom::fill(half).map_err(KeyError::Random)?;
    }
    Ok(halves.map(|half| format!("{:032x}", u128::from_be_bytes(half))).concat())
}

/// Writes a file that only its owner can read, and has it on the disk.
fn write_secret(path: &Path, text: &str) -> Result<(), KeyError> {
    let failed = |error| KeyError::File(path.to_owned(), error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(failed)
}

/// Puts new content in a file's place whole: a crash leaves the old or the new, never a part. Who may
/// read the file stays as it was.
fn replace(path: &Path, text: &str) -> Result<(), KeyError> {
    let failed = |error| KeyError::File(path.to_owned(), error);
    let there = fs::metadata(path).ok();
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    write_secret(&beside, text)?;
    if let Some(there) = there {
        fs::set_permissions(&beside, there.permissions()).map_err(failed)?;
        chown(&beside, Some(there.uid()), Some(there.gid())).map_err(failed)?;
    }
    fs::rename(&beside, &path).map_err(failed)
}
