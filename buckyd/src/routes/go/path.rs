//! Paths as in Go's router: percent-decoded first, and redirected if they are not in their shortest form.
//!
//! Pure except for [`redirect_unclean`], which runs before all routes.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::answer::PlainAnswer;

/// The characters that Go escapes in a path: all except letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// A `%` that is not followed by two hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid URL escape {found:?}")]
pub(super) struct BadEscape {
    /// The `%` and what follows it.
    pub(super) found: String,
}

/// The bytes that a percent-encoded text means.
///
/// # Errors
/// [`BadEscape`].
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, BadEscape> {
    decode_with(text, |byte| byte)
}

/// Decodes a text of a form, in which `+` means a space.
///
/// # Errors
/// [`BadEscape`].
pub(super) fn decode_form(text: &[u8]) -> Result<Vec<u8>, BadEscape> {
    decode_with(text, |byte| if byte == b'+' { b' ' } else { byte })
}

fn decode_with(text: &[u8], plain: impl Fn(u8) -> u8) -> Result<Vec<u8>, BadEscape> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'%' {
            decoded.push(plain(*byte));
            rest = after;
            continue;
        }
        let Some(value) = after.first_chunk().and_then(|digits| hex_byte(*digits)) else {
            let found = String::from_utf8_lossy(rest.get(..3).unwrap_or(rest)).into_owned();
            return Err(BadEscape { found });
        };
        decoded.push(value);
        rest = after.get(2..).unwrap_or_default();
    }
    Ok(decoded)
}

fn hex_byte(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

/// The shortest form of a decoded path that begins with `/`: no empty, `.` or `..` segment. A `/` at its end
/// stays.
fn cleaned(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut cleaned = vec![b'/'];
    cleaned.extend_from_slice(&segments.join(&b'/'));
    if path.ends_with(b"/") && cleaned.len() > 1 {
        cleaned.push(b'/');
    }
    cleaned
}

/// The target of the redirect for the raw `path`. `None` if the path is clean.
///
/// # Errors
/// [`BadEscape`].
fn redirection(path: &str, query: Option<&str>) -> Result<Option<String>, BadEscape> {
    let decoded = decode(path.as_bytes())?;
    let cleaned = cleaned(&decoded);
    if cleaned == decoded {
        return Ok(None);
    }
    let mut location = percent_encode(&cleaned, ESCAPED).to_string();
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    Ok(Some(location))
}

/// Answers a request whose path is not clean with 301, whatever its method, and passes on all others.
pub(in crate::routes) async fn redirect_unclean(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // `*` of OPTIONS, and CONNECT, have no path.
    if !path.starts_with('/') {
        return next.run(request).await;
    }
    match redirection(path, request.uri().query()) {
        Ok(None) => next.run(request).await,
        Ok(Some(location)) => moved(&location),
        Err(error) => PlainAnswer::bad_request(error).into_response(),
    }
}

fn moved(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => {
            let text = (StatusCode::MOVED_PERMANENTLY, "Moved Permanently\n");
            ([(header::LOCATION, location)], text).into_response()
        }
        // A query with bytes that a header cannot contain.
        Err(_) => PlainAnswer::bad_request("the query cannot be read").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unclean_paths_lead_where_the_contract_says() {
        for (path, location) in [
            ("/metrics//a", "/metrics/a"),
            ("/metrics/./a", "/metrics/a"),
            ("/metrics/../hashring", "/hashring"),
            ("/metrics/%2e%2e/hashring", "/hashring"),
            ("/metrics/.", "/metrics"),
            ("/metrics/..", "/"),
            ("/metrics/a%2f..%2fb", "/metrics/b"),
            ("//", "/"),
            ("/metrics//", "/metrics/"),
            ("/../../metrics/a/../b c", "/metrics/b%20c"),
            ("/metrics//%c3%a9%5c", "/metrics/%C3%A9%5C"),
        ] {
            assert_eq!(redirection(path, None).unwrap().as_deref(), Some(location), "{path}");
        }
    }

    #[test]
    fn clean_paths_are_left_alone() {
        for path in
            ["/", "/metrics", "/metrics/", "/metrics/...", "/metrics/a..b", "/metrics/a%2fb"]
        {
            assert_eq!(redirection(path, Some("x=1")), Ok(None), "{path}");
        }
    }

    #[test]
    fn a_redirect_keeps_the_query() {
        let location = redirection("/metrics//", Some("regex=%5Ea")).unwrap();
        assert_eq!(location.as_deref(), Some("/metrics/?regex=%5Ea"));
    }

    #[test]
    fn a_percent_without_two_digits_is_refused_and_shown() {
        for (text, found) in [("a%", "%"), ("%4", "%4"), ("%zz1", "%zz"), ("%+1", "%+1")] {
            assert_eq!(decode(text.as_bytes()), Err(BadEscape { found: found.into() }));
        }
        assert_eq!(decode(b"%41+%62%"), Err(BadEscape { found: "%".into() }));
        assert_eq!(decode(b"%41+%62"), Ok(b"A+b".to_vec()));
        assert_eq!(decode_form(b"%41+%2b"), Ok(b"A +".to_vec()));
    }
}
