//! `orderly demo`: it holds, and leaves nothing behind.

use std::{fs, path::Path};

use crate::support::{Home, Process, Ran, until};

/// The demonstration in few orders, its temporary folder inside the home.
fn demo(home: &Home, orders: &str) -> Process {
    fs::create_dir_all(home.path("tmp")).unwrap();
    let arguments = ["demo", "--orders", orders, "--faults", "20", "--seed", "7"];
    let mut command = home.alone(&arguments);
    command.env("TMPDIR", home.path("tmp"));
    Process::start(command)
}

/// The processes whose command line names this folder.
fn processes_at(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = all.filter_map(|one| fs::read(one.path().join("cmdline")).ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    texts.filter(|line| line.contains(folder)).collect()
}

fn nothing_is_left(home: &Home) {
    let tmp = home.path("tmp");
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0, "files are left");
    assert_eq!(processes_at(&tmp), [""; 0], "processes are left");
}

#[tokio::test]
async fn the_demonstration_holds_and_leaves_nothing_behind() {
    let home = Home::new();
    let Ran { code, out, err } = demo(&home, "8").end().await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    for said in [
        "Idempotent-Replayed: true: the same order",
        "One order, one charge.",
        "8 of 8 done",
        "matched: the list and the store say the same",
        "Held in ",
    ] {
        assert!(out.contains(said), "{said} in {out}");
    }
    nothing_is_left(&home);
}

#[tokio::test]
async fn told_to_stop_it_takes_its_children_along() {
    let home = Home::new();
    let demo = demo(&home, "1000");
    until("the service runs", async || (!processes_at(&home.path("tmp")).is_empty()).then_some(()))
        .await;
    demo.signal("-INT");
    let ran = demo.end().await;
    assert_eq!(ran.code, Some(130), "{ran:?}");
    nothing_is_left(&home);
}

#[tokio::test]
async fn a_folder_with_something_in_it_is_refused() {
    let home = Home::new();
    fs::write(home.path("something"), "").unwrap();
    let ran = home.run_alone(&["demo", "--dir", "."]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("is not empty"), "{ran:?}");
}
