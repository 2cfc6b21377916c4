//! The goods of an order: handed over, called off, taken back, and what that asks of its money.
//!
//! Every function is one version of the order. Who ships, and from where, is a warehouse's business;
//! here stand counters of pieces per line.

use super::{
    line::{Line, Progress, Quantity},
    order::{Applied, Order, Stamp},
    paying::DrawAttempt,
    state::Command,
    text::Reason,
};
use crate::Refusal;

/// Some pieces of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Which line, counted from 1.
    pub line: u32,
    /// How many of its pieces.
    pub quantity: Quantity,
}

/// A way that pieces go.
struct Move {
    /// How many of a line can still go it.
    left: fn(&Line) -> u32,
    /// Which counter they are counted by.
    counter: fn(&mut Progress) -> &mut u32,
}

const HAND_OVER: Move = Move { left: Line::open, counter: |progress| &mut progress.fulfilled };
const CALL_OFF: Move = Move { left: Line::open, counter: |progress| &mut progress.cancelled };
const TAKE_BACK: Move = Move {
    left: |line| line.progress.fulfilled.saturating_sub(line.progress.returned),
    counter: |progress| &mut progress.returned,
};

impl Order {
    /// Notes that pieces were handed over, all that are open when none are named, and asks to take
    /// what they come to of the money that is held.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn fulfill(
        &self,
        pieces: &[Pieces],
        reason: Option<Reason>,
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Applied, Refusal> {
        self.must_allow(Command::Fulfill)?;
        let after = self.moved(&HAND_OVER, pieces)?;
        let command = if after.is_complete() { Command::Complete } else { Command::Fulfill };
        self.advance((command, after), reason, stamp, draw)
    }

    /// Calls pieces off. What was taken for them is given back; when nothing is left of the order, it
    /// is called off as a whole.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn cancel_lines(
        &self,
        pieces: &[Pieces],
        reason: Option<Reason>,
        stamp: &Stamp,
        draw: DrawAttempt<'_>,
    ) -> Result<Applied, Refusal> {
        self.must_allow(Command::CancelLines)?;
        let after = self.moved(&CALL_OFF, pieces)?;
        if after.goods.lines.iter().all(|line| line.progress.cancelled == line.quantity.get()) {
            return self.cancel(reason, stamp, draw);
        }
        // That nothing is due does not confirm an order of which nothing was paid.
        let follows = after.follows_from(self.state);
        let follows = follows.filter(|f| *f != Command::Confirm || self.has_money_out());
        let command = follows.unwrap_or(Command::CancelLines);
        self.advance((command, after), reason, stamp, draw)
    }

    /// Notes that pieces came back, all that were handed over when none are named. What that is worth
    /// is for a refund to say.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn take_back(
        &self,
        pieces: &[Pieces],
        reason: Option<Reason>,
        stamp: &Stamp,
    ) -> Result<Applied, Refusal> {
        self.must_allow(Command::Return)?;
        let after = self.moved(&TAKE_BACK, pieces)?;
        self.step(Command::Return, reason, stamp, |snapshot| snapshot.goods = after.goods.clone())
    }

    /// Whether pieces were handed over.
    pub(super) fn is_handed_over(&self) -> bool {
        self.goods.lines.iter().any(|line| line.progress.fulfilled > 0)
    }

    /// The order once these pieces went this way.
    fn moved(&self, way: &Move, pieces: &[Pieces]) -> Result<Self, Refusal> {
        let mut after = self.clone();
        let lines = &mut after.snapshot_mut().goods.lines;
        let mut count = |number: u32, quantity: Option<Quantity>| {
            let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            let line = at.and_then(|at| lines.get_mut(at));
            let line = line.ok_or(Refusal::NoSuchLine { line: number })?;
            let left = (way.left)(line);
            let quantity = quantity.map_or(left, Quantity::get);
            if quantity > left {
                return Err(Refusal::PiecesNotLeft { line: number, left });
            }
            let counter = (way.counter)(&mut line.progress);
            *counter = counter.saturating_add(quantity);
            Ok(())
        };
        if pieces.is_empty() {
            let all = u32::try_from(self.goods.lines.len()).unwrap_or(u32::MAX);
            (1..=all).try_for_each(|number| count(number, None))?;
        }
        pieces.iter().try_for_each(|pieces| count(pieces.line, Some(pieces.quantity)))?;
        if after.goods == self.goods {
            return Err(Refusal::PiecesNotLeft { line: 1, left: 0 });
        }
        Ok(after)
    }
}
