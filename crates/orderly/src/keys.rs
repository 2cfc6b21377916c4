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
use orders_api::auth::{self, Entry, File, Keys};

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
    #[error("{0} is not a key file: line {1}: {2}")]
    Format(PathBuf, usize, String),
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
#[derive(Clone)]
pub(crate) struct KeyFiles {
    keys: PathBuf,
    pepper: PathBuf,
    /// The command that makes them.
    make: String,
}

/// What both files hold.
#[derive(PartialEq, Eq)]
pub(crate) struct Texts {
    keys: String,
    pepper: String,
}

impl Texts {
    /// Whether the key file holds nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.trim().is_empty()
    }
}

impl KeyFiles {
    /// Those that are set, if they are.
    pub(crate) fn of(auth: &Auth, options: &Serve) -> Option<Self> {
        let (keys, pepper) = (auth.keys_file.clone()?, auth.pepper_file.clone()?);
        Some(Self { keys, pepper, make: options.key_new() })
    }

    /// What they hold now.
    pub(crate) fn texts(&self) -> Result<Texts, KeyError> {
        Ok(Texts { pepper: self.pepper_text()?, keys: self.read(&self.keys)? })
    }

    /// The keys in what they hold.
    pub(crate) fn open(&self, texts: &Texts) -> Result<Keys, Failure> {
        Ok(Keys::new(&self.pepper_of(&texts.pepper)?, file(&texts.keys, &self.keys)?)?)
    }

    fn pepper(&self) -> Result<Vec<u8>, KeyError> {
        self.pepper_of(&self.pepper_text()?)
    }

    fn pepper_text(&self) -> Result<String, KeyError> {
        if !self.pepper.exists() && self.keys.exists() {
            let (pepper, keys) = (whole(&self.pepper), whole(&self.keys));
            return Err(KeyError::LostPepper(pepper, keys, self.make.clone()));
        }
        self.read(&self.pepper)
    }

    fn pepper_of(&self, text: &str) -> Result<Vec<u8>, KeyError> {
        let pepper = text.trim().as_bytes().to_vec();
        if pepper.len() < 32 { Err(KeyError::ShortPepper(whole(&self.pepper))) } else { Ok(pepper) }
    }

    fn file(&self) -> Result<File, KeyError> {
        file(&self.read(&self.keys)?, &self.keys)
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

/// Whether the key file and the pepper can be used, each told by its own key.
pub(crate) fn check(auth: &Auth, options: &Serve, rules: &mut Rules) {
    let Some(files) = KeyFiles::of(auth, options) else { return };
    let pepper = rules.accept(&["auth.pepper_file"], files.pepper());
    let file = rules.accept(&["auth.keys_file"], files.file());
    if let (Some(pepper), Some(file)) = (pepper, file) {
        rules.accept(&["auth.keys_file"], Keys::new(&pepper, file));
    }
}

/// Whether others than its owner can read the file.
pub(crate) fn is_exposed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| there.mode() & 0o044 != 0)
}

/// Whose orders can be opened with the keys there are; `None` when their file cannot be read, or when
/// tokens open orders too, of whatever tenant they name.
pub(crate) fn tenants(auth: &Auth) -> Option<BTreeSet<String>> {
    if auth.jwt.is_some() {
        return None;
    }
    let Some(path) = &auth.keys_file else { return Some([DEVELOPMENT.to_owned()].into()) };
    let File { keys, peers } = file(&fs::read_to_string(path).ok()?, path).ok()?;
    let of_peers = peers.into_iter().map(|peer| peer.tenant);
    Some(keys.into_iter().map(|entry| entry.tenant).chain(of_peers).collect())
}

/// Whether the key file has a peer; not when it cannot be read.
pub(crate) fn has_peers(auth: &Auth) -> bool {
    let read = |path: &PathBuf| file(&fs::read_to_string(path).ok()?, path).ok();
    auth.keys_file.as_ref().and_then(read).is_some_and(|file| !file.peers.is_empty())
}

/// The keys that open the API at the start.
pub(crate) struct Opened {
    pub(crate) keys: Keys,
    /// The development key, when one was made.
    pub(crate) development: Option<String>,
    /// Where they are from, and what was read there.
    pub(crate) files: Option<(KeyFiles, Texts)>,
}

/// The keys that open the API. Where nothing is set that does, a development key is made.
pub(crate) fn load(config: &Config, options: &Serve) -> Result<Opened, Failure> {
    // The token is in a file of this machine, so a secret pepper would hide nothing.
    let pepper = DEVELOPMENT.as_bytes();
    if let Some(files) = KeyFiles::of(&config.auth, options) {
        let texts = files.texts()?;
        let keys = files.open(&texts)?;
        return Ok(Opened { keys, development: None, files: Some((files, texts)) });
    }
    if config.auth.jwt.is_some() {
        let keys = Keys::new(pepper, File::default())?;
        return Ok(Opened { keys, development: None, files: None });
    }
    let token = development_token(&config.store.path)?;
    let (id, secret) = token.split_once('.').unwrap_or((DEVELOPMENT, &token));
    let entry = Entry {
        id: id.to_owned(),
        tenant: DEVELOPMENT.to_owned(),
        principal: "developer".to_owned(),
        hash: auth::hash(pepper, secret),
        scopes: None,
    };
    let keys = Keys::new(pepper, File { keys: vec![entry], ..File::default() })?;
    Ok(Opened { keys, development: Some(token), files: None })
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
    let files = KeyFiles::of(&config.auth, &options.config).ok_or(KeyError::NoFiles)?;
    // Until this returns: what another adds meanwhile would be lost, or its pepper.
    let _locked = lock(&files.keys)?;
    if !files.pepper.exists() && !files.keys.exists() {
        write_secret(&files.pepper, &format!("{}\n", random_hex()?))?;
    }
    let pepper = files.pepper()?;
    let mut file = if files.keys.exists() { files.file()? } else { File::default() };
    let id = random_hex()?.split_off(56);
    let secret = random_hex()?;
    file.keys.push(Entry {
        id: id.clone(),
        tenant: tenant.to_string(),
        principal: principal.to_owned(),
        hash: auth::hash(&pepper, &secret),
        scopes: options.scopes.clone(),
    });
    // Whatever the service would refuse is refused here.
    Keys::new(&pepper, file.clone())?;
    replace(&files.keys, &toml::to_string(&file)?)?;
    say(&format!("{id}.{secret}"));
    remark(&format!(
        "added to {}; a running service takes it up within auth.reload_every",
        whole(&files.keys).display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn file(text: &str, path: &Path) -> Result<File, KeyError> {
    // Not the error's own text, which quotes the line and with it perhaps a secret.
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        KeyError::Format(whole(path), line, error.message().to_owned())
    })
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
    make_folder(path).map_err(failed)?;
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(failed)
}

/// Waits until nobody else adds to the file, and keeps others from it while the lock is held. It is on a file
/// beside it, since this one is replaced; it ends with its process, however that ends, and the file stays.
fn lock(path: &Path) -> Result<fs::File, KeyError> {
    let beside = beside(path, ".lock");
    let failed = |error| KeyError::File(beside.clone(), error);
    make_folder(&beside).map_err(failed)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let file = file.map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// The file beside this one, or beside the one that it leads to, whose name has this at its end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut beside = path.into_os_string();
    beside.push(end);
    beside.into()
}

fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => fs::create_dir_all(folder),
        None => Ok(()),
    }
}

/// Puts new content in a file's place whole: a crash leaves the old or the new, never a part. Who may
/// read the file stays as it was.
fn replace(path: &Path, text: &str) -> Result<(), KeyError> {
    let failed = |error| KeyError::File(path.to_owned(), error);
    let there = fs::metadata(path).ok();
    let beside = beside(path, ".new");
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    write_secret(&beside, text)?;
    if let Some(there) = there {
        fs::set_permissions(&beside, there.permissions()).map_err(failed)?;
        chown(&beside, Some(there.uid()), Some(there.gid())).map_err(failed)?;
    }
    fs::rename(&beside, &path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_cannot_be_read_is_not_quoted() {
        let text = "[[key]]\nid = \"a\"\nsecret = \"canary\"\n";
        let told = file(text, Path::new("keys.toml")).unwrap_err().to_string();
        assert!(
            told.contains("keys.toml is not a key file: line 3: unknown field `secret`"),
            "{told}"
        );
        assert!(!told.contains("canary"), "{told}");
    }
}
