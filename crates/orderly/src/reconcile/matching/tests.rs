use mainstay_context::TraceContext;
use orders::domain::{
    AttemptId, ChangeId, Draft, DraftLine, Means, OrderId, OrderNumber, PaymentId, Snapshot, Stamp,
    TenantId, UnitPrice,
};

use super::{
    super::found::{KEPT, Sum, Sums},
    *,
};

/// 2026-03-01T00:00:00Z, in milliseconds.
const MIDNIGHT: u64 = 1_772_323_200_000;

fn time(millis: u64) -> Timestamp {
    Timestamp::from_millisecond(millis.try_into().unwrap()).unwrap()
}

/// The id of this name, drawn at this time.
fn id(name: u8, millis: u64) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(millis, &[name; 10]).into_uuid()
}

fn eur(minor: i64) -> Money {
    Money::new(minor, "EUR".parse().unwrap())
}

fn attempt(name: u8, operation: PaymentOperation, minor: i64, state: AttemptState) -> Attempt {
    let id = AttemptId(id(name, MIDNIGHT));
    Attempt { state, ..Attempt::open(id, operation, eur(minor)) }
}

const AUTHORIZE: PaymentOperation = PaymentOperation::Authorize;
const CAPTURE: PaymentOperation = PaymentOperation::Capture;
const VOID: PaymentOperation = PaymentOperation::Void;

/// The payment of every order here.
fn payment() -> Uuid {
    id(200, MIDNIGHT)
}

/// An order of 10 EUR with these attempts.
fn order(state: State, attempts: Vec<Attempt>) -> Order {
    let line = DraftLine {
        sku: "tea".to_owned(),
        name: None,
        quantity: 1,
        unit_price: UnitPrice::parse("1000", "EUR".parse().unwrap()).unwrap(),
        discount: None,
        tax: None,
    };
    let draft = Draft { customer_id: "c".to_owned(), lines: vec![line], ..Draft::default() };
    let stamp = Stamp {
        change: ChangeId(Uuid::nil()),
        at: time(MIDNIGHT),
        actor: "test".into(),
        request_id: "test".parse().unwrap(),
        trace: TraceContext::NONE,
    };
    let (order_id, number) = (OrderId(Uuid::nil()), OrderNumber::from_bits(1));
    let tenant: TenantId = "shop".parse().unwrap();
    let placement = draft.check().unwrap();
    let placed = Order::place(order_id, number, tenant, &placement, &stamp).order;
    let means = Means::Instrument("tok_ok".parse().unwrap());
    let payments = vec![Payment { id: PaymentId(payment()), means, attempts }];
    Order::restore(Snapshot { state, payments, ..Snapshot::clone(&placed) }).unwrap()
}

/// A line of the list, as our attempt of this name would be listed.
fn line(name: u8, operation: PaymentOperation, minor: i64) -> Line {
    Line {
        reference: id(name, MIDNIGHT),
        payment: payment(),
        operation,
        amount: eur(minor),
        at: time(MIDNIGHT),
        number: u64::from(name) + 1,
    }
}

fn compare(lines: Vec<Line>, orders: &[Order], period: Option<Period>) -> Report {
    let mut matching = Matching::new(lines, period);
    for order in orders {
        matching.order(order);
    }
    matching.finish()
}

fn kinds(report: &Report) -> Vec<Kind> {
    report.breaks.iter().map(|one| one.kind).collect()
}

/// An order that was authorized and captured, as attempts 1 and 2.
fn captured() -> Order {
    let happened = |name, operation| attempt(name, operation, 1000, AttemptState::Succeeded);
    order(State::Confirmed, vec![happened(1, AUTHORIZE), happened(2, CAPTURE)])
}

#[test]
fn what_agrees_is_counted_and_added_up_on_both_sides() {
    let lines = vec![line(2, CAPTURE, 1000), line(1, AUTHORIZE, 1000)];
    let report = compare(lines, &[captured()], None);
    assert_eq!((kinds(&report), report.matched, report.orders), (vec![], 2, 1));
    let sum = Sum { count: 1, minor: 1000 };
    let captures = report.sums[&("EUR".parse().unwrap(), CAPTURE)];
    assert_eq!(captures, Sums { there: sum, ours: sum });
}

#[test]
fn what_only_one_side_has_is_told_with_its_order() {
    // The capture is missing, and there is another that nobody here asked for.
    let lines = vec![line(1, AUTHORIZE, 1000), line(9, CAPTURE, 300)];
    let report = compare(lines, &[captured()], None);
    assert_eq!(kinds(&report), [Kind::OnlyThere, Kind::OnlyOurs]);
    assert_eq!(report.breaks[0].order.as_ref().unwrap().number, captured().number);
    assert_eq!(report.breaks[1].reference, Some(id(2, MIDNIGHT)));

    let mut foreign = line(9, CAPTURE, 300);
    foreign.payment = id(201, MIDNIGHT);
    let report = compare(vec![foreign], &[], None);
    assert_eq!(kinds(&report), [Kind::OnlyThere]);
    assert_eq!(report.breaks[0].order, None);
}

#[test]
fn every_difference_is_named() {
    let change = |change: fn(&mut Line)| {
        let mut capture = line(2, CAPTURE, 1000);
        change(&mut capture);
        let report = compare(vec![line(1, AUTHORIZE, 1000), capture], &[captured()], None);
        assert_eq!(kinds(&report), [Kind::Differs]);
        report.breaks[0].what.clone()
    };
    for (what, part) in [
        (change(|line| line.amount = eur(999)), "the amount is 10.00 EUR with us, and 9.99 EUR"),
        (
            change(|line| line.amount.currency = "USD".parse().unwrap()),
            "the currency is EUR with us, and USD",
        ),
        (change(|line| line.operation = VOID), "the operation is capture with us, and void"),
        (change(|line| line.payment = id(201, MIDNIGHT)), "the payment is"),
    ] {
        assert!(what.contains(part), "{part} in {what}");
    }
}

#[test]
fn a_line_that_stands_twice_is_told_once_for_each_time_too_many() {
    let mut again = line(2, CAPTURE, 1000);
    again.number = 77;
    let lines = vec![line(1, AUTHORIZE, 1000), line(2, CAPTURE, 1000), again];
    let report = compare(lines, &[captured()], None);
    assert_eq!(kinds(&report), [Kind::ListedTwice]);
    assert_eq!(report.breaks[0].what, "lines 3 and 77 have this reference");
}

#[test]
fn what_settled_there_and_is_not_known_here_is_told() {
    for (state, kind) in [
        (AttemptState::Open, Kind::Unresolved),
        (AttemptState::Unknown, Kind::Unresolved),
        (AttemptState::Parked, Kind::Unresolved),
        (AttemptState::Declined("no".parse().unwrap()), Kind::Declined),
    ] {
        let order = order(State::Pending, vec![attempt(1, AUTHORIZE, 1000, state)]);
        let report = compare(vec![line(1, AUTHORIZE, 1000)], &[order], None);
        assert_eq!(kinds(&report), [kind]);
    }
    // What did not settle there, and is not known to have happened here, is no break.
    let order = order(State::Pending, vec![attempt(1, AUTHORIZE, 1000, AttemptState::Unknown)]);
    assert_eq!(kinds(&compare(vec![], &[order], None)), []);
}

#[test]
fn money_that_is_out_under_a_cancelled_order_is_told() {
    let happened = |name, operation| attempt(name, operation, 1000, AttemptState::Succeeded);
    let cancelled = order(State::Cancelled, vec![happened(1, AUTHORIZE), happened(2, VOID)]);
    let both = vec![line(1, AUTHORIZE, 1000), line(2, VOID, 1000)];
    assert_eq!(kinds(&compare(both, std::slice::from_ref(&cancelled), None)), []);
    let report = compare(vec![line(1, AUTHORIZE, 1000)], &[cancelled], None);
    assert_eq!(kinds(&report), [Kind::OnlyOurs, Kind::CalledOff]);
    assert!(report.breaks[1].what.contains("10.00 EUR are held"), "{report:?}");
}

#[test]
fn a_list_of_a_period_is_not_blamed_for_what_is_outside() {
    let day = 24 * 3_600_000;
    let period = |from: u64, to: u64| Some(Period { from: time(from), to: time(to) });
    let list = Vec::new;
    let report = compare(list(), &[captured()], period(MIDNIGHT + 1, MIDNIGHT + day));
    assert_eq!((kinds(&report), report.at_the_edge), (vec![], 0));
    let report = compare(list(), &[captured()], period(MIDNIGHT - day, MIDNIGHT));
    assert_eq!((kinds(&report), report.at_the_edge), (vec![], 0));
    let report = compare(list(), &[captured()], period(MIDNIGHT, MIDNIGHT + 60_000));
    assert_eq!((kinds(&report), report.at_the_edge), (vec![], 2));
    let report = compare(list(), &[captured()], period(MIDNIGHT, MIDNIGHT + day));
    assert_eq!(kinds(&report), [Kind::OnlyOurs, Kind::OnlyOurs]);
}

#[test]
fn a_list_of_somebody_else_is_counted_and_not_kept() {
    let strangers = (0..20_000).map(|number| {
        let reference = Uuid::from_u64_pair(7, number);
        Line { reference, payment: reference, number, ..line(1, CAPTURE, 1) }
    });
    let report = compare(strangers.collect(), &[], None);
    assert_eq!((report.found, report.breaks.len()), (20_000, KEPT));
}
