//! A link of a chain of services, and the load on it: what `scripts/check/deadline` runs.
//!
//! `chain link --next http://ADDRESS` passes its requests on, with what is left of their time;
//! `chain link --store FILE --orders 300000 --burn-ms 25` is the last: it never answers `/wait`, and
//! for `/read` asks its store for more than it can get, when 25 ms are left. Both print where they
//! listen as one line of JSON, and end at SIGTERM. `chain load --target http://ADDRESS
//! --deadline-ms 300 --rate 240 --requests 12000 --reads 10` sends requests at a steady rate, one in
//! ten of them a read, and prints what came of them.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for a check: it prints figures and fails by panicking"
)]

mod link;
mod load;

use std::{collections::BTreeMap, process::ExitCode};

use hyper_util::client::legacy::{Client, connect::HttpConnector};

/// A client as a service has it, for requests without a body.
type HttpClient = Client<HttpConnector, axum::body::Body>;

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let options = Options::read(words);
    match what.as_str() {
        "link" => link::serve(&options).await,
        "load" => load::run(&options).await,
        other => {
            println!("{other:?} is neither link nor load");
            ExitCode::FAILURE
        }
    }
}

/// `--name value` pairs.
struct Options(BTreeMap<String, String>);

impl Options {
    fn read(words: impl Iterator<Item = String>) -> Self {
        let words: Vec<String> = words.collect();
        let pair = |pair: &[String]| (pair[0].trim_start_matches("--").to_owned(), pair[1].clone());
        Self(words.chunks(2).map(pair).collect())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).map_or(default, |value| value.parse().unwrap())
    }
}
