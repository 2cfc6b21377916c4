//! Whatever is asked in whatever order, the sums of a payment hold, and the ledger's own sums, the
//! sums made anew and a model agree.

use gateway_sim::{
    Ledger,
    ledger::{self, Answer, Marks},
    operation::{Command, Id, Kind, Money, Status, Totals},
};
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*, sample::select};
use tempfile::TempDir;

use crate::support::{id, key};

/// A payment as the contract tells it, by another way than the simulator's.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    authorized: i64,
    captured: i64,
    voided: Option<i64>,
    refunded: i64,
}

impl Model {
    fn left(&self) -> i64 {
        self.authorized - self.captured - self.voided.unwrap_or_default()
    }

    /// Whether it takes effect, and how much that moves.
    fn ask(&mut self, kind: Kind, amount: i64) -> Option<i64> {
        let open = self.voided.is_none();
        match kind {
            Kind::Authorization if open => self.authorized += amount,
            Kind::Capture if open && amount <= self.left() => self.captured += amount,
            Kind::Refund if self.refunded + amount <= self.captured => self.refunded += amount,
            Kind::Void if open && self.left() > 0 => {
                self.voided = Some(self.left());
                return self.voided;
            }
            Kind::Authorization | Kind::Capture | Kind::Refund | Kind::Void => return None,
        }
        Some(amount)
    }

    fn is(&self, totals: &Totals) -> bool {
        let voided = self.voided.unwrap_or_default();
        let own = [self.authorized, self.captured, voided, self.refunded];
        let told = [totals.authorized, totals.captured, totals.voided, totals.refunded];
        own == told.map(|money| money.minor)
    }
}

fn command(kind: Kind, payment: Id, amount: i64) -> Command {
    let money = Money::new(amount, "EUR".parse().unwrap());
    Command {
        kind,
        reference: id(),
        payment,
        amount: (kind != Kind::Void).then_some(money),
        instrument: (kind == Kind::Authorization).then(|| "tok_ok".to_owned()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn sums_hold(steps in vec((0..2_usize, select(&Kind::ALL[..]), 1..100_i64, any::<bool>()), 1..40)) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&ledger::Config { path, ..ledger::Config::default() }).unwrap();
        let (payments, mut models) = ([id(), id()], [Model::default(); 2]);
        for (which, kind, amount, twice) in steps {
            let (command, key) = (command(kind, payments[which], amount), key());
            let apply = || {
                ledger.apply(&command, &key, Marks::default(), Timestamp::now()).unwrap()
            };
            let Answer::Decided(operation) = apply() else { panic!("its key is new") };
            if twice {
                prop_assert_eq!(apply(), Answer::Replayed(operation.clone()));
            }
            let moved = models[which].ask(kind, amount);
            prop_assert_eq!(operation.status == Status::Succeeded, moved.is_some(), "{:?}", operation);
            if let Some(moved) = moved {
                prop_assert_eq!(operation.amount.minor, moved);
            }
            prop_assert!(models[which].is(&operation.totals), "{:?} {:?}", models[which], operation);
        }
        for payment in ledger.all().unwrap() {
            let model = models[usize::from(payment.payment == payments[1])];
            prop_assert!(model.is(&payment.totals), "{:?} {:?}", model, payment);
            prop_assert!(model.captured + model.voided.unwrap_or_default() <= model.authorized);
            prop_assert!(model.refunded <= model.captured);
        }
    }
}

#[test]
fn the_file_itself_refuses_sums_that_do_not_hold() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger =
        Ledger::open(&ledger::Config { path: path.clone(), ..Default::default() }).unwrap();
    let authorization = command(Kind::Authorization, id(), 100);
    ledger.apply(&authorization, &key(), Marks::default(), Timestamp::now()).unwrap();
    drop(ledger);
    let file = rusqlite::Connection::open(path).unwrap();
    let set = |what: &str| file.execute(&format!("UPDATE payments SET {what}"), []).is_ok();
    assert!(set("captured = 60, voided = 40, refunded = 60"));
    for broken in ["captured = 61", "voided = 41", "refunded = 61", "refunded = -1", "voided = -1"]
    {
        assert!(!set(broken), "{broken}");
    }
}
