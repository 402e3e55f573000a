//! Two short operations, timed alternately.

use std::time::{Duration, Instant};

use crate::table::median;

/// Times `ours` and `peer` alternately for `rounds` rounds, and returns the median of the ratios. Each
/// returns the time that it took, so that restoring the data between two rounds does not count. Which one is
/// first changes from round to round.
pub(crate) fn ratio_in_turn(
    rounds: usize,
    mut ours: impl FnMut() -> Duration,
    mut peer: impl FnMut() -> Duration,
) -> f64 {
    let ratios: Vec<f64> = (0..rounds)
        .map(|round| {
            let (ours, peer) = if round % 2 == 0 {
                let peer = peer();
                (ours(), peer)
            } else {
                (ours(), peer())
            };
            ratio(ours, peer)
        })
        .collect();
    median(&ratios)
}

/// How long `act` takes.
pub(crate) fn time(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

/// `ours` divided by `peer`.
pub(crate) fn ratio(ours: Duration, peer: Duration) -> f64 {
    ours.as_secs_f64() / peer.as_secs_f64()
}
