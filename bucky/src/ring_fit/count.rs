//! Counting names with two threads.

use std::sync::Arc;

use bucky_ring::{Explanation, Fit, Score};

/// Counts names batch by batch, off the async workers.
pub(super) struct Counter {
    fit: Arc<Fit>,
    score: Score,
}

impl Counter {
    pub(super) fn new(fit: Fit) -> Self {
        Self { score: fit.score(), fit: Arc::new(fit) }
    }

    /// Counts series and the hosts that have them.
    ///
    /// # Errors
    /// If a thread fails.
    pub(super) async fn count(&mut self, names: Vec<(String, Vec<u16>)>) -> anyhow::Result<()> {
        let names = Arc::new(names);
        let begin = |is_second: bool| {
            let (fit, names) = (Arc::clone(&self.fit), Arc::clone(&names));
            tokio::task::spawn_blocking(move || {
                let (first, second) = names.split_at(names.len() / 2);
                let mut score = fit.score();
                for (series, found) in if is_second { second } else { first } {
                    fit.count(&mut score, series, found);
                }
                score
            })
        };
        let (first, second) = (begin(false), begin(true));
        self.score.add(&first.await?);
        self.score.add(&second.await?);
        Ok(())
    }

    /// The rings, the best first, and the number of names.
    pub(super) fn ranked(&self) -> (Vec<Explanation>, u64) {
        (self.fit.ranked(&self.score), self.score.names())
    }
}
