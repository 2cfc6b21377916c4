//! Page tokens: a cursor that only we can make, for one tenant and one set of filters.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, Mac as _};
use orders::{
    domain::{CustomerId, ExternalReference, OrderId, PaymentState, State},
    ports::{Cursor, Filter},
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use crate::{
    auth,
    problem::{Code, Problem},
};

/// Makes and reads the tokens of one list.
pub(super) struct Tokens<'a> {
    pub(super) secret: &'a [u8; 32],
    pub(super) tenant: &'a str,
    pub(super) filter: &'a Filter,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    at: String,
    id: Uuid,
}

impl Tokens<'_> {
    /// The token of the page after this order.
    pub(super) fn write(&self, cursor: Cursor) -> String {
        let payload = Payload { at: cursor.created_at.to_string(), id: cursor.id.0 };
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        let mac = self.mac(&payload).finalize().into_bytes();
        format!("{}.{}", BASE64.encode(payload), BASE64.encode(mac))
    }

    /// Where the token's page starts.
    pub(super) fn read(&self, token: &str) -> Result<Cursor, Problem> {
        self.cursor(token).ok_or_else(|| {
            let detail = "The page token was not given out for this list.";
            Problem::new(Code::InvalidPageToken, detail)
        })
    }

    fn cursor(&self, token: &str) -> Option<Cursor> {
        let (payload, mac) = token.split_once('.')?;
        let (payload, mac) = (BASE64.decode(payload).ok()?, BASE64.decode(mac).ok()?);
        self.mac(&payload).verify_slice(&mac).ok()?;
        let Payload { at, id } = serde_json::from_slice(&payload).ok()?;
        Some(Cursor { created_at: at.parse().ok()?, id: OrderId(id) })
    }

    /// Over everything the token is bound to. Each part is told apart by its length.
    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let Filter { state, payment_state, customer_id, created_after, external_reference } =
            self.filter;
        let created_after = created_after.map(|at| at.to_string());
        let parts = [
            Some("orders.page-token.v1"),
            Some(self.tenant),
            state.map(State::as_str),
            payment_state.map(PaymentState::as_str),
            customer_id.as_ref().map(CustomerId::as_str),
            created_after.as_deref(),
            external_reference.as_ref().map(ExternalReference::as_str),
        ];
        let absent = u64::MAX.to_be_bytes();
        let mac = parts.iter().fold(auth::mac(self.secret), |mac, part| match part {
            Some(part) => mac.chain_update((part.len() as u64).to_be_bytes()).chain_update(part),
            None => mac.chain_update(absent),
        });
        mac.chain_update(payload)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_list_only() {
        let cursor = Cursor { created_at: Timestamp::UNIX_EPOCH, id: OrderId(Uuid::from_u128(7)) };
        let all = Filter::default();
        let some = Filter { customer_id: Some("c".parse().unwrap()), ..Filter::default() };
        let other = Filter { external_reference: Some("c".parse().unwrap()), ..Filter::default() };
        let tokens = Tokens { secret: &[1; 32], tenant: "shop", filter: &some };
        let token = tokens.write(cursor);
        assert_eq!(tokens.read(&token).unwrap(), cursor);
        assert!(Tokens { filter: &all, ..tokens }.read(&token).is_err());
        let tokens = Tokens { secret: &[1; 32], tenant: "shop", filter: &some };
        assert!(Tokens { filter: &other, ..tokens }.read(&token).is_err());
        let tokens = Tokens { secret: &[1; 32], tenant: "shop", filter: &some };
        assert!(Tokens { tenant: "shop2", ..tokens }.read(&token).is_err());
        let tokens = Tokens { secret: &[2; 32], tenant: "shop", filter: &some };
        assert!(tokens.read(&token).is_err());
    }
}
