//! Making many files durable with one sync.
//!
//! `syncfs` costs about the same for one batch as for ten. Batches that end while a sync runs wait for it and then
//! share the next one: a sync that began before a batch's last write does not count for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::tree::Tree;

/// Shares syncs among batches.
#[derive(Default)]
pub(crate) struct Committer {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: bool,
    /// How many syncs have begun.
    begun: u64,
    /// How many have ended.
    ended: u64,
    /// Which of the last few failed, and with which errno; newest last.
    failed: Vec<(u64, i32)>,
}

impl Committer {
    /// Returns once everything written before the call is durable.
    ///
    /// # Errors
    /// [`StoreError`] where the sync that covers this call failed.
    pub(crate) fn commit(&self, tree: &Tree) -> Result<(), StoreError> {
        let mut state = self.locked();
        let mine = state.begun + 1;
        loop {
            if state.ended >= mine {
                return match state.failed.iter().find(|(number, _)| *number == mine) {
                    None => Ok(()),
                    Some((_, errno)) => Err(StoreError::io(
                        "sync the file system of",
                        tree.path(),
                        std::io::Error::from_raw_os_error(*errno),
                    )),
                };
            }
            if !state.running {
                break;
            }
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.running = true;
        state.begun += 1;
        drop(state);
        let result = tree.sync_all();
        let mut state = self.locked();
        state.running = false;
        state.ended = state.begun;
        if let Err(errno) = &result {
            let number = state.begun;
            state.failed.push((number, errno.raw_os_error()));
            // Those who wait for it are woken now; nobody asks about much older ones.
            state.failed.retain(|(failed, _)| failed + 64 >= number);
        }
        drop(state);
        self.ended.notify_all();
        result.map_err(|errno| StoreError::io("sync the file system of", tree.path(), errno))
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
