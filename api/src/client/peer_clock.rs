//! A daemon's clock, as its answers show it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{self, HeaderMap};

use crate::clock::{ClockOffset, ClockReading, TIME_HEADER};

/// What is known about a daemon's clock. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerClock(Arc<Mutex<Option<ClockOffset>>>);

impl PeerClock {
    pub(super) fn offset(&self) -> Option<ClockOffset> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from an answer whose head arrived at `received`, `took` after the request began.
    pub(super) fn measure(&self, headers: &HeaderMap, received: ClockReading, took: Duration) {
        let Some(newer) = offset_in(headers, received, took) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(newer, |known| known.refined_by(newer)));
    }
}

/// The offset by our own header, or by the `Date` that the Go tool's daemon sends.
fn offset_in(headers: &HeaderMap, received: ClockReading, took: Duration) -> Option<ClockOffset> {
    let text = |name| headers.get(name)?.to_str().ok();
    if let Some(reading) = text(TIME_HEADER).and_then(ClockReading::parse_header) {
        return Some(ClockOffset::in_answer(reading, received, took));
    }
    let date = httpdate::parse_http_date(text(header::DATE.as_str())?).ok()?;
    Some(ClockOffset::in_dated_answer(date, received, took))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: ClockReading = ClockReading::from_unix_millis(1_796_067_712_345);
    const SECOND: Duration = Duration::from_secs(1);

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn our_own_header_counts_before_the_date() {
        // 2026-11-30 18:21:52 is 1796062912.
        let date = ("date", "Mon, 30 Nov 2026 18:21:52 GMT");
        let cases: &[(&[_], Option<i64>)] = &[
            (&[("bucky-time", "1796067772.345")], Some(60_500)),
            (&[("bucky-time", "1796067772.345"), date], Some(60_500)),
            (&[("bucky-time", "junk"), date], Some(-4_799_345)),
            (&[date], Some(-4_799_345)),
            (&[("bucky-time", "junk"), ("date", "junk")], None),
            (&[], None),
        ];
        for (pairs, ahead) in cases {
            let found = offset_in(&headers(pairs), NOW, SECOND);
            assert_eq!(found.map(ClockOffset::ahead_millis), *ahead, "{pairs:?}");
        }
    }

    #[test]
    fn an_answer_without_a_time_leaves_what_is_known() {
        let clock = PeerClock::default();
        clock.measure(&headers(&[]), NOW, SECOND);
        assert_eq!(clock.offset(), None);
        clock.measure(&headers(&[("bucky-time", "1796067772.345")]), NOW, SECOND);
        clock.clone().measure(&headers(&[]), NOW, SECOND);
        assert_eq!(clock.offset().map(ClockOffset::ahead_millis), Some(60_500));
    }
}
