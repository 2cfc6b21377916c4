//! The payment gateway port.

mod http;

use jiff::SignedDuration;
use mainstay_context::Context;
use orders::ports::{Found, Gateway, Instruction, Sent};

pub use self::http::{Config, HttpGateway};

/// The gateway that is configured, if one is. Without one, what is asked for stays owed.
#[derive(Clone, Debug)]
pub struct Configured(Option<HttpGateway>);

const NONE: &str = "no payment gateway is configured";

impl Configured {
    /// No gateway.
    pub const fn none() -> Self {
        Self(None)
    }

    /// This gateway.
    pub const fn some(gateway: HttpGateway) -> Self {
        Self(Some(gateway))
    }

    /// The gateway, to be shown and measured.
    pub const fn gateway(&self) -> Option<&HttpGateway> {
        self.0.as_ref()
    }
}

impl Gateway for Configured {
    async fn send(&self, cx: &Context, order: &Instruction) -> Sent {
        match &self.0 {
            Some(gateway) => gateway.send(cx, order).await,
            None => Sent::NotSent(NONE.to_owned()),
        }
    }

    async fn look_up(&self, cx: &Context, order: &Instruction) -> Found {
        match &self.0 {
            Some(gateway) => gateway.look_up(cx, order).await,
            None => Found::Unknown(NONE.to_owned()),
        }
    }

    fn key_window(&self) -> SignedDuration {
        self.0.as_ref().map_or(SignedDuration::ZERO, Gateway::key_window)
    }
}
