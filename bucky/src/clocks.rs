//! Whether the clocks of the nodes, and of this host, agree.
//!
//! Pure. Each node's clock is known as a difference from ours, and ours may be the wrong one. So all clocks
//! are compared with each other, and the one farthest from the median is named first.

use std::fmt;
use std::time::Duration;

use bucky_api::{ClockOffset, ClockReading, DaemonAddr};

use crate::output::log_time;

/// Whose clock it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClockOwner {
    /// The clock of the host that runs `bucky`.
    ThisHost,
    /// The clock of a node.
    Node(DaemonAddr),
}

impl fmt::Display for ClockOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisHost => f.write_str("this host"),
            Self::Node(addr) => addr.fmt(f),
        }
    }
}

/// A clock that no delete should rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClockFinding {
    /// It differs from another clock by more than is allowed.
    Differs { owner: ClockOwner, offset: ClockOffset, other: ClockOwner },
    /// It shows a time that a Whisper file cannot hold.
    Inexpressible { owner: ClockOwner, reading: ClockReading },
}

impl ClockFinding {
    /// The clock that differs.
    pub(crate) fn owner(&self) -> &ClockOwner {
        match self {
            Self::Differs { owner, .. } | Self::Inexpressible { owner, .. } => owner,
        }
    }
}

impl fmt::Display for ClockFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { owner, offset, other } => {
                let of = if offset.ahead_millis() < 0 { "" } else { " of" };
                write!(f, "the clock of {owner} is {offset}{of} that of {other}")
            }
            Self::Inexpressible { owner, reading } => write!(
                f,
                "the clock of {owner} shows {}, outside the range of Whisper (2001-09-09 to 2106-02-07)",
                shown(*reading)
            ),
        }
    }
}

fn shown(reading: ClockReading) -> String {
    let since = u64::try_from(reading.unix_millis()).map(Duration::from_millis);
    match since {
        // Years of four digits.
        Ok(since) if since.as_secs() < 253_402_300_800 => log_time(std::time::UNIX_EPOCH + since),
        _ => format!("Unix time {reading}"),
    }
}

/// The clocks that differ from another one by more than `limit`, the worst first. `offsets` are differences
/// from the clock of this host, which shows `now`; a node that sent no time has none.
pub(crate) fn judge(
    offsets: impl IntoIterator<Item = (DaemonAddr, Option<ClockOffset>)>,
    now: ClockReading,
    limit: Duration,
) -> Vec<ClockFinding> {
    let nodes =
        offsets.into_iter().filter_map(|(addr, offset)| Some((ClockOwner::Node(addr), offset?)));
    let clocks = std::iter::once((ClockOwner::ThisHost, ClockOffset::OWN)).chain(nodes);
    let (mut clocks, inexpressible): (Vec<_>, Vec<_>) =
        clocks.partition(|(_, offset)| offset.reading_at(now).is_expressible());
    let mut findings: Vec<ClockFinding> = inexpressible
        .into_iter()
        .map(|(owner, offset)| ClockFinding::Inexpressible {
            owner,
            reading: offset.reading_at(now),
        })
        .collect();
    clocks.sort_by_key(|(_, offset)| offset.ahead_millis());
    let Some(median) = clocks.get(clocks.len().saturating_sub(1) / 2).map(|(_, offset)| *offset)
    else {
        return findings;
    };
    while let [first, .., last] = clocks.as_slice() {
        if !last.1.relative_to(first.1).exceeds(limit) {
            break;
        }
        let distance = |clock: &(ClockOwner, ClockOffset)| {
            clock.1.relative_to(median).ahead_millis().unsigned_abs()
        };
        let is_first = distance(first) > distance(last);
        let (off, other) = if is_first { (first, last) } else { (last, first) };
        findings.push(ClockFinding::Differs {
            owner: off.0.clone(),
            offset: off.1.relative_to(other.1),
            other: other.0.clone(),
        });
        clocks.remove(if is_first { 0 } else { clocks.len() - 1 });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: ClockReading = ClockReading::from_unix_millis(1_796_067_712_345);
    const LIMIT: Duration = Duration::from_secs(30);

    /// A difference of this many seconds, exactly known.
    fn ahead(seconds: i64) -> ClockOffset {
        ClockOffset::of_sender(
            ClockReading::from_unix_millis(seconds * 1000),
            ClockReading::from_unix_millis(0),
        )
    }

    fn findings(offsets: &[(&str, i64)]) -> Vec<String> {
        let offsets =
            offsets.iter().map(|(host, seconds)| (host.parse().unwrap(), Some(ahead(*seconds))));
        judge(offsets, NOW, LIMIT).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn clocks_that_agree_are_not_a_finding() {
        assert_eq!(findings(&[]), Vec::<String>::new());
        assert_eq!(findings(&[("a", 0), ("b", -15), ("c", 15)]), Vec::<String>::new());
    }

    #[test]
    fn the_node_that_is_off_is_named_with_how_far_and_from_whom() {
        assert_eq!(
            findings(&[("a", 0), ("b", 7800), ("c", 1)]),
            ["the clock of b:4242 is 2 h 10 min ahead of that of this host"]
        );
        assert_eq!(
            findings(&[("a", 0), ("b", -7800), ("c", 1)]),
            ["the clock of b:4242 is 2 h 10 min behind that of c:4242"]
        );
        assert_eq!(findings(&[("a", 40)]).len(), 1);
    }

    #[test]
    fn the_clock_of_this_host_may_be_the_wrong_one() {
        assert_eq!(
            findings(&[("a", -3600), ("b", -3600), ("c", -3601)]),
            ["the clock of this host is 1 h ahead of that of c:4242"]
        );
    }

    #[test]
    fn two_nodes_that_differ_from_each_other_are_a_finding_though_neither_is_far_from_ours() {
        assert_eq!(
            findings(&[("a", -20), ("b", 20), ("c", 0)]),
            ["the clock of b:4242 is 40 s ahead of that of a:4242"]
        );
    }

    #[test]
    fn each_clock_that_is_off_is_named_the_worst_first() {
        assert_eq!(
            findings(&[("a", 0), ("b", 3600), ("c", 0), ("d", -90), ("e", 1)]),
            [
                "the clock of b:4242 is 1 h 1 min ahead of that of d:4242",
                "the clock of d:4242 is 1 min 31 s behind that of e:4242"
            ]
        );
    }

    #[test]
    fn a_difference_that_a_slow_answer_explains_is_not_a_finding() {
        let slow = ClockOffset::in_answer(
            ClockReading::from_unix_millis(NOW.unix_millis() + 20_000),
            NOW,
            Duration::from_secs(40),
        );
        assert_eq!(slow.ahead_millis(), 40_000);
        assert_eq!(judge([("a".parse().unwrap(), Some(slow))], NOW, LIMIT), []);
        assert_eq!(judge([("a".parse().unwrap(), None)], NOW, LIMIT), []);
    }

    #[test]
    fn a_clock_that_whisper_cannot_express_is_named_with_what_it_shows() {
        let found = findings(&[
            ("a", 0),
            ("b", -1_796_067_700),
            ("c", 2_600_000_000),
            ("d", -1_800_000_000),
        ]);
        assert_eq!(
            found[0],
            "the clock of b:4242 shows 1970/01/01 00:00:12, outside the range of Whisper (2001-09-09 to 2106-02-07)"
        );
        assert!(found[1].starts_with("the clock of c:4242 shows 2109/"), "{found:?}");
        assert!(
            found[2].starts_with("the clock of d:4242 shows Unix time -3932287.655"),
            "{found:?}"
        );
        assert_eq!(found.len(), 3);
    }
}
