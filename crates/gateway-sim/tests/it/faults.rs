//! Each fault does what it says: to the caller, and to the ledger.

use std::time::Duration;

use gateway_sim::{
    Fault,
    faults::{DownMode, Next, Target},
    operation::{Id, Kind},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, Lost, Shop, amounted, authorization, id, key, until};

const PATH: &str = "/v1/authorizations";

/// One authorization whose first try a fault strikes.
struct Struck {
    shop: Shop,
    reference: Id,
    key: String,
    body: Value,
    first: Result<Answer, Lost>,
    took: Duration,
}

impl Struck {
    async fn by(faults: &str) -> Self {
        let (shop, reference, key) = (Shop::new().await, id(), key());
        let body = authorization(reference, id(), &format!("tok_fault_{faults}_1"));
        let began = Instant::now();
        let first = shop.post(PATH, &key, &body).await;
        Self { shop, reference, key, body, first, took: began.elapsed() }
    }

    async fn again(&self) -> Answer {
        self.shop.operate(PATH, &self.key, &self.body).await
    }

    fn effects(&self) -> u64 {
        self.shop.summary().successful.authorization
    }

    /// Asserts that the first try took effect, and that the next finds it.
    async fn took_effect(&self) {
        assert_eq!(self.effects(), 1);
        assert_eq!(self.shop.lookup(self.reference).await.status, 200);
        let again = self.again().await;
        assert_eq!((again.status.as_u16(), again.is_replayed()), (200, true));
        assert_eq!(self.effects(), 1);
    }

    /// The operation that was told, beside the one that happened.
    async fn told_and_true(&self) -> (Value, Value) {
        let told = self.first.as_ref().unwrap().json();
        (told, self.shop.lookup(self.reference).await.json())
    }
}

#[tokio::test]
async fn an_answer_lost_took_effect() {
    let struck = Struck::by("answer-lost").await;
    assert_eq!(struck.first.as_ref().unwrap_err(), &Lost::Unanswered);
    struck.took_effect().await;
}

#[tokio::test]
async fn an_effect_lost_did_not_happen() {
    let struck = Struck::by("effect-lost").await;
    assert_eq!(struck.first.as_ref().unwrap_err(), &Lost::Unanswered);
    assert_eq!(struck.effects(), 0);
    struck.shop.lookup(struck.reference).await.problem(404, "not-found");
    assert!(!struck.again().await.is_replayed());
    assert_eq!(struck.effects(), 1);
}

#[tokio::test]
async fn an_error_after_success_took_effect() {
    let struck = Struck::by("error-after-success").await;
    struck.first.as_ref().unwrap().problem(500, "internal");
    struck.took_effect().await;
}

#[tokio::test]
async fn a_reset_breaks_the_answer_in_its_middle() {
    let struck = Struck::by("reset").await;
    assert_eq!(struck.first.as_ref().unwrap_err(), &Lost::Halfway);
    struck.took_effect().await;
}

#[tokio::test]
async fn a_slow_drip_is_slow_and_whole() {
    let struck = Struck::by("slow-drip").await;
    let answer = struck.first.as_ref().unwrap();
    let bytes = u32::try_from(answer.body.len()).unwrap();
    assert!(struck.took >= struck.shop.config.faults.drip * bytes, "{:?}", struck.took);
    assert_eq!(answer.json()["status"], "succeeded");
    struck.took_effect().await;
}

#[tokio::test]
async fn a_hang_is_bounded_and_took_effect() {
    let struck = Struck::by("hang").await;
    assert!(struck.took >= struck.shop.config.faults.hang, "{:?}", struck.took);
    assert_eq!(struck.first.as_ref().unwrap().json()["status"], "succeeded");
    struck.took_effect().await;
}

#[tokio::test]
async fn a_caller_that_gives_up_on_a_hang_finds_the_effect() {
    let shop = Shop::with(|config| config.faults.hang = Duration::from_hours(1)).await;
    let (reference, key) = (id(), key());
    let body = authorization(reference, id(), "tok_fault_hang");
    let waited = tokio::time::timeout(Duration::from_secs(1), shop.post(PATH, &key, &body));
    assert!(waited.await.is_err());
    assert_eq!(shop.lookup(reference).await.json()["status"], "succeeded");
    assert!(shop.operate(PATH, &key, &body).await.is_replayed());
}

#[tokio::test]
async fn a_hang_outlasts_the_deadline_that_the_caller_sends() {
    let shop = Shop::new().await;
    let body = authorization(id(), id(), "tok_fault_hang");
    let request = crate::support::request("POST", PATH)
        .header("x-request-timeout-ms", "100")
        .header("idempotency-key", key())
        .header("content-type", "application/json");
    let request = request.body(http_body_util::Full::from(body.to_string())).unwrap();
    let began = Instant::now();
    let answer = crate::support::send(shop.sim.address(), request).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(began.elapsed() >= shop.config.faults.hang);
}

#[tokio::test]
async fn a_late_apply_happens_after_the_caller_gave_up() {
    let struck = Struck::by("late-apply").await;
    assert_eq!(struck.first.as_ref().unwrap_err(), &Lost::Unanswered);
    struck.shop.lookup(struck.reference).await.problem(404, "not-found");
    until(|| struck.effects() == 1).await;
    struck.took_effect().await;
}

#[tokio::test]
async fn a_retry_that_overtakes_a_late_apply_is_the_one_effect() {
    let struck = Struck::by("late-apply").await;
    assert!(!struck.again().await.is_replayed());
    tokio::time::sleep(struck.shop.config.faults.late * 2).await;
    struck.took_effect().await;
}

#[tokio::test]
async fn lies_are_told_and_not_kept() {
    for (fault, pointer) in [
        ("lie-amount", "/amount/amount_minor"),
        ("lie-currency", "/amount/currency"),
        ("lie-key", "/idempotency_key"),
    ] {
        let struck = Struck::by(fault).await;
        let (mut told, real) = struck.told_and_true().await;
        assert_ne!(told.pointer(pointer), real.pointer(pointer), "{fault}");
        *told.pointer_mut(pointer).unwrap() = real.pointer(pointer).unwrap().clone();
        assert_eq!(told, real, "{fault}: nothing else differs");
        assert_eq!(struck.again().await.json(), real);
    }
}

#[tokio::test]
async fn a_redirect_leads_to_who_counts_its_followers() {
    let struck = Struck::by("redirect").await;
    let answer = struck.first.as_ref().unwrap();
    assert_eq!(answer.status, 307);
    struck.took_effect().await;
    assert_eq!(struck.shop.sim.faults().redirects_followed(), 0);
    let leads = answer.headers["location"].to_str().unwrap();
    struck.shop.post(leads, &struck.key, &struck.body).await.unwrap();
    assert_eq!(struck.shop.sim.faults().redirects_followed(), 1);
}

#[tokio::test]
async fn a_huge_answer_is_as_large_as_configured() {
    let struck = Struck::by("huge-answer").await;
    let bytes = struck.first.as_ref().unwrap().body.len();
    assert!(bytes >= 4 << 20, "{bytes}");
    struck.took_effect().await;
    assert_eq!(gateway_sim::Config::default().faults.huge_bytes, 1 << 30);
}

#[tokio::test]
async fn a_burst_refuses_before_the_effect() {
    let shop = Shop::new().await;
    shop.sim.faults().next(Fault::Burst429, 3);
    let body = authorization(id(), id(), "tok_ok");
    let key = key();
    for _ in 0..3 {
        let answer = shop.operate(PATH, &key, &body).await;
        answer.problem(429, "too-many-requests");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(shop.summary().operations, 0);
    assert!(!shop.operate(PATH, &key, &body).await.is_replayed());
}

#[tokio::test]
async fn a_key_whose_window_expired_is_new_and_the_effect_doubles() {
    let struck = Struck::by("answer-lost+key-window-expired").await;
    assert_eq!(struck.first.as_ref().unwrap_err(), &Lost::Unanswered);
    assert!(!struck.again().await.is_replayed());
    assert_eq!(struck.effects(), 2);
    assert_eq!(struck.shop.summary().references_doubled, 1);
    assert!(struck.again().await.is_replayed(), "the second try is remembered as usual");
}

#[tokio::test]
async fn a_plan_strikes_the_next_of_its_kind() {
    let shop = Shop::new().await;
    shop.sim.faults().next_of(Kind::Capture, Fault::AnswerLost, 2);
    let payment = shop.authorized().await;
    for lost in [true, true, false] {
        let capture = amounted(id(), payment, 1);
        assert_eq!(shop.post("/v1/captures", &key(), &capture).await.is_err(), lost);
    }
    assert_eq!(shop.payment(payment).totals.captured.minor, 3);
    assert_eq!(shop.sim.faults().struck(Fault::AnswerLost), 2);
}

#[tokio::test]
async fn lookups_can_be_struck_by_name() {
    let shop = Shop::new().await;
    let faults = shop.sim.faults();
    faults.next_of(Target::Lookup, Fault::AnswerLost, 1);
    faults.next_of(Target::Lookup, Fault::Burst429, 1);
    let path = format!("/v1/operations/{}", id());
    assert_eq!(shop.get(&path).await.unwrap_err(), Lost::Unanswered);
    shop.get(&path).await.unwrap().problem(429, "too-many-requests");
    shop.get(&path).await.unwrap().problem(404, "not-found");
}

#[tokio::test]
async fn rates_strike_by_chance_and_the_seed_decides() {
    let run = async || {
        let shop = Shop::with(|config| {
            config.faults.rates.insert(Fault::AnswerLost, 0.5);
        })
        .await;
        let mut lost = Vec::new();
        for _ in 0..40 {
            let body = authorization(id(), id(), "tok_ok");
            lost.push(shop.post(PATH, &key(), &body).await.is_err());
        }
        assert_eq!(shop.summary().operations, 40, "every one took effect");
        lost
    };
    let first = run().await;
    let count = first.iter().filter(|lost| **lost).count();
    assert!((8..=32).contains(&count), "{count}");
    assert_eq!(run().await, first);
}

#[tokio::test]
async fn faults_are_set_and_told_over_http() {
    let shop = Shop::new().await;
    let plan = json!({
        "rates": { "answer-lost": 0.0 },
        "next": [{ "faults": ["error-after-success", "webhook-late"], "kind": "authorization", "count": 1 }],
    });
    let told = shop.put("/sim/faults", &plan).await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(told.json()["plan"]["next"], plan["next"]);
    let body = authorization(id(), id(), "tok_ok");
    shop.operate(PATH, &key(), &body).await.problem(500, "internal");
    let now = shop.get("/sim/faults").await.unwrap().json();
    assert_eq!(now["plan"]["next"], json!([]));
    assert_eq!(now["struck"]["error-after-success"], 1);
    assert_eq!(now["known"].as_object().unwrap().len(), Fault::ALL.len());
    for wrong in [
        json!({ "rates": { "answer-lost": 1.5 } }),
        json!({ "rates": { "gremlins": 0.5 } }),
        json!({ "next": [{ "faults": ["hang"], "kind": "chargeback", "count": 1 }] }),
        json!({ "faults": [] }),
    ] {
        shop.put("/sim/faults", &wrong).await.problem(400, "malformed");
    }
    assert_eq!(shop.sim.faults().plan().rates.len(), 1, "what is wrong changes nothing");
}

#[tokio::test]
async fn several_faults_of_one_plan_strike_together() {
    let shop = Shop::new().await;
    let faults = vec![Fault::LieAmount, Fault::LieKey];
    shop.sim.faults().plan_next(Next { faults, kind: None, count: 1 });
    let key = key();
    let told = shop.operate(PATH, &key, &authorization(id(), id(), "tok_ok")).await.json();
    assert_eq!(told["amount"]["amount_minor"], "2001");
    assert_ne!(told["idempotency_key"], key);
}

#[tokio::test]
async fn down_refuses_or_hangs_until_it_is_over() {
    let shop = Shop::new().await;
    let (faults, body, key) = (shop.sim.faults(), authorization(id(), id(), "tok_ok"), key());
    faults.down(DownMode::Refuse, None);
    for _ in 0..3 {
        shop.operate(PATH, &key, &body).await.problem(503, "unavailable");
    }
    shop.lookup(id()).await.problem(503, "unavailable");
    shop.get("/v1/capabilities").await.unwrap().problem(503, "unavailable");
    assert_eq!(shop.get("/sim/ledger").await.unwrap().status, 200, "the judge is never down");

    faults.down(DownMode::Hang, Some(Duration::from_millis(100)));
    let began = Instant::now();
    assert_eq!(shop.post(PATH, &key, &body).await.unwrap_err(), Lost::Unanswered);
    assert!(began.elapsed() >= shop.config.faults.hang);
    assert_eq!(shop.summary().operations, 0);
    assert_eq!(shop.operate(PATH, &key, &body).await.status, 200, "it ended by itself");
}

#[tokio::test]
async fn a_reset_of_the_simulator_forgets_all() {
    let shop = Shop::new().await;
    shop.authorized().await;
    shop.sim.faults().next(Fault::Hang, 7);
    let answer = shop.post("/sim/reset", &key(), &json!({})).await.unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!((shop.summary().payments, shop.summary().operations), (0, 0));
    assert_eq!(shop.sim.faults().plan(), gateway_sim::faults::Plan::default());
}
