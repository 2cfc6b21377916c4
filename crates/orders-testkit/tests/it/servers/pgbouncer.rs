use orders_testkit::servers::{self, PgBouncer};

use super::{ask, processes_in};

#[test]
fn a_database_answers_through_the_pool_and_again_after_its_restart() {
    let bouncer = PgBouncer::before(servers::postgres(), 2);
    let url = servers::postgres().database();
    let pooled = bouncer.url(&url);
    assert_ne!(pooled, url);
    ask(&pooled, "CREATE TABLE kept AS SELECT 7 AS id");
    assert_eq!(ask(&url, "SELECT id FROM kept"), "7");
    assert_eq!(ask(&pooled, "SELECT user"), "orderly");
    assert_eq!(ask(&bouncer.url(&servers::postgres().admin_url()), "SELECT user"), "postgres");
    bouncer.stop();
    bouncer.start();
    assert_eq!(ask(&pooled, "SELECT id FROM kept"), "7");
}

#[test]
fn nothing_of_a_dropped_pool_is_left() {
    let bouncer = PgBouncer::before(servers::postgres(), 2);
    let directory = bouncer.directory().to_owned();
    assert_eq!(processes_in(&directory).len(), 1);
    drop(bouncer);
    assert_eq!(processes_in(&directory), Vec::<String>::new());
    assert!(!directory.exists());
}
