//! A change with its columns made by whoever asks for it, so that no writer spends time on them.

use orders::ports::Change;

use super::commit::new_order;
use crate::content;

/// A change with the JSON columns of a new order.
pub(super) struct Prepared {
    pub(super) change: Change,
    pub(super) content: String,
    pub(super) personal: Option<String>,
}

impl Prepared {
    pub(super) fn new(change: Change) -> Self {
        let new = new_order(&change);
        let content = new.map(|write| content::encode(&write.order.goods, &write.order.metadata));
        let personal = new.and_then(|write| write.personal.as_ref()).map(content::encode_personal);
        Self { content: content.unwrap_or_default(), personal, change }
    }
}
