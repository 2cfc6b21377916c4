//! The shape of the workspace: which crate may use which, and where the core may meet the wire.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Every crate of the workspace, planned ones too, and the crates of the workspace it may use.
/// Nothing uses `orders-load` and `conformance`, and only tests use `orders-testkit`.
const INSIDE: [(&str, &[&str]); 11] = [
    ("mainstay-context", &[]),
    ("mainstay-resilience", &["mainstay-context"]),
    ("mainstay", &["mainstay-context", "mainstay-resilience"]),
    ("orders", &["mainstay-context"]),
    ("orders-adapters", &["orders", "mainstay", "mainstay-context", "mainstay-resilience"]),
    ("orders-api", &["orders", "mainstay", "mainstay-context", "mainstay-resilience"]),
    ("orders-testkit", &["orders", "mainstay-context"]),
    ("gateway-sim", &["mainstay", "mainstay-context", "mainstay-resilience"]),
    (
        "orderly",
        &[
            "mainstay",
            "mainstay-context",
            "mainstay-resilience",
            "orders",
            "orders-adapters",
            "orders-api",
            "gateway-sim",
        ],
    ),
    ("orders-load", &[]),
    ("conformance", &["mainstay", "mainstay-context", "mainstay-resilience"]),
];

/// The crates that may use only these from outside: no I/O can get in.
const OUTSIDE: [(&str, &[&str]); 2] = [
    ("mainstay-context", &["event-listener"]),
    ("orders", &["thiserror", "uuid", "jiff", "serde", "serde_json", "sha2"]),
];

/// What only `orders::codec` may use of the core.
const ENCODINGS: [&str; 7] =
    ["use serde", "serde::", "serde_json::", "use sha2", "sha2::", "Serialize,", "Deserialize,"];

/// One crate uses another.
#[derive(Clone, Debug)]
struct Edge {
    from: String,
    to: String,
    /// Whether the other is of this workspace.
    inside: bool,
}

#[test]
fn every_crate_uses_only_what_it_may() {
    let edges = edges();
    let seen = |from: &str, to: &str| edges.iter().any(|edge| edge.from == from && edge.to == to);
    assert!(
        seen("orderly", "orders-api") && seen("orders", "serde"),
        "not all was read: {edges:?}"
    );
    let wrong: Vec<String> = edges.iter().filter_map(objection).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_forbidden_edge_is_told() {
    for (from, to, inside) in [
        ("mainstay", "orders", true),
        ("mainstay-context", "mainstay", true),
        ("mainstay-resilience", "mainstay", true),
        ("orders", "mainstay", true),
        ("orders", "orders-adapters", true),
        ("orders-api", "orders-adapters", true),
        ("orders-adapters", "orders-api", true),
        ("orders-testkit", "mainstay", true),
        ("orderly", "orders-testkit", true),
        ("orderly", "orders-load", true),
        ("orders-load", "orders", true),
        ("conformance", "orders", true),
        ("mainstay", "conformance", true),
        ("gateway-sim", "orders", true),
        ("a-new-crate", "mainstay", true),
        ("orders", "tokio", false),
        ("mainstay-context", "tracing", false),
    ] {
        let edge = Edge { from: from.to_owned(), to: to.to_owned(), inside };
        assert!(objection(&edge).is_some(), "{edge:?}");
    }
}

#[test]
fn the_core_meets_the_wire_only_in_its_codec() {
    let (mut codec, mut elsewhere) = (0, Vec::new());
    let source = Path::new(ROOT).join("crates/orders/src");
    for file in files(&source) {
        let name = file.strip_prefix(&source).unwrap();
        let found = encodings(&fs::read_to_string(&file).unwrap());
        if name.starts_with("codec") || name == Path::new("codec.rs") {
            codec += found.len();
        } else {
            elsewhere.extend(found.into_iter().map(|line| format!("{}:{line}", name.display())));
        }
    }
    assert!(codec > 0, "nothing is found even where it belongs");
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

#[test]
fn an_encoding_in_the_core_is_told() {
    for line in [
        "use serde::Serialize;",
        "    serde_json::to_string(order)",
        "let hash = sha2::Sha256::digest(text);",
        "#[derive(Clone, serde::Serialize)]",
    ] {
        assert_eq!(encodings(&format!("//! An order.\n{line}\n")), [format!("2: {line}")]);
    }
    assert_eq!(encodings("//! Nothing of serde or of sha2 is here.\n"), [""; 0]);
}

/// What is wrong with an edge, if something is.
fn objection(edge: &Edge) -> Option<String> {
    let Edge { from, to, inside } = edge;
    let row = |table: &[(&str, &'static [&'static str])]| {
        table.iter().find(|(name, _)| name == from).map(|(_, may)| *may)
    };
    let may = match (inside, row(&INSIDE)) {
        (_, None) => return Some(format!("{from} has no row in architecture.rs")),
        (true, Some(may)) => may,
        (false, Some(_)) => row(&OUTSIDE)?,
    };
    (!may.contains(&to.as_str())).then(|| format!("{from} must not use {to}"))
}

/// The edges of the workspace, those for tests excepted.
fn edges() -> Vec<Edge> {
    let manifest = format!("{ROOT}/Cargo.toml");
    let arguments = ["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"];
    let mut cargo = Command::new(env!("CARGO"));
    let ran = cargo.args(arguments).args(["--manifest-path", &manifest]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let metadata: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let crates = metadata["packages"].as_array().unwrap();
    crates.iter().flat_map(edges_of).collect()
}

fn edges_of(one: &Value) -> impl Iterator<Item = Edge> {
    let used = one["dependencies"].as_array().unwrap().iter();
    used.filter(|used| used["kind"] != "dev").map(|used| Edge {
        from: one["name"].as_str().unwrap().to_owned(),
        to: used["name"].as_str().unwrap().to_owned(),
        inside: used["path"].is_string(),
    })
}

/// The lines that use an encoding, with their numbers.
fn encodings(source: &str) -> Vec<String> {
    let uses = |line: &str| {
        !line.trim_start().starts_with("//") && ENCODINGS.iter().any(|one| line.contains(one))
    };
    let lines = source.lines().enumerate().filter(|(_, line)| uses(line));
    lines.map(|(at, line)| format!("{}: {line}", at + 1)).collect()
}

/// Every Rust file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    let mut all: Vec<PathBuf> = entries.flat_map(below).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    all
}
