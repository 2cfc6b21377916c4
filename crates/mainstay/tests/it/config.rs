use mainstay::config::{Layer, Loader, Secret, duration};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};
use tempfile::TempDir;

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    name: String,
    server: Server,
    store: Store,
    tags: Vec<String>,
    note: Option<String>,
    limits: BTreeMap<String, u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Server {
    port: u16,
    #[serde(with = "duration")]
    patience: Duration,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Store {
    password: Secret<String>,
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
    assert!(text.contains("unknown field `nmae`"), "{text}");
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
name = \"shop\"  # default
tags = []  # default

[limits]
\"a b\" = 1  # flag limits.a b

[server]
patience = \"2s\"  # default
port = 9090  # environment S_SERVER__PORT

[store]
password = \"[hidden]\"  # flag store.password
";
    assert_eq!(text, expected);
    assert!(text.parse::<toml::Table>().is_ok(), "it can be read again");
}

#[test]
fn a_default_configuration_reads_back_as_itself() {
    let printed = Loader::new().load::<mainstay::server::Config>().unwrap().print();
    let (_folder, path) = file(&printed);
    let read = Loader::new().file(path).load::<mainstay::server::Config>().unwrap();
    assert_eq!(read.value, mainstay::server::Config::default());
}
