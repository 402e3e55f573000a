//! Whether a file has changed since it was read, by its inode's times.
//!
//! A write sets both times of its file before it changes a byte. So a file with the same length and times as
//! before it was read, to the nanosecond, still has the content that was read. This requires that its times
//! were older than a clock tick then, because a write in the same tick leaves the same times. A younger file
//! must be read again, and so must a file on a file system that other machines write to. A write through a
//! mapping of the file may set the times late. Nothing that writes Whisper files does that, and a deleted
//! source is read completely again before it is confirmed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bucky_whisper::Digest;
use rustix::fs::Stat;

/// How old a file's times must be when it is read. The kernel's ticks are at most 10 ms. This leaves room for
/// a clock that is set, and for file systems that store whole seconds.
const SETTLED: Duration = Duration::from_secs(2);
/// How many files are remembered at least; at most twice as many. A rebalance has fewer between heal and
/// delete.
const REMEMBERED: usize = 16_384;

/// What distinguishes one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: (u64, u64),
    bytes: i64,
    written: (i64, u64),
    changed: (i64, u64),
}

impl Stamp {
    /// The state of the file of `stat`.
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            inode: (stat.st_dev, stat.st_ino),
            bytes: stat.st_size,
            written: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether a write at `now` or later certainly changes it.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        [self.written, self.changed].into_iter().all(|(seconds, nanos)| {
            let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
                + Duration::from_nanos(nanos);
            now.checked_sub(time).is_some_and(|age| age >= SETTLED)
        })
    }
}

/// The digests of files that were read a while ago. The oldest are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<(u64, u64), (Stamp, Digest)>,
    old: HashMap<(u64, u64), (Stamp, Digest)>,
}

impl Remembered {
    /// Records that the file in the state `stamp`, which was settled, has `digest`.
    pub(crate) fn note(&self, stamp: Stamp, digest: Digest) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.young.len() >= REMEMBERED {
            files.old = std::mem::take(&mut files.young);
        }
        files.young.insert(stamp.inode, (stamp, digest));
    }

    /// The digest of the file in the state `stamp`. It is returned once.
    pub(crate) fn take(&self, stamp: Stamp) -> Option<Digest> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = files.young.remove(&stamp.inode).or_else(|| files.old.remove(&stamp.inode));
        noted.and_then(|(noted, digest)| (noted == stamp).then_some(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};
    use std::os::unix::fs::FileExt;

    fn stamp(file: &File) -> Stamp {
        Stamp::of(&rustix::fs::fstat(file).unwrap())
    }

    #[test]
    fn a_write_and_a_time_that_is_set_back_are_noticed() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"content", 0).unwrap();
        let before = stamp(&file);
        assert_eq!(stamp(&file), before);
        // A tick is 10 ms at most.
        std::thread::sleep(Duration::from_millis(30));
        file.write_all_at(b"CONTENT", 0).unwrap();
        let written = stamp(&file);
        assert_ne!(written, before);
        std::thread::sleep(Duration::from_millis(30));
        let seconds = u64::try_from(before.written.0).unwrap();
        let time = UNIX_EPOCH + Duration::new(seconds, u32::try_from(before.written.1).unwrap());
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
        let set_back = stamp(&file);
        assert_eq!(set_back.written, before.written);
        assert_ne!(set_back, before);
    }

    #[test]
    fn a_file_that_was_written_to_a_moment_ago_is_not_settled() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"content", 0).unwrap();
        let stamp = stamp(&file);
        let seconds = u64::try_from(stamp.changed.0).unwrap();
        let then = UNIX_EPOCH + Duration::new(seconds, u32::try_from(stamp.changed.1).unwrap());
        assert!(!stamp.is_settled(then));
        assert!(!stamp.is_settled(then + SETTLED - Duration::from_millis(1)));
        assert!(!stamp.is_settled(then - Duration::from_secs(3600)), "a clock that was set back");
        assert!(stamp.is_settled(then + SETTLED));
    }

    #[test]
    fn a_digest_is_remembered_for_one_state_and_the_oldest_are_forgotten() {
        let digest = Digest::of(b"content");
        let numbered = |ino| Stamp { inode: (1, ino), bytes: 7, written: (5, 0), changed: (5, 1) };
        let remembered = Remembered::default();
        remembered.note(numbered(1), digest);
        assert_eq!(remembered.take(Stamp { changed: (5, 2), ..numbered(1) }), None);
        remembered.note(numbered(1), digest);
        assert_eq!(remembered.take(numbered(1)), Some(digest));
        assert_eq!(remembered.take(numbered(1)), None);
        let many = REMEMBERED as u64;
        (1..=2 * many + 1).for_each(|ino| remembered.note(numbered(ino), digest));
        assert_eq!(remembered.take(numbered(1)), None);
        assert_eq!(remembered.take(numbered(many + 1)), Some(digest));
        let files = remembered.0.into_inner().unwrap();
        assert!(files.young.len() + files.old.len() <= 2 * REMEMBERED);
    }
}
