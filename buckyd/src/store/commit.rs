//! Makes many files durable with one sync.
//!
//! `syncfs` costs about the same for one batch as for ten. Batches that end while a sync runs wait for it,
//! and then share the next one: a sync that began before a batch's last write does not count for it.
//!
//! The kernel reports a failed write once, to whichever sync ends next. So a failure counts against every
//! batch that was under way then, not only against those that waited for that sync.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;

/// Shares syncs among batches.
#[derive(Default)]
pub(crate) struct Committer {
    state: Mutex<CommitState>,
    ended: Condvar,
}

#[derive(Default)]
struct CommitState {
    running: bool,
    /// The sync that begins when the running one has ended.
    next: Arc<Sync>,
    failures: u64,
}

/// The result of one sync, once it has ended.
type Sync = OnceLock<Result<(), Errno>>;

/// A moment before the first write that a commit must cover.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    failures: u64,
}

impl Committer {
    /// The present moment. Take it before the first write.
    pub(crate) fn mark(&self) -> Mark {
        Mark { failures: self.locked().failures }
    }

    /// Returns once everything written between `since` and this call is durable. `sync` syncs the file
    /// system.
    ///
    /// # Errors
    /// The error of the sync that covers this call, or `EIO` if another one has failed since the mark.
    pub(crate) fn commit(
        &self,
        since: Mark,
        sync: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut state = self.locked();
        let mine = Arc::clone(&state.next);
        while state.running && mine.get().is_none() {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if mine.get().is_none() {
            state.running = true;
            state.next = Arc::default();
            drop(state);
            let mut leader = Leader { committer: self, sync: &mine, result: Err(Errno::IO) };
            leader.result = sync();
            drop(leader);
            state = self.locked();
        }
        mine.get().copied().unwrap_or(Err(Errno::IO))?;
        if state.failures == since.failures { Ok(()) } else { Err(Errno::IO) }
    }

    fn locked(&self) -> MutexGuard<'_, CommitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The caller that syncs for all. When it is dropped, also by a panic, it wakes those that wait and lets the
/// next sync begin.
struct Leader<'c> {
    committer: &'c Committer,
    sync: &'c Sync,
    result: Result<(), Errno>,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut state = self.committer.locked();
        state.running = false;
        state.failures += u64::from(self.result.is_err());
        let _ = self.sync.set(self.result);
        drop(state);
        self.committer.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread;

    /// Begins a sync that ends with `result` once the sender sends.
    fn held(
        committer: &Arc<Committer>,
        result: Result<(), Errno>,
    ) -> (mpsc::Sender<()>, thread::JoinHandle<Result<(), Errno>>) {
        let (sender, receiver) = mpsc::channel::<()>();
        let (begun_sender, begun) = mpsc::channel();
        let committer = Arc::clone(committer);
        let thread = thread::spawn(move || {
            committer.commit(committer.mark(), || {
                begun_sender.send(()).unwrap();
                receiver.recv().unwrap();
                result
            })
        });
        begun.recv().unwrap();
        (sender, thread)
    }

    fn waits(
        committer: &Arc<Committer>,
        syncs: &Arc<AtomicU64>,
    ) -> thread::JoinHandle<Result<(), Errno>> {
        let (committer, syncs) = (Arc::clone(committer), Arc::clone(syncs));
        let (marked_sender, marked) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mark = committer.mark();
            marked_sender.send(()).unwrap();
            committer.commit(mark, || {
                syncs.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        });
        marked.recv().unwrap();
        thread
    }

    #[test]
    fn batches_that_end_during_a_sync_share_the_next_one() {
        let committer = Arc::new(Committer::default());
        let syncs = Arc::default();
        let (end, first) = held(&committer, Ok(()));
        let waiting: Vec<_> = (0..8).map(|_| waits(&committer, &syncs)).collect();
        // All of them hold the next sync before it begins.
        while Arc::strong_count(&committer.locked().next) < 9 {
            thread::yield_now();
        }
        end.send(()).unwrap();
        assert_eq!(first.join().unwrap(), Ok(()));
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap() == Ok(())));
        assert_eq!(syncs.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_failed_sync_fails_every_batch_that_was_under_way_and_no_later_one() {
        let committer = Arc::new(Committer::default());
        let (end, first) = held(&committer, Err(Errno::IO));
        let under_way = committer.mark();
        let waiting = waits(&committer, &Arc::default());
        end.send(()).unwrap();
        assert_eq!(first.join().unwrap(), Err(Errno::IO));
        assert_eq!(waiting.join().unwrap(), Err(Errno::IO));
        assert_eq!(committer.commit(under_way, || Ok(())), Err(Errno::IO));
        assert_eq!(committer.commit(committer.mark(), || Ok(())), Ok(()));
    }

    #[test]
    fn a_sync_that_panics_counts_as_failed_and_stops_no_other() {
        let committer = Arc::new(Committer::default());
        let panicking = Arc::clone(&committer);
        let mark = committer.mark();
        let panicked = thread::spawn(move || {
            panicking.commit(panicking.mark(), || panic!("a bug in the sync"))
        });
        assert!(panicked.join().is_err());
        assert_eq!(committer.commit(mark, || Ok(())), Err(Errno::IO));
        assert_eq!(committer.commit(committer.mark(), || Ok(())), Ok(()));
    }
}
