//! Planted differences between the protocols: what the comparison must find. Each is put where the
//! comparison gets what it compares, into what gRPC is asked or into what it is heard to say.

use serde_json::Value;

use super::asked::Asked;
use crate::who::{Credential, Whose};

/// A planted difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A field of an order is not told.
    FieldUntold,
    /// An amount is told with a digit more.
    AmountWrong,
    /// What is not the order's to do is told last of what is.
    TransitionUntold,
    /// A problem has another code.
    CodeWrong,
    /// The place of what is wrong is not told.
    PlaceUntold,
    /// What may be tried again is told not to be.
    RetryUntold,
    /// That an answer is a replay is not told.
    ReplayUntold,
    /// The last event is not told.
    EventUntold,
    /// A page says that it is the last.
    PageEndsEarly,
    /// The version of the order is asked for by nobody.
    ConditionUnread,
    /// A reason is not passed on: only histories and receipts differ.
    ReasonUnread,
    /// A token opens what is the first tenant's, whoever's it is.
    TokenWithoutTenant,
    /// What is asked with a token has keys of its own.
    KeyOfToken,
    /// The first change of a page of history is told to be another's.
    ActorWrong,
}

impl Bug {
    pub(super) const ALL: [Self; 14] = [
        Self::FieldUntold,
        Self::AmountWrong,
        Self::TransitionUntold,
        Self::CodeWrong,
        Self::PlaceUntold,
        Self::RetryUntold,
        Self::ReplayUntold,
        Self::EventUntold,
        Self::PageEndsEarly,
        Self::ConditionUnread,
        Self::ReasonUnread,
        Self::TokenWithoutTenant,
        Self::KeyOfToken,
        Self::ActorWrong,
    ];

    /// What a call asks with this bug.
    pub(super) fn ask(self, mut asked: Asked) -> Asked {
        if self == Self::ConditionUnread {
            asked.etag.clear();
        }
        if self == Self::ReasonUnread {
            drop_field(&mut asked.body, "reason");
        }
        let by_token = asked.credential == Credential::Token;
        if self == Self::TokenWithoutTenant && by_token && asked.whose == Whose::Foreign {
            asked.whose = Whose::Own;
        }
        // Of one that is too short to be read nothing is made.
        if self == Self::KeyOfToken && by_token && asked.key.len() >= 16 {
            asked.key.push_str("-token");
        }
        asked
    }

    /// What is heard of an answer with this bug.
    pub(super) fn hear(self, mut answer: Value) -> Value {
        let body = &mut answer["body"];
        match self {
            Self::FieldUntold => drop_field(body, "due"),
            Self::AmountWrong => {
                if let Some(Value::String(minor)) = body.pointer_mut("/totals/total/amount_minor") {
                    minor.push('0');
                }
            }
            Self::TransitionUntold => pop(body, "/allowed_transitions"),
            Self::CodeWrong => {
                if body["code"] == "version-mismatch" {
                    body["code"] = "contended".into();
                }
            }
            Self::PlaceUntold => {
                if let Some(place) = body.pointer_mut("/errors/0/field") {
                    *place = "".into();
                }
            }
            Self::RetryUntold => {
                if body["retryable"] == true {
                    body["retryable"] = false.into();
                }
            }
            Self::ReplayUntold => answer["replayed"] = false.into(),
            Self::EventUntold => pop(body, "/events"),
            Self::PageEndsEarly => drop_field(body, "next_page_token"),
            Self::ActorWrong => {
                if let Some(actor) = body.pointer_mut("/entries/0/actor") {
                    *actor = "nobody".into();
                }
            }
            Self::ConditionUnread
            | Self::ReasonUnread
            | Self::TokenWithoutTenant
            | Self::KeyOfToken => {}
        }
        answer
    }
}

fn drop_field(of: &mut Value, name: &str) {
    if let Some(fields) = of.as_object_mut() {
        fields.remove(name);
    }
}

fn pop(of: &mut Value, list: &str) {
    if let Some(list) = of.pointer_mut(list).and_then(Value::as_array_mut) {
        list.pop();
    }
}
