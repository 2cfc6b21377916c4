use super::*;
use std::sync::{Mutex, PoisonError, atomic::AtomicBool, mpsc};

const MS: Duration = Duration::from_millis(1);
/// Longer than any test takes.
const LONG: Duration = Duration::from_mins(1);

/// A pool of one thread.
fn pool(queue: usize) -> Pool {
    Pool::start("test", &Config { threads: 1, queue }).unwrap()
}

/// Keeps the thread busy until the sender is dropped.
async fn occupy(pool: &Pool) -> (mpsc::Sender<()>, Ticket<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let (tell, begun) = oneshot::channel();
    let work = move || {
        tell.send(()).unwrap_or_default();
        gate.recv().unwrap_or_default();
    };
    let ticket = pool.try_submit(work).unwrap();
    begun.await.unwrap();
    (open, ticket)
}

/// A job that tells whether it was begun.
fn witness() -> (Arc<AtomicBool>, impl FnOnce() + Send + 'static) {
    let begun = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&begun);
    (begun, move || tell.store(true, Relaxed))
}

/// Every job that a pool was done with, as it was told.
fn heard(pool: Pool) -> (Pool, Arc<Mutex<Vec<Fate>>>) {
    let fates = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&fates);
    let listen = move |done: Done| {
        hear.lock().unwrap_or_else(PoisonError::into_inner).push(done.fate);
    };
    (pool.with_listener(listen), fates)
}

#[tokio::test]
async fn a_result_comes_back_from_a_thread_of_the_pool() {
    let pool = pool(8);
    let name = || thread::current().name().map(str::to_owned);
    assert_eq!(pool.try_submit(name).unwrap().await, Ok(Some("test-1".to_owned())));
    assert_eq!(pool.submit_by(None, clock::now() + LONG, || 42).await, Ok(42));
}

#[tokio::test]
async fn an_owner_of_half_the_queue_leaves_the_rest_to_others() {
    let pool = pool(4);
    let (open, first) = occupy(&pool).await;
    let submit = |owner: &str| pool.0.0.submit(Some(&owner.into()), None, || ());
    let tickets = [submit("a").unwrap(), submit("a").unwrap(), submit("b").unwrap()];
    assert_eq!(submit("a").err(), Some(Error::Full));
    let last = submit("b").unwrap();
    drop(open);
    for ticket in [first, last].into_iter().chain(tickets) {
        assert_eq!(ticket.await, Ok(()));
    }
    assert_eq!(pool.submit_by(Some(&"a".into()), clock::now() + LONG, || 7).await, Ok(7));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let pool = pool(1);
    let (open, first) = occupy(&pool).await;
    let second = pool.try_submit(|| 2).unwrap();
    assert_eq!(pool.try_submit(|| 3).err(), Some(Error::Full));
    assert_eq!(pool.submit_by(None, clock::now() + LONG, || 4).await, Err(Error::Full));
    assert_eq!(pool.snapshot(), Snapshot { threads: 1, running: 1, waiting: 1 });
    drop(open);
    assert_eq!((first.await, second.await), (Ok(()), Ok(2)));
}

#[tokio::test]
async fn a_job_whose_time_is_over_is_answered_and_never_begun() {
    let pool = pool(8);
    let (open, _first) = occupy(&pool).await;
    let (begun, work) = witness();
    assert_eq!(pool.submit_by(None, clock::now() + 5 * MS, work).await, Err(Error::Expired));
    drop(open);
    // The thread takes one after the other.
    assert_eq!(pool.try_submit(|| ()).unwrap().await, Ok(()));
    assert!(!begun.load(Relaxed));
}

#[test]
fn a_job_whose_deadline_has_passed_by_its_turn_is_not_begun() {
    let ((begun, work), now) = (witness(), clock::now());
    let (reply, mut result) = oneshot::channel();
    assert_eq!(attend(Some(now), now, reply, work), Fate::Expired);
    assert_eq!(result.try_recv(), Ok(Err(Error::Expired)));
    assert!(!begun.load(Relaxed));
}

#[tokio::test]
async fn a_job_whose_submitter_is_gone_is_never_begun() {
    let (pool, fates) = heard(pool(8));
    let (open, first) = occupy(&pool).await;
    let (begun, work) = witness();
    drop(pool.try_submit(work).unwrap());
    drop(open);
    first.await.unwrap();
    assert_eq!(pool.shutdown(LONG).await, 0);
    assert!(!begun.load(Relaxed));
    assert_eq!(*fates.lock().unwrap(), [Fate::Finished, Fate::Abandoned]);
}

#[tokio::test]
async fn a_panic_ends_its_job_only() {
    let (pool, fates) = heard(pool(8));
    let panics = pool.try_submit(|| -> u32 { panic!("on purpose") }).unwrap();
    assert_eq!(panics.await, Err(Error::Panicked("on purpose".to_owned())));
    assert_eq!(pool.try_submit(|| 7).unwrap().await, Ok(7));
    assert_eq!(pool.shutdown(LONG).await, 0);
    assert_eq!(*fates.lock().unwrap(), [Fate::Panicked, Fate::Finished]);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[tokio::test]
async fn a_job_that_panics_as_it_is_dropped_ends_no_thread() {
    let pool = pool(8);
    let (open, first) = occupy(&pool).await;
    let bomb = Bomb;
    drop(pool.try_submit(move || drop(bomb)).unwrap());
    drop(open);
    first.await.unwrap();
    assert_eq!(pool.submit_by(None, clock::now() + LONG, || 7).await, Ok(7));
    assert_eq!(pool.snapshot().threads, 1);
    assert_eq!(pool.shutdown(LONG).await, 0);
}

#[tokio::test]
async fn a_shutdown_lets_what_waits_run_for_as_long_as_it_may() {
    let pool = pool(8);
    let (open, first) = occupy(&pool).await;
    let second = pool.try_submit(|| 2).unwrap();
    let (left, ()) = tokio::join!(pool.shutdown(LONG), async {
        tokio::task::yield_now().await;
        assert_eq!(pool.try_submit(|| 3).err(), Some(Error::Closed));
        drop(open);
    });
    assert_eq!((left, first.await, second.await), (0, Ok(()), Ok(2)));
    assert_eq!(pool.snapshot(), Snapshot { threads: 0, running: 0, waiting: 0 });
}

#[tokio::test]
async fn after_a_shutdown_nobody_waits_not_even_for_a_job_that_never_ends() {
    let (pool, fates) = heard(pool(8));
    let (open, hangs) = occupy(&pool).await;
    let (begun, work) = witness();
    let waits = pool.try_submit(work).unwrap();
    assert_eq!(pool.shutdown(5 * MS).await, 1);
    assert_eq!((hangs.await, waits.await), (Err(Error::Closed), Err(Error::Closed)));
    assert_eq!(pool.submit_by(None, clock::now() + LONG, || ()).await, Err(Error::Closed));
    assert_eq!(*fates.lock().unwrap(), [Fate::Cut]);
    drop(open);
    assert_eq!(pool.shutdown(LONG).await, 0);
    assert!(!begun.load(Relaxed));
}

#[tokio::test]
async fn the_threads_end_with_what_waits_when_the_last_handle_is_gone() {
    let pool = pool(8);
    let mut threads = pool.0.0.threads.subscribe();
    let (open, first) = occupy(&pool).await;
    let second = pool.clone().try_submit(|| 2).unwrap();
    drop((pool, open));
    assert_eq!((first.await, second.await), (Ok(()), Ok(2)));
    // The sender goes with the last thread.
    let _ended = threads.wait_for(|left| *left == 0).await.is_ok();
    assert_eq!(*threads.borrow(), 0);
}
