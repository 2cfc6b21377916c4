//! Instruments that steer: what a token asks of the one request it stands in.

use crate::{faults::Fault, operation::Decline};

/// What a token asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Steer {
    /// As the payment allows.
    Succeed,
    /// A decline, whatever the payment allows.
    Decline(Decline),
    /// As the payment allows, and these faults at the first try of the reference.
    Fault(Vec<Fault>),
}

/// A token names a fault that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault named {0:?}")]
pub(crate) struct UnknownFault(String);

impl Steer {
    /// Reads `tok_ok…`, `tok_decline…`, `tok_insufficient…` and `tok_fault_NAME[+NAME…][_…]`;
    /// whatever else stands for nothing.
    pub(crate) fn of(token: &str) -> Result<Self, UnknownFault> {
        if let Some(named) = token.strip_prefix("tok_fault_") {
            let names = named.split('_').next().unwrap_or_default();
            let fault = |name: &str| name.parse().map_err(|_| UnknownFault(name.to_owned()));
            return names.split('+').map(fault).collect::<Result<_, _>>().map(Self::Fault);
        }
        let steer = if token.starts_with("tok_ok") {
            Self::Succeed
        } else if token.starts_with("tok_decline") {
            Self::Decline(Decline::CardDeclined)
        } else if token.starts_with("tok_insufficient") {
            Self::Decline(Decline::InsufficientFunds)
        } else {
            Self::Decline(Decline::UnknownInstrument)
        };
        Ok(steer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_steers_to() {
        let decline = |code| Ok(Steer::Decline(code));
        assert_eq!(Steer::of("tok_ok"), Ok(Steer::Succeed));
        assert_eq!(Steer::of("tok_ok_visa"), Ok(Steer::Succeed));
        assert_eq!(Steer::of("tok_decline_1"), decline(Decline::CardDeclined));
        assert_eq!(Steer::of("tok_insufficient"), decline(Decline::InsufficientFunds));
        assert_eq!(Steer::of("pm_card"), decline(Decline::UnknownInstrument));
        let one = Ok(Steer::Fault(vec![Fault::AnswerLost]));
        assert_eq!(Steer::of("tok_fault_answer-lost"), one);
        assert_eq!(Steer::of("tok_fault_answer-lost_77"), one);
        let two = Ok(Steer::Fault(vec![Fault::AnswerLost, Fault::KeyWindowExpired]));
        assert_eq!(Steer::of("tok_fault_answer-lost+key-window-expired_7"), two);
        for unknown in ["tok_fault_", "tok_fault_gremlins", "tok_fault_hang+"] {
            assert!(Steer::of(unknown).is_err(), "{unknown}");
        }
    }
}
