//! flock with a time limit, so that no call waits forever.
//!
//! These are the locks that whisper.py takes if carbon has `WHISPER_LOCK_WRITES` set, and that go-carbon
//! takes with `flock = true`. A lock belongs to the open file: closing the file or [`unlock`] releases it.

use std::fs::File;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The first pause between two attempts. Writers hold a lock for some ten microseconds.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
/// The longest pause: how long a released lock may go unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process held the lock during the whole waiting time.
    #[error("busy: another process held the lock for {waited:?}; try again")]
    Busy {
        /// How long we waited.
        waited: Duration,
    },
    /// The system refused, for instance because the file system does not support locks.
    #[error("the file cannot be locked")]
    Io(#[source] io::Error),
}

/// Takes the shared lock of `file`, waiting for at most `limit`.
///
/// # Errors
/// [`LockError::Busy`] once `limit` has passed, [`LockError::Io`] if the file cannot be locked at all.
pub fn lock_shared(file: &File, limit: Duration) -> Result<(), LockError> {
    lock(file, FlockOperation::NonBlockingLockShared, limit)
}

/// Takes the exclusive lock of `file`, waiting for at most `limit`.
///
/// # Errors
/// The same as for [`lock_shared`].
pub fn lock_exclusive(file: &File, limit: Duration) -> Result<(), LockError> {
    lock(file, FlockOperation::NonBlockingLockExclusive, limit)
}

/// Releases the lock of `file` before the file is closed.
///
/// # Errors
/// [`LockError::Io`] if the system refuses.
pub fn unlock(file: &File) -> Result<(), LockError> {
    rustix::fs::flock(file, FlockOperation::Unlock).map_err(|errno| LockError::Io(errno.into()))
}

fn lock(file: &File, operation: FlockOperation, limit: Duration) -> Result<(), LockError> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(errno) => return Err(LockError::Io(errno.into())),
        }
        let waited = start.elapsed();
        let Some(left) = limit.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return Err(LockError::Busy { waited });
        };
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twice_open() -> (tempfile::TempDir, File, File) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wsp");
        std::fs::write(&path, b"content").unwrap();
        let (first, second) = (File::open(&path).unwrap(), File::open(&path).unwrap());
        (folder, first, second)
    }

    #[test]
    fn an_exclusive_lock_keeps_all_others_out_until_the_limit() {
        let (_folder, first, second) = twice_open();
        lock_exclusive(&first, Duration::ZERO).unwrap();
        let limit = Duration::from_millis(50);
        for attempt in [lock_shared, lock_exclusive] {
            match attempt(&second, limit) {
                Err(LockError::Busy { waited }) => assert!(waited >= limit, "{waited:?}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn shared_locks_live_side_by_side_and_keep_a_writer_out() {
        let (_folder, first, second) = twice_open();
        lock_shared(&first, Duration::ZERO).unwrap();
        lock_shared(&second, Duration::ZERO).unwrap();
        assert!(matches!(lock_exclusive(&second, Duration::ZERO), Err(LockError::Busy { .. })));
    }

    #[test]
    fn a_released_lock_goes_to_the_waiter() {
        let (_folder, first, second) = twice_open();
        lock_exclusive(&first, Duration::ZERO).unwrap();
        let waiter = thread::spawn(move || lock_exclusive(&second, Duration::from_secs(60)));
        thread::sleep(Duration::from_millis(30));
        assert!(!waiter.is_finished());
        unlock(&first).unwrap();
        waiter.join().unwrap().unwrap();
    }
}
