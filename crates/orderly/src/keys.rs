//! API keys: from a file, or one for development on this machine only.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown},
    path::{Path, PathBuf},
    process::ExitCode,
};

use mainstay::config::Rules;
use orders_api::auth::{self, Entry, Keys};

use crate::{
    cli::NewKey,
    config::{self, Auth, Config},
    console::{Failure, remark, say},
};

/// The tenant of the development key.
const DEVELOPMENT: &str = "dev";

/// Something about the keys that needs mending.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot use {0}")]
    File(PathBuf, #[source] io::Error),
    #[error("there is no file {0}; `orderly key new --tenant T --principal P` makes it")]
    Missing(PathBuf),
    #[error("{0} is not a key file")]
    Format(PathBuf, #[source] toml::de::Error),
    #[error("the pepper in {0} has fewer than 32 bytes; let `orderly key new` make one")]
    ShortPepper(PathBuf),
    #[error(
        "{0} is not there, but {1} is: a new pepper would make every key in it useless. Put the \
         pepper back, or remove the key file to start over"
    )]
    LostPepper(PathBuf, PathBuf),
    #[error("set auth.keys_file and auth.pepper_file first, so that it is known where keys belong")]
    NoFiles,
    #[error("no random numbers from the operating system: {0}")]
    Random(getrandom::Error),
}

/// The keys of the key file, if one is set.
fn from_file(config: &Config) -> Result<Option<Keys>, Failure> {
    let (Some(keys), Some(pepper)) = (&config.auth.keys_file, &config.auth.pepper_file) else {
        return Ok(None);
    };
    Ok(Some(Keys::new(&read_pepper(pepper)?, read_entries(keys)?)?))
}

/// Whether the key file and the pepper can be used, each told by its own key.
pub(crate) fn check(auth: &Auth, rules: &mut Rules) {
    let (Some(keys), Some(pepper)) = (&auth.keys_file, &auth.pepper_file) else { return };
    let pepper = rules.accept(&["auth.pepper_file"], read_pepper(pepper));
    let entries = rules.accept(&["auth.keys_file"], read_entries(keys));
    if let (Some(pepper), Some(entries)) = (pepper, entries) {
        rules.accept(&["auth.keys_file"], Keys::new(&pepper, entries));
    }
}

/// The keys that open the API, and the development key when one was made.
pub(crate) fn load(config: &Config) -> Result<(Keys, Option<String>), Failure> {
    if let Some(keys) = from_file(config)? {
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
    let config = config::load(&options.config)?.value;
    let (Some(keys), Some(pepper_file)) = (&config.auth.keys_file, &config.auth.pepper_file) else {
        return Err(KeyError::NoFiles.into());
    };
    if !pepper_file.exists() {
        if keys.exists() {
            return Err(KeyError::LostPepper(pepper_file.clone(), keys.clone()).into());
        }
        write_secret(pepper_file, &format!("{}\n", random_hex()?))?;
    }
    let pepper = read_pepper(pepper_file)?;
    let mut entries = if keys.exists() { read_entries(keys)? } else { Vec::new() };
    let id = random_hex()?.split_off(56);
    let secret = random_hex()?;
    entries.push(Entry {
        id: id.clone(),
        tenant: options.tenant.clone(),
        principal: options.principal.clone(),
        hash: auth::hash(&pepper, &secret),
    });
    // Whatever the service would refuse is refused here.
    Keys::new(&pepper, entries.clone())?;
    replace(keys, &toml::to_string(&auth::File { keys: entries })?)?;
    say(&format!("{id}.{secret}"));
    remark(&format!(
        "added to {}; a running service reads it when it starts again",
        keys.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String, KeyError> {
    fs::read_to_string(path).map_err(|error| {
        let path = path.to_owned();
        if error.kind() == io::ErrorKind::NotFound {
            KeyError::Missing(path)
        } else {
            KeyError::File(path, error)
        }
    })
}

fn read_pepper(path: &Path) -> Result<Vec<u8>, KeyError> {
    let text = read(path)?;
    let pepper = text.trim().as_bytes().to_vec();
    if pepper.len() < 32 { Err(KeyError::ShortPepper(path.to_owned())) } else { Ok(pepper) }
}

fn read_entries(path: &Path) -> Result<Vec<Entry>, KeyError> {
    let text = read(path)?;
    let file: auth::File =
        toml::from_str(&text).map_err(|error| KeyError::Format(path.to_owned(), error))?;
    Ok(file.keys)
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
