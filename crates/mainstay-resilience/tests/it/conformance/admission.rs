//! What was measured of what stands before a service that has more to do than it can.

use super::row::{Act, Answer, Dependency, Failure, MS, Make, PATIENCE, Row, Verdict};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// So many calls at a time, and what is beyond that waits, is refused, or both.
pub(crate) trait Admission: Send + Sync + Sized + 'static {
    /// Whether it tells tenants apart.
    const TENANTS: bool;

    fn new(places: usize) -> Option<Self>;

    /// Makes a call of `tenant`, if that can be done by `deadline` where it can be told.
    fn call(
        &self,
        tenant: &str,
        deadline: Instant,
        make: Make,
    ) -> impl Future<Output = Answer> + Send;
}

pub(crate) fn rows<A: Admission>() -> Vec<Row> {
    let part = "admission";
    vec![
        Row::new(part, "nothing waits beyond its deadline", nothing_waits_beyond_its_deadline::<A>),
        Row::new(part, "one tenant does not fill the queue", one_tenant_fills_no_queue::<A>),
        Row::new(part, "a healthy 20 ms in place of 10 costs no places", a_healthy_change::<A>),
        Row::new(part, "a burst of 8 slow replies costs no places", a_slow_burst::<A>),
    ]
}

/// A deadline that nobody reaches.
fn far() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

async fn nothing_waits_beyond_its_deadline<A: Admission>() -> Verdict {
    let Some(admission) = A::new(1).map(Arc::new) else { return Verdict::Absent };
    let dependency = Dependency::default();
    let hang = dependency.make(|_| Act::Hang);
    let mut callers = JoinSet::new();
    callers.spawn(one(&admission, "first", far(), &hang));
    while dependency.running() == 0 {
        sleep(MS).await;
    }
    for _ in 0..20 {
        callers.spawn(one(&admission, "later", Instant::now() + 100 * MS, &hang));
    }
    let mut refused = 0;
    let all = async {
        while refused < 20 {
            match callers.join_next().await {
                Some(Ok(Err(Failure::Refused))) => refused += 1,
                Some(_) | None => break,
            }
        }
    };
    let _ended = timeout(PATIENCE, all).await;
    let left = 20 - refused;
    Verdict::of(left == 0, format!("of 20 with 100 ms, {left} still wait after two seconds"))
}

async fn one_tenant_fills_no_queue<A: Admission>() -> Verdict {
    if !A::TENANTS {
        return Verdict::Absent;
    }
    let Some(admission) = A::new(1).map(Arc::new) else { return Verdict::Absent };
    let dependency = Dependency::default();
    let make = dependency.make(|_| Act::Take(5 * MS));
    let mut hot = JoinSet::new();
    for _ in 0..200 {
        hot.spawn(one(&admission, "hot", far(), &make));
    }
    while dependency.running() == 0 {
        sleep(MS).await;
    }
    let before = dependency.calls();
    let answer = timeout(PATIENCE, admission.call("quiet", far(), make)).await;
    let turns = dependency.calls() - before;
    let served = answer == Ok(Ok(())) && turns <= 5;
    Verdict::of(served, format!("another had {turns} calls before its own, or no answer"))
}

/// One call as a task.
fn one<A: Admission>(
    admission: &Arc<A>,
    tenant: &'static str,
    deadline: Instant,
    make: &Make,
) -> impl Future<Output = Answer> + Send + use<A> {
    let (admission, make) = (Arc::clone(admission), Arc::clone(make));
    async move { admission.call(tenant, deadline, make).await }
}

const PLACES: usize = 100;

/// A service that everybody calls as fast as they may.
struct Crowd {
    dependency: Dependency,
    /// Whether an answer takes 20 ms instead of 10.
    slower: Arc<AtomicBool>,
    /// How many of the next answers take ten times as long.
    stuck: Arc<AtomicUsize>,
    _callers: JoinSet<()>,
}

impl Crowd {
    fn of<A: Admission>(admission: &Arc<A>) -> Self {
        let dependency = Dependency::default();
        let (slower, stuck) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_slower, are_stuck) = (Arc::clone(&slower), Arc::clone(&stuck));
        let make = dependency.make(move |_| {
            let is_stuck = are_stuck.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
            let usual = if is_slower.load(SeqCst) { 20 * MS } else { 10 * MS };
            Act::Take(if is_stuck.is_ok() { 10 * usual } else { usual })
        });
        let mut callers = JoinSet::new();
        // Of ten tenants, since a part is kept free for one that comes next: the less, the more there are.
        for _ in 0..PLACES / 5 {
            for tenant in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
                callers.spawn(call_on(Arc::clone(admission), tenant, Arc::clone(&make)));
            }
        }
        Self { dependency, slower, stuck, _callers: callers }
    }

    /// The least of the most calls at a time that each twentieth of a second saw, over a time.
    async fn least_at_a_time(&self, time: Duration) -> usize {
        let until = Instant::now() + time;
        let mut least = usize::MAX;
        self.dependency.take_most();
        while Instant::now() < until {
            sleep(50 * MS).await;
            least = least.min(self.dependency.take_most());
        }
        least
    }
}

/// Calls again and again, until the crowd is gone.
async fn call_on<A: Admission>(admission: Arc<A>, tenant: &'static str, make: Make) {
    let until = far();
    while Instant::now() < until {
        if admission.call(tenant, far(), Arc::clone(&make)).await.is_err() {
            sleep(MS).await;
        }
    }
}

async fn a_healthy_change<A: Admission>() -> Verdict {
    let Some(admission) = A::new(PLACES).map(Arc::new) else { return Verdict::Absent };
    let crowd = Crowd::of(&admission);
    sleep(Duration::from_secs(1)).await;
    crowd.slower.store(true, SeqCst);
    let least = crowd.least_at_a_time(Duration::from_secs(2)).await;
    Verdict::of(least >= PLACES * 9 / 10, format!("of {PLACES} places, {least} were left"))
}

async fn a_slow_burst<A: Admission>() -> Verdict {
    let Some(admission) = A::new(PLACES).map(Arc::new) else { return Verdict::Absent };
    let crowd = Crowd::of(&admission);
    sleep(Duration::from_secs(1)).await;
    crowd.stuck.store(8, SeqCst);
    let least = crowd.least_at_a_time(Duration::from_secs(1)).await;
    Verdict::of(least >= PLACES * 9 / 10, format!("of {PLACES} places, {least} were left"))
}
