//! How fast the last run was, by what the nodes received in it.

use std::num::NonZeroU64;

use bucky_api::ReceivedRun;

/// Nodes whose runs ended further apart than this took part in different runs.
const APART_MOST_SECONDS: u64 = 600;

/// The rate of the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastRate {
    /// Bytes a second, all nodes together.
    pub(crate) bytes_per_second: NonZeroU64,
    /// How long ago it ended.
    pub(crate) ended_seconds_ago: u64,
}

/// The rate of the last run that any of the nodes took part in, by what each received. `None` if there was none
/// since the daemons started.
pub(crate) fn of_last_run(received: impl Iterator<Item = ReceivedRun>) -> Option<LastRate> {
    let runs: Vec<ReceivedRun> = received.collect();
    let ended_seconds_ago = runs.iter().map(|run| run.ended_seconds_ago).min()?;
    let of_last =
        runs.iter().filter(|run| run.ended_seconds_ago - ended_seconds_ago <= APART_MOST_SECONDS);
    let bytes = of_last.clone().fold(0_u64, |sum, run| sum.saturating_add(run.bytes));
    let seconds = of_last.map(|run| run.seconds).max().unwrap_or_default().max(1);
    Some(LastRate { bytes_per_second: NonZeroU64::new(bytes / seconds)?, ended_seconds_ago })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: u64, seconds: u64, ended_seconds_ago: u64) -> ReceivedRun {
        ReceivedRun { bytes, seconds, ended_seconds_ago }
    }

    #[test]
    fn nodes_that_received_side_by_side_add_up_and_an_older_run_does_not_count() {
        let rate = |runs: &[ReceivedRun]| {
            of_last_run(runs.iter().copied())
                .map(|last| (last.bytes_per_second.get(), last.ended_seconds_ago))
        };
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[run(1000, 10, 50), run(3000, 20, 60)]), Some((200, 50)));
        assert_eq!(rate(&[run(1000, 10, 50), run(999_999, 20, 5000)]), Some((100, 50)));
        assert_eq!(rate(&[run(0, 10, 50)]), None);
    }
}
