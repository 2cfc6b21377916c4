//! Telemetry as a process has it, in a process of its own: there is one for each.

use mainstay::telemetry::{self, Config, Format};
use serde_json::Value;
use std::process::Command;

#[test]
#[ignore = "the process that the other test here starts"]
fn child() {
    let config = Config { format: Format::Json, level: "warn".to_owned(), ..Config::default() };
    let guard = telemetry::init("child", &config).unwrap();
    tracing::info!("below the level");
    assert!(guard.levels().set("loud").is_err());
    guard.levels().set("info").unwrap();
    tracing::info!(now = guard.levels().get(), "above the level");
    assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
    assert!(telemetry::init("child", &config).is_err(), "it was started before");
}

#[test]
fn a_process_tells_in_json_what_is_above_its_level_and_its_panics_too() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "telemetry::child", "--ignored", "--no-capture"]);
    let ran = child.output().unwrap();
    let log = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{log}");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{log}")))
        .collect();
    let [told, panicked] = &lines[..] else { panic!("two lines: {log}") };
    assert_eq!((&told["message"], &told["now"]), (&"above the level".into(), &"info".into()));
    assert_eq!(
        (&panicked["message"], &panicked["panic"]),
        (&"a thread panicked".into(), &"on purpose".into())
    );
    assert!(panicked["place"].as_str().unwrap().contains("telemetry.rs:"), "{panicked}");
}
