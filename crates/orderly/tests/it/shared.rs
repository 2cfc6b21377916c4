//! PostgreSQL as the store of several processes: the same commands, and what each process does.

use crate::support::{Home, Ran};

#[cfg(feature = "postgres")]
mod with_postgres;

/// A run that did nothing, for this reason.
#[track_caller]
fn refused(ran: &Ran, reason: &str) {
    assert_eq!(ran.out, "", "{ran:?}");
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    assert!(ran.err.contains(reason), "not told: {reason}\n{}", ran.err);
}

#[tokio::test]
async fn the_embedded_store_is_for_one_process_that_does_everything() {
    for roles in ["api", "worker,relay"] {
        let home = Home::new();
        for command in [&["serve"][..], &["config", "check"]] {
            let ran = home.run(&[command, &["--roles", roles]].concat()).await;
            refused(&ran, "roles (flag roles): it needs postgres.url: the embedded store belongs");
        }
        assert!(!home.store().exists());
    }
    let ran = Home::new().run(&["config", "check", "--roles", "web"]).await;
    refused(&ran, "\"web\" is no role; give all, or some of api, relay and worker");
}

#[tokio::test]
async fn a_password_has_no_place_in_a_url() {
    let secret = "correct-horse";
    for (key, url) in [
        ("postgres.url", format!("postgres://orderly:{secret}@127.0.0.1/orderly")),
        ("postgres.url", format!("postgres://orderly:a/{secret}@127.0.0.1/orderly")),
        ("postgres.url", format!("postgres://orderly@127.0.0.1/orderly?password={secret}")),
        ("postgres.direct_url", format!("postgres://orderly:{secret}@127.0.0.1/orderly")),
    ] {
        let home = Home::new()
            .set("postgres.url=postgres://orderly@127.0.0.1/orderly")
            .set(&format!("{key}={url}"));
        for command in [&["serve"][..], &["migrate"], &["config", "check"]] {
            let ran = home.run(command).await;
            refused(
                &ran,
                &format!("{key} (flag {key}): it holds a password, which would be shown"),
            );
            assert!(!ran.err.contains(secret), "{}", ran.err);
        }
    }
}

#[tokio::test]
async fn tls_towards_the_database_is_checked_before_it_is_used() {
    let home = Home::new().set("postgres.url=postgres://orderly@127.0.0.1/orderly");
    for (setting, reason) in [
        (
            "postgres.url=postgres://orderly@db-1/orderly?sslmode=verify-full",
            "postgres.url (flag postgres.url): its sslmode must be disable, prefer or require",
        ),
        (
            "postgres.ca_file=no-ca.pem",
            "postgres.ca_file (flag postgres.ca_file): cannot read authorities from no-ca.pem",
        ),
    ] {
        let home = home.clone().set(setting);
        for command in [&["serve"][..], &["config", "check"]] {
            refused(&home.run(command).await, reason);
        }
    }
}

#[tokio::test]
async fn the_embedded_store_needs_no_migration() {
    let home = Home::new();
    refused(&home.run(&["migrate"]).await, "the embedded store makes its tables by itself");
    assert!(!home.store().exists());
}

#[cfg(not(feature = "postgres"))]
#[tokio::test]
async fn a_build_without_postgres_says_which_one_has_it() {
    let home = Home::new().set("postgres.url=postgres://orderly@127.0.0.1/orderly");
    std::fs::write(home.path("empty"), "").unwrap();
    for command in [
        &["serve"][..],
        &["migrate"],
        &["config", "check"],
        &["audit"],
        &["reconcile", "empty"],
        &["import", "empty", "--tenant", "acme"],
    ] {
        let how = "this build was made without it; build it with `cargo build --release -p orderly \
                   --features postgres,kafka`";
        refused(&home.run(command).await, &how);
    }
}
