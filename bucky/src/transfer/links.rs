//! Which pairs of nodes do not work together, although each of them answers us.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::DaemonAddr;

use crate::fleet::Node;
use crate::fleet::breaker::{Breaker, FailureRow};

/// After this many failures in a row the run gives up on a pair. A batch that fails because of one metric is
/// halved until that metric is alone, which takes some thirty failures. Only a pair that never works has
/// more.
const LINK_FAILURES: u32 = 60;

/// The pairs with failures. Others are not stored: with hundreds of nodes there are tens of thousands of
/// pairs.
#[derive(Default)]
pub(super) struct Links {
    breakers: Mutex<HashMap<(DaemonAddr, DaemonAddr), Breaker>>,
}

impl Links {
    /// Whether `owner` should be asked to fetch from `source`; the error is the reason why not.
    pub(super) fn admit(&self, source: &Node, owner: &Node) -> Result<(), String> {
        match self.lock().get_mut(&pair(source, owner)) {
            Some(breaker) => breaker.admit(Instant::now()),
            None => Ok(()),
        }
    }

    /// Notes that the pair worked.
    pub(super) fn worked(&self, source: &Node, owner: &Node) {
        self.lock().remove(&pair(source, owner));
    }

    /// Notes that the pair failed; returns whether the run gives up on it now.
    pub(super) fn failed(&self, source: &Node, owner: &Node, reason: &str) -> bool {
        let mut breakers = self.lock();
        let breaker = breakers.entry(pair(source, owner));
        let breaker = breaker.or_insert_with(|| Breaker::new(LINK_FAILURES, Duration::ZERO));
        breaker.failed(Instant::now(), reason) == FailureRow::IsEnough
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(DaemonAddr, DaemonAddr), Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pair(source: &Node, owner: &Node) -> (DaemonAddr, DaemonAddr) {
    (source.addr().clone(), owner.addr().clone())
}
