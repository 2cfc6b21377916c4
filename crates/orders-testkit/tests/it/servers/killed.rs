use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use orders_testkit::servers::Postgres;

use super::processes_in;

const NAME: &str = "servers::killed::a_killed_test_leaves_neither_its_server_nor_its_directory";
const VICTIM: &str = "ORDERLY_TEST_IS_THE_VICTIM";

/// The same test in a process of its own is the victim.
#[test]
fn a_killed_test_leaves_neither_its_server_nor_its_directory() {
    if env::var_os(VICTIM).is_some() {
        be_killed();
    }
    let mut victim = Command::new(env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let directory = lines
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("directory: ").map(str::to_owned))
        .unwrap();
    let directory = Path::new(&directory);
    assert!(processes_in(directory).len() > 1, "the server and its helpers");
    victim.kill().unwrap();
    victim.wait().unwrap();
    while directory.exists() || !processes_in(directory).is_empty() {
        pause();
    }
}

#[expect(clippy::print_stdout, reason = "the killer reads it")]
fn be_killed() -> ! {
    let postgres = Postgres::private(&[]);
    println!("\ndirectory: {}", postgres.directory().display());
    loop {
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "there is no runtime to block")]
fn pause() {
    thread::sleep(Duration::from_millis(10));
}
