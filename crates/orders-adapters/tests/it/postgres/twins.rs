//! One key over two processes that write to one database.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use orders::{
    Error, Refusal,
    domain::{Draft, Version},
    ports::{NotWritten, Ports as _},
    usecase::{Done, Verb},
};
use orders_adapters::postgres::{self, Config};
use orders_testkit::{World, builders, servers};
use tokio::task::JoinSet;

use super::{
    beside::{Session, replicas, sound, until},
    process::{Process, process},
};

/// Drafts sent at once, in turn to the one process and to the other; what each was answered.
async fn at_once(
    replicas: &[Process; 2],
    key: &str,
    drafts: impl Iterator<Item = Draft>,
) -> Vec<Result<(String, bool), Error>> {
    let mut tasks = JoinSet::new();
    for (draft, orders) in drafts.zip(replicas.iter().cycle().cloned()) {
        let key = builders::key(key);
        tasks.spawn(async move {
            let done = orders.create(&builders::context("shop"), draft, key).await?;
            Ok((done.record.order.id.to_string(), done.replayed))
        });
    }
    tasks.join_all().await
}

async fn close(replicas: &[Process; 2]) {
    join_all(replicas.iter().map(async |orders| orders.ports().store().close().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_over_two_processes_make_one_order() {
    let config = Config::at(servers::postgres().database());
    let both = replicas(&config).await;
    for round in 0..20_u64 {
        let twins = std::iter::repeat_with(builders::draft).take(64);
        let answers = at_once(&both, &format!("twins-{round}"), twins).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let first = answers.iter().filter(|(_, replayed)| !replayed).count();
        assert_eq!(first, 1, "{answers:?}");
        assert!(answers.iter().all(|(id, _)| *id == answers[0].0), "{answers:?}");
        assert_eq!(sound(&config).await, round + 1);
    }
    close(&both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_key_is_taken_takes_nobody_of_its_batch_with_it() {
    let config = Config::at(servers::postgres().database());
    let both = replicas(&config).await;
    let place = async |key: String| {
        let cx = builders::context("shop");
        both[0].create(&cx, builders::draft(), builders::key(&key)).await.unwrap().replayed
    };
    assert!(!place("taken".to_owned()).await);
    // Batches that are undone for it, batches that are looked at before, and batches without one.
    for (round, replays) in [(0, 1), (1, 4), (2, 1), (3, 0), (4, 1)] {
        let old = std::iter::repeat_n("taken".to_owned(), replays);
        let new = (0..32).map(|n| format!("new-{round}-{n}"));
        let answers = join_all(old.chain(new).map(&place)).await;
        let replayed = answers.iter().filter(|replayed| **replayed).count();
        assert_eq!(replayed, replays, "{answers:?}");
    }
    assert_eq!(sound(&config).await, 1 + 5 * 32);
    close(&both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stands_for_one_payload_over_two_processes() {
    let config = Config::at(servers::postgres().database());
    let both = replicas(&config).await;
    for round in 0..20_u64 {
        let drafts = (0..64_i64).map(|n| Draft {
            lines: vec![builders::line("tea", 1 + n % 4 / 2, "100")],
            ..builders::draft()
        });
        let answers = at_once(&both, &format!("payloads-{round}"), drafts).await;
        let reused = |answer: &Result<_, Error>| matches!(answer, Err(Error::KeyReused));
        let made: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        assert_eq!(made.iter().filter(|(_, replayed)| !replayed).count(), 1, "{answers:?}");
        assert!(made.iter().all(|(id, _)| *id == made[0].0), "{answers:?}");
        assert_eq!((made.len(), answers.iter().filter(|answer| reused(*answer)).count()), (32, 32));
        assert_eq!(sound(&config).await, round + 1);
    }
    close(&both).await;
}

/// How many keys stand for an order and for a refusal at once.
const TORN: &str = "SELECT count(*) FROM orders o JOIN receipts r
    ON r.tenant = o.tenant AND r.operation = 'create' AND r.key = o.create_key";

async fn refusals_race_with_creates(config: &Config, rounds: u64) {
    let both = replicas(config).await;
    let beside = Session::open(config).await;
    let taken = || Draft { external_reference: Some("taken".to_owned()), ..builders::draft() };
    both[0].create(&builders::context("shop"), taken(), builders::key("taker")).await.unwrap();
    for round in 0..rounds {
        // The one draft cannot be placed, since its reference is taken, and the other can.
        let drafts =
            (0..4_u64).map(|n| if (n + round / 2) % 2 == 0 { taken() } else { builders::draft() });
        let answers = at_once(&both, &format!("race-{round}"), drafts).await;
        let made = answers.iter().filter(|answer| answer.is_ok()).count();
        let refused = |answer: &&Result<_, Error>| {
            let Err(Error::Refused { refusal, .. }) = answer else { return false };
            matches!(refusal, Refusal::ExternalReferenceTaken { .. })
        };
        let refused = answers.iter().filter(refused).count();
        let others = answers.iter().filter(|a| matches!(a, Err(Error::KeyReused))).count();
        // Whoever came first under the key decided for both of its kind.
        assert!(matches!((made, refused, others), (2, 0, 2) | (0, 2, 2)), "{answers:?}");
    }
    assert_eq!(beside.number(TORN).await, 0);
    let kept = "SELECT count(*) FROM receipts WHERE operation = 'create'";
    let (refused, made) = (beside.number(kept).await, sound(config).await - 1);
    assert_eq!(u64::try_from(refused).unwrap() + made, rounds);
    close(&both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_never_stands_for_an_order_and_a_refusal() {
    refusals_race_with_creates(&Config::at(servers::postgres().database()), 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_the_keys_of_a_batch_stands_for_an_order_and_a_refusal() {
    const KEYS: usize = 32;
    const ROUNDS: usize = 40;
    let config = Config {
        lock_timeout: Duration::from_secs(10),
        ..Config::at(servers::postgres().database())
    };
    let both = replicas(&config).await;
    let beside = Session::open(&config).await;
    let cx = builders::context("shop");
    let taken =
        |n: usize| Draft { external_reference: Some(format!("taken-{n}")), ..builders::draft() };
    let create = async |at: usize, draft: Draft, key: String| {
        both[at].create(&cx, draft, builders::key(&key)).await
    };
    for answer in join_all((0..KEYS).map(|n| create(0, taken(n), format!("taker-{n}")))).await {
        answer.unwrap();
    }
    for round in 0..ROUNDS {
        let key = |n: usize| format!("race-{round}-{n}");
        let (refused, made) = tokio::join!(
            join_all((0..KEYS).map(|n| create(0, taken(n), key(n)))),
            join_all((0..KEYS).map(|n| create(1, builders::draft(), key(n)))),
        );
        for (refused, made) in refused.iter().zip(&made) {
            // Whoever came first under the key decided for the other.
            let is_settled = matches!(
                (refused, made),
                (Err(Error::Refused { .. }), Err(Error::KeyReused))
                    | (Err(Error::KeyReused), Ok(_))
            );
            assert!(is_settled, "{refused:?}, {made:?}");
        }
    }
    assert_eq!(beside.number(TORN).await, 0);
    let kept = beside.number("SELECT count(*) FROM receipts WHERE operation = 'create'").await;
    let decided = u64::try_from(kept).unwrap() + sound(&config).await;
    assert_eq!(decided, u64::try_from(KEYS + KEYS * ROUNDS).unwrap());
    close(&both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stands_for_one_thing_whatever_isolation_the_database_prefers() {
    let config = Config::at(servers::postgres().database());
    let prefer = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation \
                  = ''repeatable read''', current_database()); END $$";
    Session::open(&config).await.run(prefer).await;
    refusals_race_with_creates(&config, 300).await;
}

/// Lets a tenant's new order wait, before it commits, for whoever holds the lock.
const SLOW: &str = "
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.tenant = 'slow' THEN PERFORM pg_advisory_xact_lock(1); END IF;
    RETURN new;
END
$$;
CREATE TRIGGER slow AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow();";

#[tokio::test]
async fn a_refusal_is_remembered_while_an_order_is_made_under_another_key() {
    let url = servers::postgres().database();
    let config = Config { lock_timeout: Duration::from_mins(1), ..Config::at(url) };
    let both = replicas(&config).await;
    let (holder, beside) = (Session::open(&config).await, Session::open(&config).await);
    beside.run(SLOW).await;
    let taken = || Draft { external_reference: Some("taken".to_owned()), ..builders::draft() };
    let quick = builders::context("quick");
    both[1].create(&quick, taken(), builders::key("taker")).await.unwrap();
    holder.run("SELECT pg_advisory_lock(1)").await;
    let slow = Arc::clone(&both[0]);
    let mut made = JoinSet::new();
    made.spawn(async move {
        let cx = builders::context("slow");
        slow.create(&cx, builders::draft(), builders::key("first")).await.unwrap();
    });
    until(async || beside.waiting().await == 1).await;

    let refused = both[1].create(&quick, taken(), builders::key("second")).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    let kept = "SELECT count(*) FROM receipts WHERE operation = 'create'";
    assert_eq!(beside.number(kept).await, 1);
    holder.run("SELECT pg_advisory_unlock(1)").await;
    made.join_all().await;
    assert_eq!(sound(&config).await, 2);
    close(&both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_of_a_verb_over_two_processes_are_carried_out_once() {
    let config = Config::at(servers::postgres().database());
    let both = replicas(&config).await;
    let cx = builders::context("shop");
    for round in 0..20_u64 {
        let key = builders::key(&format!("verbs-{round}"));
        let placed = both[0].create(&cx, builders::draft(), key.clone()).await.unwrap();
        let mut tasks = JoinSet::new();
        for twin in 0..32_usize {
            let orders = Arc::clone(&both[twin % 2]);
            let verb = Verb { key: Some(key.clone()), ..builders::confirm(placed.record.order.id) };
            tasks.spawn(async move { orders.act(&builders::context("shop"), verb).await });
        }
        let answers = tasks.join_all().await;
        let done: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(done.iter().filter(|done| !done.replayed).count(), 1);
        let second = Version::FIRST.next();
        assert!(done.iter().all(|done| done.record.order.version == second));
    }
    assert_eq!(sound(&config).await, 20);
    close(&both).await;
}

/// Lets a tenant's new order wait in its commit for whoever holds the lock, however long that is.
const SLOW_COMMIT: &str = "
CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.tenant = 'slow' THEN
        PERFORM set_config('lock_timeout', '0', true);
        PERFORM pg_advisory_xact_lock(1);
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION slow_commit();";

/// A process one of whose orders is being committed until the lock is let go of.
struct Committing {
    orders: Process,
    config: Config,
    holder: Session,
    beside: Session,
    twins: JoinSet<Result<Done, Error>>,
}

impl Committing {
    async fn start(lock_timeout: Duration) -> Self {
        let config = Config {
            lock_timeout,
            answer_timeout: Duration::from_mins(1),
            ..Config::at(servers::postgres().database())
        };
        postgres::migrate(&config).await.unwrap();
        let orders = process(&config, &World::new(1)).await;
        let (holder, beside) = (Session::open(&config).await, Session::open(&config).await);
        beside.run(SLOW_COMMIT).await;
        beside.count_inserts("orders").await;
        holder.run("SELECT pg_advisory_lock(1)").await;
        let mut scene = Self { orders, config, holder, beside, twins: JoinSet::new() };
        scene.place_twin();
        until(async || scene.beside.waiting().await == 1).await;
        scene
    }

    fn place_twin(&mut self) {
        let orders = Arc::clone(&self.orders);
        self.twins.spawn(async move {
            orders
                .create(&builders::context("slow"), builders::draft(), builders::key("twin"))
                .await
        });
    }

    async fn let_go(&self) {
        self.holder.run("SELECT pg_advisory_unlock(1)").await;
    }
}

#[tokio::test]
async fn a_twin_of_what_is_being_committed_stays_behind_and_undoes_nobody() {
    let mut scene = Committing::start(Duration::from_mins(1)).await;
    scene.place_twin();
    let store = scene.orders.ports().store();
    until(async || store.queue_depth() == 1).await;
    let quick = builders::context("quick");
    for n in 0..3 {
        let key = builders::key(&format!("quick-{n}"));
        scene.orders.create(&quick, builders::draft(), key).await.unwrap();
    }
    assert_eq!(store.queue_depth(), 1);
    scene.let_go().await;
    let mut replayed = Vec::new();
    while let Some(twin) = scene.twins.join_next().await {
        replayed.push(twin.unwrap().unwrap().replayed);
    }
    assert_eq!(replayed, [false, true]);
    // The first, and the three that were quick; for the twin it was only looked.
    assert_eq!(scene.beside.inserts().await, 4);
    assert_eq!(sound(&scene.config).await, 4);
    store.close().await;
}

#[tokio::test]
async fn nobody_stays_behind_for_ever_what_gets_no_answer() {
    let mut scene = Committing::start(Duration::from_millis(100)).await;
    scene.place_twin();
    until(async || scene.beside.inserts().await > 1).await;
    assert_eq!(scene.beside.waiting().await, 1, "the first is still being committed");
    scene.let_go().await;
    let answers = std::mem::take(&mut scene.twins).join_all().await;
    let is_settled = |answer: &Result<Done, Error>| {
        matches!(answer, Ok(_) | Err(Error::NotWritten(NotWritten::Busy)))
    };
    assert!(answers.iter().all(is_settled), "{answers:?}");
    assert!(answers.iter().any(|answer| answer.as_ref().is_ok_and(|done| !done.replayed)));
    assert_eq!(sound(&scene.config).await, 1);
    scene.orders.ports().store().close().await;
}
