//! One key, one decision: all tries under one idempotency key, held against each other.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use orders::ports::Operation;

use super::{
    book::{Book, Outcome, Try},
    judge::{Row, Truth},
};

/// Requests by their numbers.
type Tries<'a> = Vec<(usize, &'a Try)>;

/// The tries of one key, and the rows they wrote.
struct Group<'a> {
    truth: &'a Truth,
    tries: Tries<'a>,
    remember: SignedDuration,
    forgets: &'a [Timestamp],
    turned_back: bool,
}

/// Judges every key of a run.
pub(super) fn judge(truth: &Truth, book: &Book, remember: SignedDuration, wrong: &mut Vec<String>) {
    let mut groups: BTreeMap<(usize, Operation, u32), Tries<'_>> = BTreeMap::new();
    for (request, sent) in book.tries.iter().enumerate() {
        let asked = &sent.asked;
        if let Some(key) = asked.key {
            let group = groups.entry((asked.tenant, asked.operation, key)).or_default();
            group.push((request, sent));
        }
    }
    for (key, tries) in groups {
        let group =
            Group { truth, tries, remember, forgets: &book.forgets, turned_back: book.turned_back };
        let mut found = Vec::new();
        group.rows(&mut found);
        for (request, sent) in &group.tries {
            group.one(*request, sent, &mut found);
        }
        group.decisions(&mut found);
        wrong.extend(found.into_iter().map(|what| format!("key {key:?}: {what}")));
    }
}

fn overlaps_or_precedes(earlier: &Try, later: &Try) -> bool {
    earlier.started < later.ended
}

impl Group<'_> {
    fn written(&self) -> impl Iterator<Item = (usize, &Try, &Row)> {
        self.tries.iter().flat_map(move |(request, sent)| {
            let rows = self.truth.by_request[*request].iter();
            rows.map(move |at| (*request, *sent, &self.truth.rows[*at]))
        })
    }

    fn expiry(&self, decided: Timestamp) -> Timestamp {
        decided.saturating_add(self.remember).unwrap_or(Timestamp::MAX)
    }

    /// Whether a receipt that expires then may have been forgotten some time.
    fn may_be_forgotten(&self, expires: Timestamp) -> bool {
        self.forgets.iter().any(|forgot| *forgot >= expires)
    }

    /// A create's key makes one order for ever, a verb's one change while it is live.
    fn rows(&self, wrong: &mut Vec<String>) {
        let mut rows: Vec<&Row> = self.written().map(|(_, _, row)| row).collect();
        rows.sort_by_key(|row| row.position);
        for pair in rows.windows(2) {
            let expires = self.expiry(pair[0].entry.at);
            let create = self.tries[0].1.asked.operation == Operation::Create;
            if create || (pair[1].entry.at < expires && !self.may_be_forgotten(expires)) {
                let (first, second) = (pair[0].position, pair[1].position);
                wrong.push(format!("two changes, at {first} and at {second}"));
            }
        }
    }

    /// What one answer says of the key.
    fn one(&self, request: usize, sent: &Try, wrong: &mut Vec<String>) {
        let content = sent.asked.content;
        let others = || self.tries.iter().filter(|(other, _)| *other != request);
        let before = |same: bool| {
            others().any(|(_, other)| {
                (other.asked.content == content) == same && overlaps_or_precedes(other, sent)
            })
        };
        let plausible = match sent.outcome {
            Outcome::KeyReused => before(false),
            // A create whose refusal was remembered and whose answer was lost asks again, and is
            // told of its own decision as one made before.
            Outcome::Refused { replayed: true, .. } => {
                before(true) || sent.asked.operation == Operation::Create
            }
            Outcome::Done { order, replayed: true, .. } => {
                self.written().any(|(by, other, row)| {
                    let alive = sent.wall.is_none_or(|(from, _)| from < self.expiry(row.entry.at));
                    by != request && row.order == order && alive && other.asked.content == content
                })
            }
            Outcome::KeyExpired(order) => self.written().any(|(_, _, row)| {
                let over = sent.wall.is_none_or(|(_, to)| to >= self.expiry(row.entry.at));
                row.order == order && over
            }),
            Outcome::Done { .. }
            | Outcome::Refused { .. }
            | Outcome::Mismatch(_)
            | Outcome::NotFound
            | Outcome::NotWritten
            | Outcome::Unknown
            | Outcome::Gone
            | Outcome::Absurd => true,
        };
        if !plausible {
            wrong.push(format!("request {request:x}: {:?} has no ground", sent.outcome));
        }
    }

    /// While a decision is live, every later answer under its key is that decision.
    fn decisions(&self, wrong: &mut Vec<String>) {
        let starts = self.tries.iter().map(|(_, sent)| sent.wall.map(|(from, _)| from));
        // Where the clock was moved during a try, nothing certain can be said of its time.
        let Some(Some(first)) = starts.min() else { return };
        let expires = self.expiry(first);
        // Nor where it was turned back: the process may still have worked for a client that was
        // gone, and a key may have been renewed after its time and be live once more.
        let open_end = |(_, sent): &(usize, &Try)| {
            sent.outcome == Outcome::Gone || sent.wall.is_none_or(|(_, to)| to >= expires)
        };
        if self.turned_back && self.tries.iter().any(open_end) {
            return;
        }
        if self.may_be_forgotten(expires) {
            return;
        }
        let decided = self.tries.iter().filter(|(_, sent)| sent.outcome.is_decided());
        for (_, first) in decided {
            for (request, later) in &self.tries {
                let live = later.wall.is_some_and(|(_, to)| to < expires);
                if later.started > first.ended && live && !agrees(first, later) {
                    let (was, is) = (first.outcome, later.outcome);
                    wrong.push(format!("request {request:x}: {is:?} after {was:?}"));
                }
            }
        }
    }
}

/// Whether a later answer is what an earlier decision makes of it.
fn agrees(first: &Try, later: &Try) -> bool {
    if later.outcome.is_open() {
        return true;
    }
    if first.asked.content != later.asked.content {
        return later.outcome == Outcome::KeyReused;
    }
    match (first.outcome, later.outcome) {
        (Outcome::Done { order, .. }, Outcome::Done { order: same, replayed, .. }) => {
            replayed && order == same
        }
        (Outcome::Refused { refusal, .. }, Outcome::Refused { refusal: same, replayed }) => {
            replayed && refusal == same
        }
        _ => false,
    }
}
