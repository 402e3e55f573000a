//! Conditional requests: whether the client needs an answer, by the time of the file. Pure.
//!
//! There are no entity tags, so a tag never matches. The checks are in the order of RFC 9110, section 13.2.2,
//! as in Go's `net/http`. A date that cannot be read counts as absent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, header};

/// The last second that an HTTP date can name.
const LAST_SECOND: i64 = 253_402_300_799;

/// The result of a request's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer the request.
    Proceed,
    /// 304: the client has the file.
    NotModified,
    /// 412: the client wants the file only in another state.
    Failed,
}

/// The time of a file for conditions. `None` for a time that means "unknown" or has no date.
pub(super) fn modified(mtime: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(mtime).ok().filter(|_| (1..=LAST_SECOND).contains(&mtime))?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// What the conditions of a GET say about a file written at `modified`.
pub(super) fn verdict(headers: &HeaderMap, modified: Option<SystemTime>) -> Verdict {
    match text(headers, &header::IF_MATCH) {
        Some("*") => {}
        Some(_) => return Verdict::Failed,
        None => {
            if let Some((modified, since)) = dates(headers, &header::IF_UNMODIFIED_SINCE, modified)
                && modified > since
            {
                return Verdict::Failed;
            }
        }
    }
    match text(headers, &header::IF_NONE_MATCH) {
        Some(tags) => {
            if tags.split(',').any(|tag| tag.trim() == "*") {
                return Verdict::NotModified;
            }
        }
        None => {
            if let Some((modified, since)) = dates(headers, &header::IF_MODIFIED_SINCE, modified)
                && modified <= since
            {
                return Verdict::NotModified;
            }
        }
    }
    Verdict::Proceed
}

/// Whether the range of a request applies: it has no `If-Range`, or one with exactly the time of the file.
pub(super) fn range_counts(headers: &HeaderMap, modified: Option<SystemTime>) -> bool {
    if !headers.contains_key(header::IF_RANGE) {
        return true;
    }
    dates(headers, &header::IF_RANGE, modified).is_some_and(|(modified, wanted)| modified == wanted)
}

fn dates(
    headers: &HeaderMap,
    name: &HeaderName,
    modified: Option<SystemTime>,
) -> Option<(SystemTime, SystemTime)> {
    let date = httpdate::parse_http_date(text(headers, name)?).ok()?;
    Some((modified?, date))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const BEFORE: &str = "Tue, 02 Jan 2024 03:04:04 GMT";
    const AT: &str = "Tue, 02 Jan 2024 03:04:05 GMT";
    const AFTER: &str = "Tue, 02 Jan 2024 03:04:06 GMT";
    const MTIME: i64 = 1_704_164_645;

    fn headers(of: &[(HeaderName, &'static str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn conditions_are_judged_by_whole_seconds() {
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
        for (of, expected) in [
            (&[][..], Verdict::Proceed),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Verdict::Proceed),
            (&[(IF_MODIFIED_SINCE, AT)], Verdict::NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], Verdict::NotModified),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Verdict::Proceed),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Verdict::Failed),
            (&[(IF_UNMODIFIED_SINCE, AT)], Verdict::Proceed),
            (&[(IF_NONE_MATCH, "*")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "\"a\", \"b\"")], Verdict::Proceed),
            (&[(IF_NONE_MATCH, "\"a\""), (IF_MODIFIED_SINCE, AT)], Verdict::Proceed),
            (&[(IF_MATCH, "*"), (IF_UNMODIFIED_SINCE, BEFORE)], Verdict::Proceed),
            (&[(IF_MATCH, "\"a\"")], Verdict::Failed),
        ] {
            assert_eq!(verdict(&headers(of), modified(MTIME)), expected, "{of:?}");
        }
    }

    #[test]
    fn a_range_counts_only_for_the_file_it_was_begun_with() {
        for (value, counts) in [(AT, true), (BEFORE, false), (AFTER, false), ("\"tag\"", false)] {
            let headers = headers(&[(header::IF_RANGE, value)]);
            assert_eq!(range_counts(&headers, modified(MTIME)), counts, "{value}");
        }
        assert!(range_counts(&HeaderMap::new(), None));
    }

    #[test]
    fn times_without_a_date_are_left_out() {
        assert!(
            [i64::MIN, -1, 0, LAST_SECOND + 1, i64::MAX].into_iter().all(|t| modified(t).is_none())
        );
        assert!(modified(1).is_some() && modified(LAST_SECOND).is_some());
    }
}
