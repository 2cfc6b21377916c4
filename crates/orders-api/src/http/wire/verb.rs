//! The bodies of verbs.

use std::fmt;

use orders::{
    Violation,
    domain::{NoteText, Reason},
};
use serde::Deserialize;
use utoipa::ToSchema;

/// Why something is done; may be left out.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"reason": "customer called"})))]
pub(crate) struct Because {
    /// Why; shown in the history.
    #[schema(min_length = 1, max_length = 500, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    reason: Option<String>,
}

/// A remark on an order, for people.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"text": "Leave it with the neighbour."})))]
pub(crate) struct AddNote {
    /// What it says.
    #[schema(min_length = 1, max_length = 2000, pattern = r"^[^\x00-\x08\x0B-\x1F\x7F-\x9F]+$")]
    text: String,
}

/// A note may hold personal data.
impl fmt::Debug for AddNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddNote(..)")
    }
}

impl Because {
    /// The reason, if one is given.
    pub(crate) fn reason(self) -> Result<Option<Reason>, Vec<Violation>> {
        let read = |reason: String| super::text("/reason", &reason).map_err(|wrong| vec![wrong]);
        self.reason.map(read).transpose()
    }
}

impl TryFrom<AddNote> for NoteText {
    type Error = Vec<Violation>;

    fn try_from(note: AddNote) -> Result<Self, Vec<Violation>> {
        super::text("/text", &note.text).map_err(|wrong| vec![wrong])
    }
}
