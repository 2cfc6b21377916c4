//! What a client will do, step by step.

use std::time::Duration;

use super::{Action, Condition, Create, Manner, ONE_PIECE, Step, Target, Verb};
use crate::Stream;

/// What the clients of a run are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// How many external references there are.
    references: u64,
    /// Orders per mille that somebody pays for.
    pays: u64,
    /// About how long they wait between steps with money.
    pace: Duration,
}

impl Style {
    pub(super) fn new(draw: &mut Stream, money: &mut Stream) -> Self {
        Self {
            references: draw.pick(&[0, 0, 3, 40, 1_000]),
            pays: money.pick(&[0, 200, 500, 800]),
            pace: Duration::from_millis(money.pick(&[10, 100, 1_000, 4_000])),
        }
    }

    pub(super) const fn pays(&self) -> bool {
        self.pays > 0
    }

    pub(super) const fn pace(&self) -> Duration {
        self.pace
    }
}

/// Writes a client's script about this many orders.
pub(super) fn write(
    draw: &mut Stream,
    money: &mut Stream,
    style: Style,
    client: usize,
    orders: usize,
) -> Vec<Step> {
    let mut writer = Writer { draw, money, client, style, steps: Vec::new() };
    writer.script(orders);
    writer.steps
}

struct Writer<'a> {
    draw: &'a mut Stream,
    money: &'a mut Stream,
    client: usize,
    style: Style,
    steps: Vec<Step>,
}

impl Writer<'_> {
    fn script(&mut self, orders: usize) {
        let mut placed: Vec<Create> = Vec::with_capacity(orders);
        for index in 0..orders {
            // Neighbours are of different tenants and use the same keys.
            let key = number(self.client / 2 * 10_000 + index);
            let refers = self.style.references > 0 && self.draw.chance(600);
            let references = self.style.references;
            let create = Create {
                key,
                customer: below(self.draw, 50),
                reference: refers.then(|| below(self.draw, references)),
            };
            placed.push(create);
            let manner = Manner::draw(self.draw);
            self.steps.push(Step::Create(create, manner));
            if self.draw.chance(250) {
                let again = placed[self.draw.index(placed.len())];
                let other = self.draw.chance(350);
                let again =
                    if other { Create { customer: again.customer + 50, ..again } } else { again };
                let manner = Manner::draw(self.draw);
                self.steps.push(Step::Create(again, manner));
            }
            if self.money.chance(self.style.pays) {
                self.money(key);
            }
            for _ in 0..self.draw.below(3) {
                self.verb(key);
            }
            self.look();
        }
    }

    fn verb(&mut self, key: u32) {
        let own = below(self.draw, 3);
        let back = if self.draw.chance(700) { self.draw.index(3) } else { self.draw.index(30) };
        let mut action =
            self.draw.pick(&[Action::Confirm, Action::Cancel, Action::Note, Action::Note]);
        // Where orders are paid for, strangers do not call most of them off.
        if action == Action::Cancel && self.money.chance(self.style.pays) {
            action = Action::Note;
        }
        let verb = Verb {
            target: Target::Known(back),
            action,
            words: below(self.draw, 3),
            // Sometimes one that a create used, or one of a verb of before.
            key: self.draw.chance(600).then_some(key.saturating_sub(own)),
            condition: match self.draw.below(10) {
                0..2 => Condition::Known,
                2 => Condition::Stale,
                _ => Condition::None,
            },
        };
        let manner = Manner::draw(self.draw);
        self.steps.push(Step::Verb(verb, manner));
        self.again(250);
    }

    /// Somebody pays, and what may come of it: another instrument, captures, refunds, a cancel that
    /// races the payment, a note of money that came otherwise.
    fn money(&mut self, key: u32) {
        let pay = self.on_money(Action::Pay, key);
        let races = self.money.chance(200);
        let manner = Manner::draw(self.money);
        if races {
            let other = self.money.pick(&[Action::Cancel, Action::Pay, Action::Record]);
            let other = self.on_money(other, key);
            self.steps.push(Step::Race(pay, other, manner));
        } else {
            self.steps.push(Step::Verb(pay, manner));
        }
        self.again(150);
        for more in 1..=below(self.money, 6) {
            self.wait();
            let usual = [Action::Capture, Action::Refund][more as usize % 2];
            let action = if self.money.chance(650) {
                usual
            } else {
                self.money.pick(&[
                    Action::Pay,
                    Action::Pay,
                    Action::Capture,
                    Action::Refund,
                    Action::Cancel,
                    Action::Confirm,
                    Action::Record,
                    Action::Fulfill,
                    Action::Fulfill,
                    Action::Fulfill,
                    Action::CancelPiece,
                    Action::RefundPiece,
                    Action::Return,
                ])
            };
            // A key of its own for each, but for some that were used before.
            let key = key + if self.money.chance(850) { more * 1_000 } else { 0 };
            self.one_or_two(action, key);
            self.again(120);
        }
    }

    /// A verb, or two of them at once.
    fn one_or_two(&mut self, action: Action, key: u32) {
        let verb = self.on_money(action, key);
        let manner = Manner::draw(self.money);
        if self.money.chance(120) {
            let action = self.money.pick(&[
                Action::Cancel,
                Action::Capture,
                Action::Refund,
                Action::Fulfill,
                Action::CancelPiece,
            ]);
            let other = self.on_money(action, key);
            self.steps.push(Step::Race(verb, other, manner));
        } else {
            self.steps.push(Step::Verb(verb, manner));
        }
    }

    fn on_money(&mut self, action: Action, key: u32) -> Verb {
        let back = if self.money.chance(900) { 0 } else { self.money.index(5) };
        let words = if self.money.chance(750) { below(self.money, 2) } else { 2 };
        let by_piece = matches!(action, Action::CancelPiece | Action::RefundPiece);
        Verb {
            target: Target::Own(back),
            action,
            words: if by_piece { words + ONE_PIECE } else { words },
            key: Some(key),
            condition: if self.money.chance(80) { Condition::Known } else { Condition::None },
        }
    }

    fn wait(&mut self) {
        let most = u64::try_from(self.style.pace.as_millis()).unwrap_or(1);
        if self.money.chance(600) {
            self.steps.push(Step::Await);
        } else if self.money.chance(700) {
            let pause = Duration::from_millis(self.money.below(2 * most));
            self.steps.push(Step::Pause(pause));
        }
    }

    fn again(&mut self, per_mille: u64) {
        if self.draw.chance(per_mille) {
            let (other, manner) = (self.draw.chance(250), Manner::draw(self.draw));
            self.steps.push(Step::VerbAgain { other, manner });
        }
    }

    fn look(&mut self) {
        let target = self.draw.index(30);
        match self.draw.below(40) {
            0..6 => self.steps.push(Step::Get { target }),
            6..9 => self.steps.push(Step::History { target }),
            9..12 => self.steps.push(Step::Foreign { target }),
            12 => self.steps.push(Step::List { limit: 1 + target }),
            13..20 => self.steps.push(Step::Pause(Duration::from_millis(1 + target as u64 / 2))),
            _ => {}
        }
    }
}

impl Manner {
    fn draw(draw: &mut Stream) -> Self {
        Self { tries: 1 + below(draw, 5), twin: draw.chance(120), principal: draw.index(2) }
    }
}

fn below(draw: &mut Stream, bound: u64) -> u32 {
    u32::try_from(draw.below(bound)).unwrap_or(0)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(0)
}
