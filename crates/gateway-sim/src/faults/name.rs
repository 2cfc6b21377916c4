use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! faults {
    ($($variant:ident $name:literal $what:literal;)+) => {
        /// Something that goes wrong with one request or its event.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            JsonSchema,
        )]
        pub enum Fault { $(#[doc = $what] #[serde(rename = $name)] $variant,)+ }

        impl Fault {
            /// Every fault.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Its name in plans, rates and tokens.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it does, in a sentence.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }
        }
    };
}

// Where several strike one request, the first of those about the answer decides how it ends.
faults! {
    Burst429 "burst-429" "No effect; the answer is 429.";
    EffectLost "effect-lost" "No effect; the connection is closed without an answer.";
    LateApply "late-apply" "The connection is closed without an answer; the effect comes later.";
    AnswerLost "answer-lost" "The effect, then the connection is closed without an answer.";
    Reset "reset" "The effect, then the connection breaks in the middle of the answer.";
    ErrorAfterSuccess "error-after-success" "The effect, then 500.";
    Redirect "redirect" "The effect, then 307 to an address that counts who follows.";
    Hang "hang" "The effect, then nothing for a long time, then the answer.";
    SlowDrip "slow-drip" "The effect, then the answer byte by byte.";
    HugeAnswer "huge-answer" "The effect, then an answer of 1 GB.";
    LieAmount "lie-amount" "The effect, then an answer with another amount.";
    LieCurrency "lie-currency" "The effect, then an answer with another currency.";
    LieKey "lie-key" "The effect, then an answer with another idempotency key.";
    KeyWindowExpired "key-window-expired" "The effect; its key is then new, as after its window.";
    WebhookDuplicate "webhook-duplicate" "The event is delivered three times.";
    WebhookLate "webhook-late" "The event is delivered late.";
    WebhookOutOfOrder "webhook-out-of-order" "The event waits until a later one was delivered.";
}

/// There is no such fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault named {0:?}")]
pub struct UnknownFault(pub String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let named = Self::ALL.into_iter().find(|fault| fault.as_str() == name);
        named.ok_or_else(|| UnknownFault(name.to_owned()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
