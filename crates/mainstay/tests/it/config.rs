use mainstay::config::{Layer, Loader, Secret, duration, reference};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// A shop.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// What it is called.
    name: String,
    server: Server,
    /// Where the goods are.
    store: Store,
    /// Words
    /// to find it by.
    tags: Vec<String>,
    /// Anything.
    #[schemars(example = "closed on Mondays")]
    note: Option<String>,
    /// The most of each thing.
    limits: BTreeMap<String, u32>,
    /// Whether people may enter.
    door: Door,
    /// The window, if there is one.
    window: Option<Window>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Door {
    /// They may.
    #[default]
    Open,
    /// They may not.
    Closed,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Window {
    /// In centimetres.
    width: u32,
    /// In centimetres too.
    #[serde(default = "height")]
    height: u32,
}

const fn height() -> u32 {
    100
}

/// Who serves, see [`Config`].
///
/// And how.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Server {
    /// Its port.
    port: u16,
    /// How long it waits.
    #[serde(with = "duration::Text")]
    patience: Duration,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Store {
    /// Opens it.
    password: Secret<String>,
    /// Opens it faster.
    pin: Option<Secret<u32>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "shop".to_owned(),
            server: Server::default(),
            store: Store::default(),
            tags: Vec::new(),
            note: None,
            limits: BTreeMap::new(),
            door: Door::Open,
            window: None,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { port: 8080, patience: Duration::from_secs(2) }
    }
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("shop.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_stops_nothing() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};
    let variables =
        [(b"OTHER\xff".to_vec(), b"\xff".to_vec()), (b"SHOP_NAME".to_vec(), b"a".to_vec())];
    let os = |(name, value)| (OsString::from_vec(name), OsString::from_vec(value));
    let loaded = Loader::new().env_os("SHOP_", variables.map(os)).load::<Config>().unwrap();
    assert_eq!(loaded.value.name, "a");
}

#[test]
fn an_empty_section_is_taken_as_given() {
    let (_folder, path) = file("[window]\n[door_bell]\n[server]\n");
    let layer = Layer::File(path.clone());
    let errors = Loader::new().file(&path).load::<Config>().unwrap_err();
    let told: Vec<_> = errors.0.iter().map(|problem| (&*problem.key, &problem.layer)).collect();
    assert_eq!(told, [("door_bell", &layer), ("window", &layer)]);

    let (_folder, path) = file("[window]\n[server]\n");
    let loaded = Loader::new()
        .file(&path)
        .env("SHOP_", pairs(&[("SHOP_WINDOW__WIDTH", "3")]))
        .load::<Config>()
        .unwrap();
    assert_eq!(loaded.value.window.as_ref().map(|window| window.width), Some(3));
    assert_eq!(loaded.origin("server.port"), Layer::Default);
}

#[test]
fn a_later_layer_wins_value_by_value() {
    let (_folder, path) =
        file("name = \"file\"\ntags = [\"a\"]\n[server]\nport = 1\npatience = \"1s\"");
    let loaded = Loader::new()
        .file(&path)
        .env("SHOP_", pairs(&[("SHOP_SERVER__PORT", "2"), ("SHOP_NAME", "env"), ("HOME", "/")]))
        .flags(pairs(&[("name", "flag")]))
        .load::<Config>()
        .unwrap();
    assert_eq!(loaded.value.name, "flag");
    assert_eq!(loaded.value.server.port, 2);
    assert_eq!(loaded.value.server.patience, Duration::from_secs(1));
    assert_eq!(loaded.value.tags, ["a"]);
    assert_eq!(loaded.origin("name"), Layer::Flag("name".to_owned()));
    assert_eq!(loaded.origin("server.port"), Layer::Environment("SHOP_SERVER__PORT".to_owned()));
    assert_eq!(loaded.origin("server.patience"), Layer::File(path));
    assert_eq!(loaded.origin("note"), Layer::Default);
}

#[test]
fn texts_that_look_like_numbers_stay_texts_where_texts_are_wanted() {
    let variables = pairs(&[("S_NAME", "123"), ("S_NOTE", "true"), ("S_STORE__PASSWORD", "456")]);
    let loaded = Loader::new()
        .env("S_", variables)
        .flags(pairs(&[("tags", "[\"a\", \"b\"]"), ("limits.pages", "3")]))
        .load::<Config>()
        .unwrap();
    assert_eq!(loaded.value.name, "123");
    assert_eq!(loaded.value.note.as_deref(), Some("true"));
    assert_eq!(loaded.value.store.password.expose(), "456");
    assert_eq!(loaded.value.tags, ["a", "b"]);
    assert_eq!(loaded.value.limits["pages"], 3);
}

#[test]
fn every_error_is_told_at_once_with_its_key_and_layer() {
    let (_folder, path) = file(
        "nmae = \"x\"\ntags = [1]\n[server]\nport = 70000\npatience = \"2\"\n[cache]\nsize = 1",
    );
    let errors = Loader::new()
        .file(&path)
        .env("S_", pairs(&[("S_STORE__PIN", "abc"), ("S_SERVER__COLOUR", "red")]))
        .flags(pairs(&[("limits.pages", "many")]))
        .load::<Config>()
        .unwrap_err();
    let mut told: Vec<_> =
        errors.0.iter().map(|one| (one.key.as_str(), one.layer.clone())).collect();
    told.sort_by(|one, other| one.0.cmp(other.0));
    let in_file = || Layer::File(path.clone());
    let expected = [
        ("cache", in_file()),
        ("limits.pages", Layer::Flag("limits.pages".to_owned())),
        ("nmae", in_file()),
        ("server.colour", Layer::Environment("S_SERVER__COLOUR".to_owned())),
        ("server.patience", in_file()),
        ("server.port", in_file()),
        ("store.pin", Layer::Environment("S_STORE__PIN".to_owned())),
        ("tags", in_file()),
    ];
    assert_eq!(told, expected, "{errors}");
    let text = errors.to_string();
    assert!(text.contains("nmae (file "), "{text}");
    assert!(text.contains("there is no such key; here there are name, server, store"), "{text}");
    assert!(text.contains("must be a whole number from 0 to 65535"), "{text}");
    assert!(text.contains("expected a duration such as 500ms"), "{text}");
}

#[test]
fn a_missing_or_broken_file_is_told_with_the_rest() {
    let missing = Loader::new()
        .file("/nowhere/shop.toml")
        .flags(pairs(&[("server.port", "x")]))
        .load::<Config>()
        .unwrap_err();
    assert_eq!(missing.0.len(), 2, "{missing}");
    let relative = Loader::new().file("nowhere.toml").load::<Config>().unwrap_err().to_string();
    let whole = std::env::current_dir().unwrap().join("nowhere.toml");
    let told = format!("(file nowhere.toml): there is no file {}", whole.display());
    assert!(relative.contains(&told), "{relative}");

    let (_folder, path) = file("name = \"a\"\n[store]\npassword = \"hunter2");
    let broken = Loader::new().file(path).load::<Config>().unwrap_err().to_string();
    assert!(broken.contains("line 3"), "{broken}");
    assert!(!broken.contains("hunter2"), "{broken}");
}

#[test]
fn a_secret_is_never_printed() {
    let (_folder, path) = file("[store]\npassword = \"hunter2\"\npin = \"hunter3\"");
    let errors = Loader::new().file(&path).load::<Config>().unwrap_err();
    assert!(!format!("{errors} {errors:?}").contains("hunter"), "{errors}");

    let loaded = Loader::new().flags(pairs(&[("store.password", "hunter2")]));
    assert!(!format!("{loaded:?}").contains("hunter"), "{loaded:?}");
    let loaded = loaded.load::<Config>().unwrap();
    assert!(!format!("{loaded:?} {}", loaded.print()).contains("hunter"), "{loaded:?}");
    assert_eq!(loaded.value.store.password.expose(), "hunter2");
}

#[test]
fn the_effective_configuration_is_printed_with_its_origins() {
    let loaded = Loader::new()
        .env("S_", pairs(&[("S_SERVER__PORT", "9090")]))
        .flags(pairs(&[("store.password", "hunter2"), ("limits.a b", "1")]))
        .load::<Config>();
    let text = loaded.unwrap().print();
    let expected = "\
door = \"open\"  # default
name = \"shop\"  # default
tags = []  # default
# note is not set
# window.height is not set
# window.width is not set

[limits]
\"a b\" = 1  # flag limits.a b

[server]
patience = \"2s\"  # default
port = 9090  # environment S_SERVER__PORT

[store]
password = \"[hidden]\"  # flag store.password
# store.pin is not set
";
    assert_eq!(text, expected);
    assert!(text.parse::<toml::Table>().is_ok(), "it can be read again");
}

#[test]
fn a_section_without_a_value_has_no_heading() {
    let text = Loader::new().load::<Config>().unwrap().print();
    assert!(!text.contains("[limits]") && !text.starts_with('\n'), "{text}");
    let text = Loader::new().flags(pairs(&[("window.width", "9")])).load::<Config>();
    let text = text.unwrap().print();
    assert!(text.contains("[window]\nheight = 100  # "), "{text}");
    assert!(!text.contains("# window."), "{text}");
}

#[test]
fn a_default_configuration_reads_back_as_itself() {
    let printed = Loader::new().load::<mainstay::server::Config>().unwrap().print();
    let (_folder, path) = file(&printed);
    let read = Loader::new().file(path).load::<mainstay::server::Config>().unwrap();
    assert_eq!(read.value, mainstay::server::Config::default());
}

#[test]
fn the_reference_is_a_commented_file_of_every_key() {
    let expected = "\
# A shop.

# Whether people may enter. One of \"open\", \"closed\".
door = \"open\"

# The most of each thing.
limits = {}

# What it is called.
name = \"shop\"

# Anything.
#note = \"closed on Mondays\"

# Words to find it by.
tags = []

# The window, if there is one.

# In centimetres too.
#window.height = 100

# In centimetres.
#window.width = 0

# Who serves, see `Config`.
#
# And how.
[server]

# How long it waits.
patience = \"2s\"

# Its port.
port = 8080

# Where the goods are.
[store]

# Opens it.
#password = \"\"

# Opens it faster.
#pin = \"\"
";
    assert_eq!(reference::<Config>(), expected);
    let (_folder, path) = file(expected);
    let read = Loader::new().file(path).load::<Config>().unwrap().value;
    assert_eq!(format!("{read:?}"), format!("{:?}", Config::default()));
}

#[test]
fn a_key_of_the_reference_can_be_uncommented_by_itself() {
    let reference = reference::<Config>();
    let (_folder, path) = file(&reference.replace("#window.width = 0", "window.width = 7"));
    let read = Loader::new().file(path).load::<Config>().unwrap().value.window.unwrap();
    assert_eq!((read.width, read.height), (7, 100));
}

#[test]
fn a_key_is_explained_with_its_value_and_where_that_is_from() {
    let loaded = Loader::new()
        .env("S_", pairs(&[("S_SERVER__PATIENCE", "9s")]))
        .flags(pairs(&[("store.password", "hunter2"), ("store.pin", "7")]))
        .load::<Config>()
        .unwrap();
    let expected = "\
server.patience

How long it waits.

accepts  a duration such as 500ms, 2s, 1h30m or 7d
default  \"2s\"
value    \"9s\"
from     environment S_SERVER__PATIENCE
";
    assert_eq!(loaded.explain("server.patience").unwrap(), expected);
    let height = loaded.explain("window.height").unwrap();
    assert!(height.contains("default  100\nvalue    not set\n"), "{height}");
    let note = loaded.explain("note").unwrap();
    assert!(note.contains("default  none\nvalue    not set\nfrom     default"), "{note}");

    let section = loaded.explain("store").unwrap();
    assert!(section.starts_with("[store]\nWhere the goods are.\n"), "{section}");
    assert!(section.contains("store.password = \"[hidden]\"  # flag store.password"), "{section}");
    assert!(!section.contains("hunter2"), "{section}");
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let loaded = Loader::new().load::<Config>().unwrap();
    let nearest = |key: &str| loaded.explain(key).unwrap_err().nearest;
    assert_eq!(nearest("server.patiense"), ["server.patience"]);
    assert_eq!(nearest("patience"), ["server.patience"]);
    assert_eq!(nearest("stroe.pin")[0], "store.pin");
    assert_eq!(nearest("srever"), ["server"]);
    assert_eq!(nearest("qqq"), [""; 0]);
    let told = loaded.explain("strore.pin").unwrap_err().to_string();
    assert_eq!(told, "there is no key strore.pin; did you mean store.pin?");
}

#[test]
fn rules_are_told_with_everything_else_that_is_wrong() {
    let flags = [("server.port", "many"), ("name", ""), ("note", "x")];
    let errors = Loader::new()
        .flags(pairs(&flags))
        .load_where(|config: &Config, rules| {
            rules.require(!config.name.is_empty(), &["name"], "a shop needs a name");
            rules.require(config.server.port == 1, &["server.port"], "the port is faulty itself");
            rules.require(config.note.is_none(), &["limits", "note"], "notes have a limit");
            assert_eq!(rules.accept(&["name"], Ok::<_, String>(7)), Some(7));
            let read = fs::read("/nowhere/secret");
            assert!(rules.accept(&["store.pin"], read).is_none());
        })
        .unwrap_err()
        .to_string();
    let told: Vec<_> = errors.lines().skip(1).map(str::trim).collect();
    assert_eq!(told.len(), 4, "{errors}");
    assert!(told[0].starts_with("server.port (flag server.port): must be a whole"), "{errors}");
    assert_eq!(told[1], "name (flag name): a shop needs a name");
    assert_eq!(told[2], "limits (default): notes have a limit");
    assert!(told[3].starts_with("store.pin (default): No such file"), "{errors}");
}

#[test]
fn rules_do_not_judge_when_the_file_could_not_be_read() {
    let loader = Loader::new().file("/nowhere/shop.toml");
    let errors = loader.load_where(|_: &Config, rules| rules.require(false, &["name"], "no"));
    assert_eq!(errors.unwrap_err().0.len(), 1);
}
