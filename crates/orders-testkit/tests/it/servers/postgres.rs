use orders_testkit::servers::{self, Postgres, Shutdown};

use super::{ask, processes_in};

#[test]
fn a_database_is_empty_and_belongs_to_a_role_that_row_security_binds() {
    let url = servers::postgres().database();
    assert_eq!(
        ask(&url, "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = user"),
        "orderly|f|f"
    );
    ask(&url, "CREATE TABLE mine (id int)");
    assert_ne!(url, servers::postgres().database());
    assert_eq!(ask(&url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "1");
}

#[test]
fn a_server_with_tls_is_known_by_the_authority_beside_it() {
    let postgres = Postgres::with_tls();
    let authority = postgres.directory().join("ca.pem");
    let url =
        format!("{}?sslmode=verify-ca&sslrootcert={}", postgres.database(), authority.display());
    assert_eq!(ask(&url, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
}

#[test]
fn what_was_committed_is_there_after_a_crash() {
    let postgres = Postgres::private(&[("cluster_name", "it's quoted")]);
    assert_eq!(postgres.sql("SHOW fsync"), "on");
    assert_eq!(postgres.sql("SHOW cluster_name"), "it's quoted");
    let url = postgres.database();
    ask(&url, "CREATE TABLE kept AS SELECT 7 AS id");
    postgres.restart(Shutdown::Immediate);
    assert_eq!(ask(&url, "SELECT id FROM kept"), "7");
    postgres.restart(Shutdown::Fast);
    assert_eq!(ask(&url, "SELECT id FROM kept"), "7");
}

#[test]
fn nothing_of_a_stopped_server_is_left() {
    let postgres = Postgres::private(&[]);
    let directory = postgres.directory().to_owned();
    assert!(processes_in(&directory).len() > 1, "the server and its helpers");
    postgres.stop(Shutdown::Fast);
    assert_eq!(processes_in(&directory), Vec::<String>::new());
    postgres.start();
    drop(postgres);
    assert_eq!(processes_in(&directory), Vec::<String>::new());
    assert!(!directory.exists());
}

#[test]
fn a_promoted_standby_has_what_a_synchronous_primary_acknowledged() {
    let primary = Postgres::private(&[]);
    let standby = Postgres::standby(&primary);
    primary.set("synchronous_standby_names", "*");
    primary.restart(Shutdown::Fast);
    let url = primary.database();
    ask(&url, "CREATE TABLE kept AS SELECT 7 AS id");
    primary.stop(Shutdown::Immediate);
    standby.promote();
    let there = url.replace(&format!(":{}/", primary.port()), &format!(":{}/", standby.port()));
    assert_eq!(ask(&there, "SELECT id FROM kept"), "7");
    ask(&there, "CREATE TABLE written (id int)");
}
