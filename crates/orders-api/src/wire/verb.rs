//! The bodies of verbs.

use std::fmt;

use orders::{
    Violation,
    domain::{self, NoteText, Quantity, Reason},
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
    pub(crate) reason: Option<String>,
}

/// Some pieces of one line.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pieces {
    /// Which line, by its `line_no`.
    #[schema(minimum = 1, maximum = 500)]
    pub(crate) line_no: i64,
    /// How many of its pieces.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(crate) quantity: i64,
}

/// Which pieces of an order, and why; all of them when none are named.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"lines": [{"line_no": 1, "quantity": 1}], "reason": "parcel 1 of 2"})))]
pub(crate) struct SomePieces {
    /// Which pieces; all that can be when it is absent.
    #[schema(min_items = 1, max_items = 500, nullable = false)]
    #[serde(default, deserialize_with = "super::given")]
    pub(crate) lines: Option<Vec<Pieces>>,
    /// Why, or how; shown in the history.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]+$",
        nullable = false
    )]
    pub(crate) reason: Option<String>,
}

impl SomePieces {
    /// The pieces, none when all are meant, and the reason; or everything that is wrong with them.
    pub(crate) fn read(self) -> Result<(Vec<domain::Pieces>, Option<Reason>), Vec<Violation>> {
        let lines = pieces(self.lines.as_deref());
        let reason = Because { reason: self.reason }.reason();
        match (lines, reason) {
            (Ok(lines), Ok(reason)) => Ok((lines, reason)),
            (lines, reason) => {
                let mut all = lines.err().unwrap_or_default();
                all.extend(reason.err().unwrap_or_default());
                Err(all)
            }
        }
    }
}

/// The pieces that are named, or everything that is wrong with them.
pub(super) fn pieces(named: Option<&[Pieces]>) -> Result<Vec<domain::Pieces>, Vec<Violation>> {
    let Some(named) = named else { return Ok(Vec::new()) };
    let wrong = |pointer: String, code, detail: String| Violation { pointer, code, detail };
    if named.is_empty() || named.len() > domain::MAX_LINES {
        let detail = format!("must name 1 to {} lines, or be left out", domain::MAX_LINES);
        return Err(vec![wrong("/lines".to_owned(), "count", detail)]);
    }
    let mut read = Vec::with_capacity(named.len());
    let mut violations = Vec::new();
    for (at, Pieces { line_no, quantity }) in named.iter().enumerate() {
        let line = u32::try_from(*line_no).ok().filter(|line| *line > 0);
        let count = Quantity::new(*quantity);
        if line.is_none() {
            let detail = "must be the `line_no` of a line, from 1".to_owned();
            violations.push(wrong(format!("/lines/{at}/line_no"), "line-no", detail));
        }
        if count.is_none() {
            let detail = format!("must be from 1 to {}", Quantity::MAX);
            violations.push(wrong(format!("/lines/{at}/quantity"), "quantity", detail));
        }
        read.extend(line.zip(count).map(|(line, quantity)| domain::Pieces { line, quantity }));
    }
    if violations.is_empty() { Ok(read) } else { Err(violations) }
}

/// A remark on an order, for people.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"text": "Leave it with the neighbour."})))]
pub(crate) struct AddNote {
    /// What it says.
    #[schema(min_length = 1, max_length = 2000, pattern = r"^[^\x00-\x08\x0B-\x1F\x7F-\x9F]+$")]
    pub(crate) text: String,
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
