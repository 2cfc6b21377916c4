//! The state machine of an order: one table that the rules, the docs, the SQL guard and the tests
//! all read.

use crate::names::names;

names! {
    /// Where an order stands as a whole. Payment and fulfillment have states of their own, derived
    /// from the ledger and from the lines.
    State {
        /// Taken; waits for its payment, or to be confirmed.
        Pending = "PENDING",
        /// Will be fulfilled.
        Confirmed = "CONFIRMED",
        /// Every line fulfilled or cancelled, and the money captured.
        Completed = "COMPLETED",
        /// Called off, and money is still out.
        Cancelling = "CANCELLING",
        /// Called off, and no money is out.
        Cancelled = "CANCELLED",
        /// Not paid in time.
        Expired = "EXPIRED",
    }
}

names! {
    /// What can be done to an order. One command that is carried out is one version, one history
    /// row and one event.
    Command {
        /// Take the order.
        Place = "place",
        /// It will be fulfilled: by a verb where no payment is asked, else by the authorization.
        Confirm = "confirm",
        /// Call it off, no money being out.
        Cancel = "cancel",
        /// Call it off while money is still out.
        BeginCancel = "begin-cancel",
        /// The last of the money came back.
        FinishCancel = "finish-cancel",
        /// All is fulfilled and captured.
        Complete = "complete",
        /// It was not paid in time.
        Expire = "expire",
        /// Note that pieces were handed over.
        Fulfill = "fulfill",
        /// Call pieces off.
        CancelLines = "cancel-lines",
        /// Note that pieces came back.
        Return = "return",
        /// Hold money with an instrument.
        Pay = "pay",
        /// Note money that was taken elsewhere.
        RecordPayment = "record-payment",
        /// Take what is held.
        Capture = "capture",
        /// Give back what was taken.
        Refund = "refund",
        /// Let go of money that was held for too long.
        ExpireAuthorization = "expire-authorization",
        /// Take in what became of a payment, where nothing else follows from it.
        Settle = "settle-payment",
        /// Add a remark.
        AddNote = "add-note",
    }
}

/// One legal move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where the order stands; `None` before it exists.
    pub from: Option<State>,
    /// What is done.
    pub command: Command,
    /// Where it stands then.
    pub to: State,
    /// The type of the event that tells of it.
    pub event: &'static str,
}

/// The first move of every order.
pub(super) const PLACED: Transition = Transition {
    from: None,
    command: Command::Place,
    to: State::Pending,
    event: "orders.order.placed.v1",
};

/// Every legal move; what is not here is refused.
pub const TRANSITIONS: &[Transition] = {
    use Command as C;
    use State as S;
    const fn t(from: S, command: C, to: S, event: &'static str) -> Transition {
        Transition { from: Some(from), command, to, event }
    }
    const CONFIRMED: &str = "orders.order.confirmed.v1";
    const CANCELLED: &str = "orders.order.cancelled.v1";
    const CANCELLING: &str = "orders.order.cancelling.v1";
    const ASKED: &str = "orders.payment.requested.v1";
    const SETTLED: &str = "orders.payment.changed.v1";
    const FULFILLED: &str = "orders.order.fulfilled.v1";
    const LINES_CANCELLED: &str = "orders.order.lines_cancelled.v1";
    const RETURNED: &str = "orders.order.returned.v1";
    const NOTED: &str = "orders.order.note_added.v1";
    &[
        PLACED,
        t(S::Pending, C::Confirm, S::Confirmed, CONFIRMED),
        t(S::Pending, C::Cancel, S::Cancelled, CANCELLED),
        t(S::Confirmed, C::Cancel, S::Cancelled, CANCELLED),
        t(S::Pending, C::BeginCancel, S::Cancelling, CANCELLING),
        t(S::Confirmed, C::BeginCancel, S::Cancelling, CANCELLING),
        t(S::Cancelling, C::FinishCancel, S::Cancelled, CANCELLED),
        t(S::Confirmed, C::Complete, S::Completed, "orders.order.completed.v1"),
        t(S::Pending, C::Expire, S::Expired, "orders.order.expired.v1"),
        t(S::Confirmed, C::Fulfill, S::Confirmed, FULFILLED),
        t(S::Pending, C::CancelLines, S::Pending, LINES_CANCELLED),
        t(S::Confirmed, C::CancelLines, S::Confirmed, LINES_CANCELLED),
        t(S::Confirmed, C::Return, S::Confirmed, RETURNED),
        t(S::Completed, C::Return, S::Completed, RETURNED),
        t(S::Pending, C::Pay, S::Pending, ASKED),
        t(S::Confirmed, C::Pay, S::Confirmed, ASKED),
        t(S::Pending, C::RecordPayment, S::Pending, SETTLED),
        t(S::Confirmed, C::RecordPayment, S::Confirmed, SETTLED),
        t(S::Confirmed, C::Capture, S::Confirmed, ASKED),
        t(S::Confirmed, C::Refund, S::Confirmed, ASKED),
        t(S::Completed, C::Refund, S::Completed, ASKED),
        t(S::Pending, C::ExpireAuthorization, S::Pending, ASKED),
        t(S::Confirmed, C::ExpireAuthorization, S::Confirmed, ASKED),
        t(S::Pending, C::Settle, S::Pending, SETTLED),
        t(S::Confirmed, C::Settle, S::Confirmed, SETTLED),
        t(S::Completed, C::Settle, S::Completed, SETTLED),
        t(S::Cancelling, C::Settle, S::Cancelling, SETTLED),
        t(S::Pending, C::AddNote, S::Pending, NOTED),
        t(S::Confirmed, C::AddNote, S::Confirmed, NOTED),
        t(S::Completed, C::AddNote, S::Completed, NOTED),
        t(S::Cancelling, C::AddNote, S::Cancelling, NOTED),
        t(S::Cancelled, C::AddNote, S::Cancelled, NOTED),
        t(S::Expired, C::AddNote, S::Expired, NOTED),
    ]
};

impl Command {
    /// The move this command makes from a state; `None` when it is not legal.
    pub fn from(self, from: Option<State>) -> Option<&'static Transition> {
        TRANSITIONS.iter().find(|t| t.from == from && t.command == self)
    }

    /// What happens to the order, to be read after "cannot".
    pub const fn passive(self) -> &'static str {
        match self {
            Self::Place => "be placed",
            Self::Confirm => "be confirmed",
            Self::Cancel | Self::BeginCancel | Self::FinishCancel => "be cancelled",
            Self::Complete => "be completed",
            Self::Expire => "expire",
            Self::Fulfill => "be fulfilled",
            Self::CancelLines => "have lines cancelled",
            Self::Return => "be returned",
            Self::Pay | Self::RecordPayment => "be paid for",
            Self::Capture => "have its money taken",
            Self::Refund => "have its money given back",
            Self::ExpireAuthorization => "let go of money that is held",
            Self::Settle => "take in what became of a payment",
            Self::AddNote => "be given a note",
        }
    }

    /// Whether a client gives this command, as a verb of the API; the others are the service's own.
    pub const fn is_verb(self) -> bool {
        match self {
            Self::Confirm
            | Self::Cancel
            | Self::Fulfill
            | Self::Return
            | Self::Pay
            | Self::RecordPayment
            | Self::Capture
            | Self::Refund
            | Self::AddNote => true,
            Self::Place
            | Self::BeginCancel
            | Self::FinishCancel
            | Self::Complete
            | Self::Expire
            | Self::CancelLines
            | Self::ExpireAuthorization
            | Self::Settle => false,
        }
    }
}

impl State {
    /// The verbs a client may give in this state.
    pub fn allowed(self) -> impl Iterator<Item = Command> {
        TRANSITIONS
            .iter()
            .filter(move |t| t.from == Some(self) && t.command.is_verb())
            .map(|t| t.command)
    }
}

/// The table as a Mermaid state diagram, for the docs.
pub fn diagram() -> String {
    let name = |state: Option<State>| state.map_or("[*]", State::as_str);
    let moves = TRANSITIONS.iter().filter(|t| t.from != Some(t.to));
    moves.fold("stateDiagram-v2\n".to_owned(), |text, t| {
        format!("{text}    {} --> {}: {}\n", name(t.from), t.to, t.command)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// State × command, written out by hand once more: what stands here is the contract.
    const EXPECTED: &str = "
        place confirm cancel begin-cancel finish-cancel complete expire fulfill cancel-lines return pay record-payment capture refund expire-authorization settle-payment add-note
        (none)      PENDING - - - - - - - - - - - - - - - -
        PENDING     - CONFIRMED CANCELLED CANCELLING - - EXPIRED - PENDING - PENDING PENDING - - PENDING PENDING PENDING
        CONFIRMED   - - CANCELLED CANCELLING - COMPLETED - CONFIRMED CONFIRMED CONFIRMED CONFIRMED CONFIRMED CONFIRMED CONFIRMED CONFIRMED CONFIRMED CONFIRMED
        COMPLETED   - - - - - - - - - COMPLETED - - - COMPLETED - COMPLETED COMPLETED
        CANCELLING  - - - - CANCELLED - - - - - - - - - - CANCELLING CANCELLING
        CANCELLED   - - - - - - - - - - - - - - - - CANCELLED
        EXPIRED     - - - - - - - - - - - - - - - - EXPIRED";

    #[test]
    fn every_state_and_command_moves_as_the_contract_says() {
        let mut rows = EXPECTED.trim().lines();
        let commands: Vec<_> = rows.next().unwrap().split_whitespace().collect();
        assert_eq!(commands.len(), Command::ALL.len());
        assert_eq!(rows.clone().count(), State::ALL.len() + 1);
        for row in rows {
            let mut cells = row.split_whitespace();
            let from = State::from_name(cells.next().unwrap());
            for (command, to) in commands.iter().zip(cells) {
                let command = Command::from_name(command).unwrap();
                let got = command.from(from).map(|t| t.to);
                assert_eq!(got, State::from_name(to), "{from:?} × {command}");
            }
        }
    }

    #[test]
    fn no_move_is_listed_twice() {
        let moves: BTreeSet<_> = TRANSITIONS.iter().map(|t| (t.from, t.command)).collect();
        assert_eq!(moves.len(), TRANSITIONS.len());
    }

    #[test]
    fn a_refused_client_learns_what_it_may_do() {
        let allowed: Vec<_> = State::Pending.allowed().map(Command::as_str).collect();
        assert_eq!(allowed, ["confirm", "cancel", "pay", "record-payment", "add-note"]);
        assert_eq!(State::Cancelled.allowed().collect::<Vec<_>>(), [Command::AddNote]);
    }
}
