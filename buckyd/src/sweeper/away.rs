//! Which owners do not answer, and when each is tried again.
//!
//! Every batch of a rebalance may have the same owner. An owner that is down then costs one time limit, and
//! not one for each batch while the others wait.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::DaemonAddr;

use super::{RETRY_FIRST, RETRY_MOST};

/// The owners that did not answer the last time.
#[derive(Default)]
pub(super) struct Away(Mutex<BTreeMap<DaemonAddr, Silence>>);

struct Silence {
    retry_at: Instant,
    pause: Duration,
    reason: String,
}

impl Away {
    /// Why `owner` must not be asked now. `None` if it may be asked.
    pub(super) fn reason(&self, owner: &DaemonAddr) -> Option<String> {
        let owners = self.locked();
        let silence = owners.get(owner)?;
        (silence.retry_at > Instant::now()).then(|| silence.reason.clone())
    }

    /// `owner` has answered.
    pub(super) fn answered(&self, owner: &DaemonAddr) {
        self.locked().remove(owner);
    }

    /// `owner` did not answer: it is not asked for a while, longer each time.
    pub(super) fn silent(&self, owner: &DaemonAddr, reason: String) {
        let mut owners = self.locked();
        // Another batch that waited at the same time has reported it already.
        if owners.get(owner).is_some_and(|silence| silence.retry_at > Instant::now()) {
            return;
        }
        let before = owners.get(owner).map(|silence| silence.pause);
        let pause = before.map_or(RETRY_FIRST, |pause| (pause * 2).min(RETRY_MOST));
        let silence = Silence { retry_at: Instant::now() + pause, pause, reason };
        owners.insert(owner.clone(), silence);
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<DaemonAddr, Silence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
