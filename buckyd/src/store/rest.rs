//! Whether a process has written to a file lately, by the times of its inode.
//!
//! The time of the last write can be set to anything, and a wrong clock leaves times in the future. Then the
//! time of the last change counts, which the kernel sets at every write. If that is in the future as well,
//! the file is watched: once it has not changed for long enough, no process is writing to it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::Stat;

use super::stamp::Stamp;

/// The most files that are watched. Further ones wait until some of these are deleted, or until the clock has
/// caught up.
const WATCHED: usize = 65_536;

/// What the times of a file show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// No process has written to it for long enough. Set if something about its times was unusual.
    Rests { oddity: Option<String> },
    /// A process may still write to it, for this reason.
    InUse { reason: String },
}

/// Files whose times are all in the future, and since when they have not changed.
#[derive(Debug, Default)]
pub(super) struct WatchedFiles(Mutex<HashMap<(u64, u64), (Stamp, Instant)>>);

/// The moment of a check, by the clock and by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckTime {
    pub(super) now: SystemTime,
    pub(super) at: Instant,
}

impl WatchedFiles {
    /// Whether no process has written to the file of `stat` for `rest`.
    pub(super) fn rest(&self, stat: &Stat, rest: Duration, checked: CheckTime) -> Rest {
        if rest.is_zero() {
            return Rest::Rests { oddity: None };
        }
        let written = time(stat.st_mtime, stat.st_mtime_nsec);
        let ahead = match checked.now.duration_since(written) {
            Ok(age) if age < rest => {
                return Rest::InUse {
                    reason: format!("it was written to {} s ago", age.as_secs()),
                };
            }
            Ok(_) => return Rest::Rests { oddity: None },
            Err(ahead) => ahead.duration(),
        };
        let oddity = format!(
            "the time of its last write is {} s ahead of this node's clock",
            ahead.as_secs()
        );
        let changed = time(stat.st_ctime, stat.st_ctime_nsec);
        let age = match checked.now.duration_since(changed) {
            Ok(age) => age,
            Err(_) => self.watch(stat, checked.at),
        };
        if age >= rest {
            return Rest::Rests { oddity: Some(oddity) };
        }
        let reason = format!(
            "{oddity}; it stays for now, and a run in {} s deletes it if nothing has changed it by then",
            (rest - age).as_secs_f64().ceil()
        );
        Rest::InUse { reason }
    }

    /// For how long the file has not changed, by the checks so far.
    fn watch(&self, stat: &Stat, at: Instant) -> Duration {
        let (inode, stamp) = ((stat.st_dev, stat.st_ino), Stamp::of(stat));
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match files.get_mut(&inode) {
            Some((seen, since)) if *seen == stamp => at.saturating_duration_since(*since),
            Some(seen) => {
                *seen = (stamp, at);
                Duration::ZERO
            }
            None => {
                if files.len() < WATCHED {
                    files.insert(inode, (stamp, at));
                }
                Duration::ZERO
            }
        }
    }

    /// Forgets a file that was removed.
    pub(super) fn forget(&self, stat: &Stat) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.remove(&(stat.st_dev, stat.st_ino));
    }
}

fn time(seconds: i64, nanos: u64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let whole = match seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(span),
        _ => SystemTime::UNIX_EPOCH.checked_sub(span),
    };
    let exact = whole.and_then(|time| time.checked_add(Duration::from_nanos(nanos)));
    exact.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    const REST: Duration = Duration::from_secs(120);
    const SECOND: Duration = Duration::from_secs(1);

    struct Watching {
        watched: WatchedFiles,
        file: File,
        began: Instant,
    }

    impl Watching {
        fn new() -> Self {
            let file = tempfile::tempfile().unwrap();
            Self { watched: WatchedFiles::default(), file, began: Instant::now() }
        }

        /// A check at a clock that shows `offset` seconds after the file's last change; negative means
        /// before.
        fn checked(&self, offset: i64, later: Duration) -> Rest {
            let stat = rustix::fs::fstat(&self.file).unwrap();
            let changed = time(stat.st_ctime, stat.st_ctime_nsec);
            let span = Duration::from_secs(offset.unsigned_abs());
            let now = if offset < 0 { changed - span } else { changed + span };
            self.watched.rest(&stat, REST, CheckTime { now, at: self.began + later })
        }

        fn written_ahead(&self) {
            self.file.set_modified(SystemTime::now() + Duration::from_secs(86_400)).unwrap();
        }
    }

    fn rests(rest: &Rest) -> bool {
        matches!(rest, Rest::Rests { .. })
    }

    #[test]
    fn a_file_written_to_a_while_ago_is_at_rest() {
        let watching = Watching::new();
        assert!(!rests(&watching.checked(119, Duration::ZERO)));
        assert_eq!(watching.checked(121, Duration::ZERO), Rest::Rests { oddity: None });
    }

    #[test]
    fn a_time_of_write_in_the_future_is_waited_for_once_and_reported() {
        let watching = Watching::new();
        watching.written_ahead();
        let Rest::InUse { reason } = watching.checked(20, Duration::ZERO) else {
            panic!("it rests")
        };
        assert!(reason.contains("ahead of this node's clock"), "{reason}");
        assert!(reason.contains("a run in 100 s deletes it"), "{reason}");
        let Rest::Rests { oddity } = watching.checked(121, Duration::ZERO) else {
            panic!("in use")
        };
        assert!(oddity.unwrap().contains("ahead of this node's clock"));
        assert!(watching.watched.0.lock().unwrap().is_empty(), "the time of change tells");
    }

    #[test]
    fn if_the_clock_was_set_back_the_file_is_watched_for_the_time_of_rest() {
        let watching = Watching::new();
        assert!(!rests(&watching.checked(-86_400, Duration::ZERO)));
        assert!(!rests(&watching.checked(-86_400, REST - SECOND)));
        watching.written_ahead();
        assert!(!rests(&watching.checked(-86_400, REST)), "something has changed it");
        assert!(!rests(&watching.checked(-86_400, REST + REST - SECOND)));
        assert!(rests(&watching.checked(-86_400, REST + REST)));
        watching.watched.forget(&rustix::fs::fstat(&watching.file).unwrap());
        assert!(watching.watched.0.lock().unwrap().is_empty());
    }

    #[test]
    fn no_rest_is_no_question() {
        let watching = Watching::new();
        watching.written_ahead();
        let stat = rustix::fs::fstat(&watching.file).unwrap();
        let checked = CheckTime { now: SystemTime::UNIX_EPOCH, at: watching.began };
        let rest = watching.watched.rest(&stat, Duration::ZERO, checked);
        assert_eq!(rest, Rest::Rests { oddity: None });
    }
}
