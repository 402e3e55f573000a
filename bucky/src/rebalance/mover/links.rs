//! Which pairs of nodes cannot work together, although each of them answers us.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::DaemonAddr;

use super::super::breaker::{Breaker, Row};
use super::super::nodes::Node;

/// After so many failures in a row a pair is given up. A batch that fails because of one metric is halved until that
/// stands alone, which takes some thirty failures; only a pair that never works comes to more.
const LINK_FAILURES: u32 = 60;

/// All pairs of which something was seen.
#[derive(Default)]
pub(super) struct Links {
    breakers: Mutex<HashMap<(DaemonAddr, DaemonAddr), Breaker>>,
}

impl Links {
    /// Whether `owner` should be told to fetch from `source`, or why not.
    pub(super) fn admit(&self, source: &Node, owner: &Node) -> Result<(), String> {
        self.with(source, owner, |breaker| breaker.admit(Instant::now()))
    }

    /// It worked.
    pub(super) fn worked(&self, source: &Node, owner: &Node) {
        self.with(source, owner, Breaker::succeeded);
    }

    /// It did not. True where the pair is given up by this.
    pub(super) fn failed(&self, source: &Node, owner: &Node, reason: &str) -> bool {
        self.with(source, owner, |breaker| breaker.failed(Instant::now(), reason) == Row::IsEnough)
    }

    fn with<T>(&self, source: &Node, owner: &Node, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (source.addr().clone(), owner.addr().clone());
        act(breakers.entry(pair).or_insert_with(|| Breaker::new(LINK_FAILURES, Duration::ZERO)))
    }
}
