//! Mainstay's parts, as the suite wants them.

use super::{
    admission, breaker, hedge, layer, limit, pool, race, retry,
    row::{Answer, Failure, MS, Make, Stack, Work, ask, maker},
};
use mainstay_context::{Context, Principal, RequestId};
use mainstay_resilience::{
    Call, Jitter,
    admission::{Admission as Admitting, Config as AdmissionConfig},
    breaker::{self as breaking, Outcome},
    bulkhead::{self, Bulkhead, Full},
    pool::{Config as PoolConfig, Pool as Threads},
    race::{first_ok, hedge as hedged},
    rate_limit::{self, Limiter, Rate},
    retry::{self as retrying, Budget, BudgetConfig, Policy, Repeat, Safety, Verdict},
};
use std::{num::NonZeroU32, time::Duration};
use tokio::time::Instant;
use tower::{
    Layer as _, ServiceExt as _, service_fn,
    util::{BoxCloneService, ServiceFn},
};

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn context() -> Context {
    Context::new(RequestId::from_bytes([7; 16]))
}

impl From<breaking::Refused> for Failure {
    fn from(_: breaking::Refused) -> Self {
        Self::Refused
    }
}

impl From<Full> for Failure {
    fn from(_: Full) -> Self {
        Self::Refused
    }
}

/// A call as a request that may be made again.
#[derive(Clone)]
struct Asked(Make);

impl Call for Asked {
    fn context(&self) -> Option<&Context> {
        None
    }
}

impl Repeat for Asked {
    fn safety(&self) -> Safety {
        Safety::Safe
    }

    fn attempt(&self, _attempt: u32) -> Self {
        self.clone()
    }
}

/// Makes every call that it is asked for.
fn asked() -> ServiceFn<fn(Asked) -> Work> {
    service_fn::<fn(Asked) -> Work>(|asked| (asked.0)())
}

pub(crate) struct Breaker(Stack);

impl breaker::Breaker for Breaker {
    fn new() -> Option<Self> {
        let config = breaking::Config {
            // The window alone has to see it.
            consecutive_failures: None,
            window: breaker::WINDOW,
            open_least: breaker::OPEN / 2,
            probe_timeout: breaker::PROBE,
            ..breaking::Config::default()
        };
        let breaker = breaking::Breaker::new(config, Jitter::none(), now());
        let outcome = |answer: &Answer| match answer {
            Ok(()) => Outcome::Success,
            Err(Failure::Failed) => Outcome::FAILURE,
            Err(Failure::Refused) => Outcome::Ignored,
        };
        let service = breaking::Layer::new(breaker, outcome).layer(maker());
        Some(Self(BoxCloneService::new(service)))
    }

    fn call(&self, make: Make) -> impl Future<Output = Answer> + Send {
        ask(self.0.clone(), make)
    }
}

/// Retries after this time, within a budget of their own.
fn retries(
    first_delay: Duration,
) -> retrying::Layer<impl Fn(&Answer) -> Verdict + Clone + Send + Sync + 'static> {
    let policy = Policy { first_delay, most_delay: first_delay, ..Policy::default() };
    let budget = Budget::new(&BudgetConfig::default(), now());
    let verdict = |answer: &Answer| match answer {
        Err(Failure::Failed) => Verdict::MaybeSent { retry_after: None },
        Err(Failure::Refused) => Verdict::Refused,
        Ok(()) => Verdict::Final,
    };
    retrying::Layer::new(policy, budget, Jitter::none(), verdict)
}

pub(crate) struct Retry(Stack);

impl retry::Retry for Retry {
    fn new() -> Option<Self> {
        let service = retries(MS).layer(asked()).map_request(Asked);
        Some(Self(BoxCloneService::new(service)))
    }

    fn call(&self, make: Make) -> impl Future<Output = Answer> + Send {
        ask(self.0.clone(), make)
    }
}

pub(crate) struct Limit(Limiter<u32>);

/// One a minute.
const RATE: Rate = Rate::new(NonZeroU32::MIN, Duration::from_mins(1), NonZeroU32::MIN);

impl limit::Limit for Limit {
    fn new() -> Self {
        Self(Limiter::new(&rate_limit::Config::default(), now()))
    }

    fn check(&self, key: u32) -> Option<bool> {
        Some(self.0.check(&key, RATE, 1, now()).is_ok())
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.held())
    }

    async fn wait(&self, time: Duration) -> bool {
        let cx = context().with_deadline(now() + time);
        self.0.acquire(&0, RATE, 1, Some(&cx)).await.is_ok()
    }
}

pub(crate) struct Admission(Admitting);

impl admission::Admission for Admission {
    const TENANTS: bool = true;

    fn new(places: usize) -> Option<Self> {
        let config = AdmissionConfig { in_service: places, queue: 10_000, queue_per_tenant: 1_000 };
        Some(Self(Admitting::new(config, Jitter::none())))
    }

    async fn call(&self, tenant: &str, deadline: Instant, make: Make) -> Answer {
        let cx = context().with_principal(Principal::new(tenant, "till"));
        let cx = cx.with_deadline(deadline.into_std());
        let Ok(_permit) = self.0.acquire(Some(&cx), Duration::ZERO).await else {
            return Err(Failure::Refused);
        };
        make().await
    }
}

pub(crate) struct Pool(Threads);

impl pool::Pool for Pool {
    fn start() -> Option<Self> {
        Threads::start("conformance", &PoolConfig { threads: 1, queue: 64 }).ok().map(Self)
    }

    fn submit(&self, job: pool::Job) -> Option<pool::Ticket> {
        let ticket = self.0.try_submit(job).ok()?;
        Some(Box::pin(async move { ticket.await.is_ok() }))
    }

    async fn shut_down(&self) -> bool {
        let _left_behind = self.0.shutdown(10 * MS).await;
        true
    }
}

pub(crate) struct Race;

impl race::Race for Race {
    async fn first(calls: Vec<Work>) -> Result<(), usize> {
        first_ok(calls).await.map_err(|errors| errors.len())
    }
}

pub(crate) struct Hedge(Budget);

impl hedge::Hedge for Hedge {
    fn new() -> Self {
        Self(Budget::new(&BudgetConfig::default(), now()))
    }

    async fn call(&mut self, make: Make) -> Answer {
        self.0.call();
        let answer = hedged(&context(), hedge::AFTER, &self.0, |_cx| make()).await;
        answer.map_err(|_errors| Failure::Failed)
    }
}

pub(crate) struct Layer(bulkhead::Layer);

impl layer::Layer for Layer {
    fn new() -> Option<Self> {
        let config = bulkhead::Config {
            max_in_flight: 1,
            max_wait: Duration::from_secs(1),
            ..bulkhead::Config::default()
        };
        Some(Self(bulkhead::Layer::new(Bulkhead::new(config))))
    }

    fn stack(&self) -> Stack {
        BoxCloneService::new(self.0.layer(asked()).map_request(Asked))
    }

    fn with_retries(&self) -> Option<Stack> {
        let service = retries(layer::BACKOFF).layer(self.0.layer(asked()));
        Some(BoxCloneService::new(service.map_request(Asked)))
    }
}
