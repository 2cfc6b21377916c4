//! The history of an order a page at a time, as both protocols ask for it.
//!
//! Of several faults the first of these is told: what cannot be read at all; the name of the order;
//! the size of the page; the token.

use mainstay_context::Context;
use orders::{
    Error,
    domain::{Entry, Version},
    ports::{OrderRef, Page, Ports},
};

use crate::{
    api::{Api, use_case},
    listing::count,
    problem::{Code, Problem},
};

/// Which entries of whose history; not judged yet.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The order; `None` when what stands there can be the name of none.
    pub(crate) order: Option<OrderRef>,
    /// How many entries the page has at most.
    pub(crate) page_size: Option<u64>,
    /// Where the page starts.
    pub(crate) page_token: Option<String>,
}

impl Asked {
    /// A page of entries, oldest first, and where the next page starts.
    pub(crate) async fn page<P: Ports>(
        self,
        api: &Api<P>,
        cx: &Context,
    ) -> Result<(Vec<Entry>, Option<String>), Problem> {
        let order = self.order.ok_or(Error::NotFound)?;
        let size = count("page_size", self.page_size, 100, 1000)?;
        let after = self.page_token.map(|token| last_seen(&token)).transpose()?;
        // One more than asked for tells whether there is a next page.
        let page = Page { after, limit: size + 1 };
        let mut entries = use_case("history", api.orders.history(cx, order, page)).await?;
        let more = entries.len() > size;
        entries.truncate(size);
        let next_page_token =
            entries.last().filter(|_| more).map(|entry| entry.version.to_string());
        Ok((entries, next_page_token))
    }
}

/// The last version of the page before: all that a token holds. It needs no secret, since it opens
/// nothing that its order does not.
fn last_seen(token: &str) -> Result<Version, Problem> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit());
    let number = token.parse().ok().filter(|_| digits);
    number.and_then(Version::new).ok_or_else(|| {
        let detail = "The page token was not given out for a history.";
        Problem::new(Code::InvalidPageToken, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_last_version_seen_and_nothing_else() {
        assert_eq!(last_seen("7").unwrap(), Version::new(7).unwrap());
        for token in ["", "0", "+7", "-7", "v7", "7 ", "18446744073709551616"] {
            assert_eq!(last_seen(token).unwrap_err().code, Code::InvalidPageToken, "{token:?}");
        }
    }
}
