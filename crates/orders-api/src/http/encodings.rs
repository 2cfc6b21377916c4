//! What a client accepts, made such that there is always an answer to give.

use axum::extract::Request;
use http::{HeaderMap, HeaderValue, header};

/// Lets the client accept an answer as it is: what was done is told, whatever was asked for.
///
/// The compression inside would put 406 in the place of any status, also that of a create.
pub(super) async fn accept_plain(mut request: Request) -> Request {
    with_plain(request.headers_mut());
    request
}

fn with_plain(headers: &mut HeaderMap) {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let (refused, kept): (Vec<_>, Vec<_>) =
        texts.iter().flat_map(|text| text.split(',')).partition(|part| refuses_plain(part));
    if refused.is_empty() {
        return;
    }
    match HeaderValue::try_from(kept.join(",")) {
        Ok(kept) if !kept.is_empty() => headers.insert(header::ACCEPT_ENCODING, kept),
        Ok(_) | Err(_) => headers.remove(header::ACCEPT_ENCODING),
    };
}

/// Whether this part, by name or as one of all others, refuses what is not encoded.
fn refuses_plain(part: &str) -> bool {
    let Some((coding, weight)) = part.split_once(';') else { return false };
    let (coding, weight) = (coding.trim(), weight.trim());
    let plain = coding == "*" || coding.eq_ignore_ascii_case("identity");
    let weight = weight.strip_prefix(['q', 'Q']).and_then(|weight| weight.strip_prefix('='));
    plain && weight.is_some_and(|weight| weight.parse() == Ok(0.0_f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(values: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, value.parse().unwrap());
        }
        with_plain(&mut headers);
        let kept = headers.get_all(header::ACCEPT_ENCODING).iter();
        kept.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_refuses_a_plain_answer_is_left_out() {
        assert_eq!(kept(&["br, *;q=0"]), ["br"]);
        assert_eq!(kept(&["gzip;q=0.5,IDENTITY ; Q=0.000, zstd"]), ["gzip;q=0.5, zstd"]);
        assert_eq!(kept(&["br", "*;q=0."]), ["br"]);
        assert!(kept(&["identity;q=0", "*;q=0"]).is_empty());
    }

    #[test]
    fn everything_else_stays() {
        for value in ["", "gzip", "gzip;q=0, *", "identity;q=0.001", "*;q=1", "identity;q=x"] {
            assert_eq!(kept(&[value]), [value]);
        }
        assert!(kept(&[]).is_empty());
    }
}
