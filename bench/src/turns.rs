//! Two short acts, timed in turn.

use std::time::{Duration, Instant};

use crate::table::median;

/// Times `ours` and `peer` in turn, so often, and gives the median of the ratios. Each tells what it took, so that what has
/// to be put back between two rounds does not count. Which is first changes from round to round.
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
