//! The average length of many metrics' files, estimated from an even sample.

use bucky_api::Daemon;
use bucky_whisper::MetricName;
use futures_util::{StreamExt, stream};

/// How many sizes are asked for: at least this many if there are as many metrics, and less than twice as
/// many.
const SIZES: usize = 32;
/// How many sizes a node is asked for at once.
const SIZES_AT_ONCE: usize = 4;

/// The average length of these metrics' files, in bytes, or `None` if the daemon reports none.
pub(crate) async fn average(daemon: &Daemon, sample: EvenSample) -> Option<u64> {
    let sizes = stream::iter(sample.names).map(|name| async move {
        let stat = daemon.go_stat(name.as_str()).await.ok().flatten()?;
        u64::try_from(stat.size).ok()
    });
    let sizes: Vec<Option<u64>> = sizes.buffer_unordered(SIZES_AT_ONCE).collect().await;
    let sizes: Vec<u64> = sizes.into_iter().flatten().collect();
    let sum = sizes.iter().fold(0u64, |sum, size| sum.saturating_add(*size));
    sum.checked_div(sizes.len() as u64)
}

/// An even sample of many names.
#[derive(Debug, Default)]
pub(crate) struct EvenSample {
    names: Vec<MetricName>,
    offered: u64,
    /// One of 2^`rarity` names is kept.
    rarity: u32,
}

impl EvenSample {
    /// Adds one more name, which may be kept.
    pub(crate) fn offer(&mut self, metric: &MetricName) {
        let step = 1u64.checked_shl(self.rarity).unwrap_or(u64::MAX);
        if self.offered.is_multiple_of(step) {
            self.names.push(metric.clone());
            if self.names.len() == 2 * SIZES {
                let mut number = 0;
                self.names.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                self.rarity += 1;
            }
        }
        self.offered += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_sample_is_spread_over_all_names() {
        for count in [0, 1, 20, 63, 64, 65, 1_000, 100_000] {
            let mut sample = EvenSample::default();
            for number in 0..count {
                sample.offer(&format!("m{number:06}").parse().unwrap());
            }
            let kept = sample.names.len();
            assert!(kept >= SIZES.min(count) && kept < 2 * SIZES, "{kept} of {count}");
            let numbers: Vec<usize> =
                sample.names.iter().map(|name| name.as_str()[1..].parse().unwrap()).collect();
            let widest = numbers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
            assert!(widest <= count / SIZES + 1, "a gap of {widest} in {count}");
            assert!(count == 0 || count - numbers.last().unwrap() <= count / SIZES + 1);
        }
    }
}
