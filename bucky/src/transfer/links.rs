//! Which pairs of nodes cannot work together, although each of them answers us.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::DaemonAddr;

use crate::fleet::Node;
use crate::fleet::breaker::{Breaker, Row};

/// After so many failures in a row a pair is given up. A batch that fails because of one metric is halved
/// until that stands alone, which takes some thirty failures; only a pair that never works comes to more.
const LINK_FAILURES: u32 = 60;

/// The pairs of which something went wrong: with hundreds of nodes there are tens of thousands of pairs.
#[derive(Default)]
pub(super) struct Links {
    breakers: Mutex<HashMap<(DaemonAddr, DaemonAddr), Breaker>>,
}

impl Links {
    /// Whether `owner` should be told to fetch from `source`, or why not.
    pub(super) fn admit(&self, source: &Node, owner: &Node) -> Result<(), String> {
        match self.lock().get_mut(&pair(source, owner)) {
            Some(breaker) => breaker.admit(Instant::now()),
            None => Ok(()),
        }
    }

    /// It worked.
    pub(super) fn worked(&self, source: &Node, owner: &Node) {
        self.lock().remove(&pair(source, owner));
    }

    /// It did not. True where the pair is given up by this.
    pub(super) fn failed(&self, source: &Node, owner: &Node, reason: &str) -> bool {
        let mut breakers = self.lock();
        let breaker = breakers.entry(pair(source, owner));
        let breaker = breaker.or_insert_with(|| Breaker::new(LINK_FAILURES, Duration::ZERO));
        breaker.failed(Instant::now(), reason) == Row::IsEnough
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(DaemonAddr, DaemonAddr), Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pair(source: &Node, owner: &Node) -> (DaemonAddr, DaemonAddr) {
    (source.addr().clone(), owner.addr().clone())
}
