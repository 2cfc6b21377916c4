//! The payment gateway port.

use jiff::SignedDuration;
use mainstay_context::Context;
use orders::ports::{Found, Gateway, Instruction, Sent};

/// No gateway: what is asked of it stays owed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGateway;

const WHY: &str = "no payment gateway is configured";

impl Gateway for NoGateway {
    async fn send(&self, _cx: &Context, _order: &Instruction) -> Sent {
        Sent::NotSent(WHY.to_owned())
    }

    async fn look_up(&self, _cx: &Context, _order: &Instruction) -> Found {
        Found::Unknown(WHY.to_owned())
    }

    fn key_window(&self) -> SignedDuration {
        SignedDuration::ZERO
    }
}
