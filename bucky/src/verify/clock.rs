//! Which time decides what has expired.
//!
//! Nodes whose clocks differ do not agree on that. Points that are valid by any of the clocks are compared,
//! so the earliest time counts. A clock that differs by more than a day counts as one that differs by a day:
//! it is reported, and the time that it shows is useless.

use std::time::Duration;

use bucky_api::clock::{ClockOffset, ClockReading, MAX_CLOCK_DIFFERENCE};

use super::copies::Clock;
use super::report::Remark;
use crate::clocks::{self, ClockFinding};
use crate::cluster::Member;

/// Points of the last quarter of an hour are not compared between owners: carbon-cache writes them to each
/// owner at another moment.
const UNSETTLED_SECONDS: u32 = 15 * 60;
/// Clocks that differ by at most this much agree; so do clocks whose difference the answer's delay explains.
const AGREE: Duration = Duration::from_secs(1);
/// The largest difference that counts.
const APART_MOST_SECONDS: u32 = 24 * 3600;

/// The times that count if this machine's clock shows `now` and the other clocks differ from it by `offsets`.
pub(super) fn among(now: u32, offsets: impl Iterator<Item = ClockOffset>) -> Clock {
    let limits = (now.saturating_sub(APART_MOST_SECONDS), now.saturating_add(APART_MOST_SECONDS));
    let (mut earliest, mut latest) = (now, now);
    for offset in offsets.filter(|offset| offset.exceeds(AGREE)) {
        let there = offset.seconds_at(now).clamp(limits.0, limits.1);
        (earliest, latest) = (earliest.min(there), latest.max(there));
    }
    Clock { now: earliest, latest, settled: earliest.saturating_sub(UNSETTLED_SECONDS) }
}

/// The remarks about clocks that differ too much.
pub(super) fn remarks<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<Remark> {
    let offsets = members.map(|member| (member.addr().clone(), member.daemon.clock_offset()));
    let findings = clocks::judge(offsets, ClockReading::now(), MAX_CLOCK_DIFFERENCE);
    let remark = |finding: ClockFinding| Remark {
        node: finding.owner().to_string(),
        text: format!("{finding}: it is not certain which points have expired"),
        is_finding: true,
    };
    findings.into_iter().map(remark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 1_800_000_000;

    fn offset(seconds: i64) -> ClockOffset {
        let reading = |seconds: i64| ClockReading::from_unix_millis(seconds * 1000);
        ClockOffset::in_answer(
            reading(i64::from(NOW) + seconds),
            reading(i64::from(NOW)),
            Duration::ZERO,
        )
    }

    #[test]
    fn points_valid_by_the_earliest_clock_count_within_a_day() {
        let times = |offsets: &[i64]| {
            let clock = among(NOW, offsets.iter().map(|seconds| offset(*seconds)));
            assert_eq!(clock.settled, clock.now - 900);
            (i64::from(clock.now) - i64::from(NOW), i64::from(clock.latest) - i64::from(NOW))
        };
        assert_eq!(times(&[]), (0, 0));
        assert_eq!(times(&[1, -1]), (0, 0));
        assert_eq!(times(&[7, -5, 3]), (-5, 7));
        assert_eq!(times(&[-3600, 60]), (-3600, 60));
        assert_eq!(times(&[-1_700_000_000, 1_000_000_000]), (-86_400, 86_400));
    }
}
