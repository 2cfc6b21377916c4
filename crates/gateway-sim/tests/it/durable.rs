//! What was answered is in the ledger, whatever became of the process.

use std::time::Duration;

use futures_util::future::join_all;
use gateway_sim::{
    Ledger,
    ledger::{self, Answer, Marks, OpenError},
    operation::{Command as Asked, Kind, Money},
};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::{
    program::Process,
    support::{Lost, Shop, authorization, id, key, post, request, send},
};

const PATH: &str = "/v1/authorizations";

#[tokio::test]
async fn a_ledger_that_is_dropped_and_opened_again_holds_what_was_decided() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    let config = ledger::Config { path, ..ledger::Config::default() };
    let asked = Asked {
        kind: Kind::Authorization,
        reference: id(),
        payment: id(),
        amount: Some(Money::new(2_000, "EUR".parse().unwrap())),
        instrument: Some("tok_ok".to_owned()),
    };
    let (key, now) = (key(), Timestamp::now());
    let apply = |ledger: &Ledger| ledger.apply(&asked, &key, Marks::default(), now).unwrap();
    let first = Ledger::open(&config).unwrap();
    let Answer::Decided(operation) = apply(&first) else { panic!("it is the first") };
    assert!(matches!(Ledger::open(&config), Err(OpenError::InUse(_))), "one writer at a time");
    drop(first);
    let second = opened_again(&config).await;
    assert_eq!(second.find(asked.reference).unwrap().as_ref(), Some(&operation));
    assert_eq!(apply(&second), Answer::Replayed(operation));
    assert_eq!(second.all().unwrap().len(), 1);
}

/// The ledger that was just let go of. A process that another test is starting holds the lock too,
/// until it has begun its own program.
async fn opened_again(config: &ledger::Config) -> Ledger {
    for _ in 0..200 {
        match Ledger::open(config) {
            Err(OpenError::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("the ledger stays in use");
}

#[tokio::test]
async fn a_restarted_simulator_replays() {
    let shop = Shop::new().await;
    let (key, body) = (key(), authorization(id(), id(), "tok_ok"));
    let first = shop.operate(PATH, &key, &body).await;
    let shop = shop.restart().await;
    let again = shop.operate(PATH, &key, &body).await;
    assert_eq!((again.json(), again.is_replayed()), (first.json(), true));
}

#[tokio::test]
async fn the_fault_of_a_token_strikes_once_over_restarts() {
    let shop = Shop::new().await;
    let (key, body) = (key(), authorization(id(), id(), "tok_fault_effect-lost"));
    assert_eq!(shop.post(PATH, &key, &body).await.unwrap_err(), Lost::Unanswered);
    let shop = shop.restart().await;
    assert_eq!(shop.operate(PATH, &key, &body).await.json()["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_loses_nothing_it_has_answered() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path());
    let address = process.address;
    let callers = join_all((0..4).map(async |_| {
        let mut answered = Vec::new();
        loop {
            let (reference, key) = (id(), key());
            let body = authorization(reference, id(), "tok_ok");
            match post(address, PATH, &key, &body).await {
                Ok(answer) => answered.push((reference, key, body, answer.json())),
                Err(_lost) => return answered,
            }
        }
    }));
    let kill = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        tokio::task::spawn_blocking(|| process.kill()).await.unwrap();
    };
    let (answered, ()) = tokio::join!(callers, kill);
    let answered: Vec<_> = answered.into_iter().flatten().collect();
    assert!(answered.len() > 10, "{}", answered.len());

    let process = Process::start(folder.path());
    for (reference, key, body, told) in &answered {
        let path = format!("/v1/operations/{reference}");
        let lookup = request("GET", &path).body(http_body_util::Full::default()).unwrap();
        assert_eq!(send(process.address, lookup).await.unwrap().json(), *told);
        assert!(post(process.address, PATH, key, body).await.unwrap().is_replayed());
    }
    process.kill();
}
