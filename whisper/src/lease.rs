//! A file that nobody else has open, and that nobody opens as long as we say so.
//!
//! A lock keeps out only those who take it, and carbon by default takes none. A write lease is given only where no other
//! process has the file open, and while it is held the kernel lets everybody wait who opens it (for as long as
//! `/proc/sys/fs/lease-break-time` says, 45 s unless somebody changed it). whisper.py and go-carbon open a file for each
//! update, so a lease that is held for a moment keeps them out without any loss. The kernel gives leases to a file's owner
//! and to who has CAP_LEASE, on local file systems.
//!
//! Who opens a file without being willing to wait (`O_NONBLOCK`, as this crate and the daemon do, lest a pipe keeps them)
//! is refused instead: [`past_leases`] is for them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use libc::c_int;
use rustix::fs::FsWord;
use rustix::io::Errno;

/// The pause between two attempts. An update has a file open for some ten microseconds.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a lease may be relied on at most.
const RELIABLE_MOST: Duration = Duration::from_secs(5);
/// How long a lease may be relied on whatever the kernel's break time is, counted from a moment when nobody waited: half of
/// the shortest that there is.
pub(crate) const RELIABLE_ALWAYS: Duration = Duration::from_millis(500);
/// Where the kernel tells for how many seconds it lets others wait; 0: until the lease is given back.
const BREAK_TIME: &str = "/proc/sys/fs/lease-break-time";

/// How long a lease of somebody else is waited for by who opens a file.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// The first pause of who opens a leased file, and the longest.
const OPEN_PAUSES: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(5)];

/// ext2 to ext4, XFS, btrfs, tmpfs, F2FS, ZFS and bcachefs, by the numbers that statfs(2) has for them.
const LOCAL: [FsWord; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];

/// The command that says which signal a lease sends, by Linux's `fcntl.h`; the bindings lack it.
const F_SETSIG: c_int = 10;

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process had the file open for as long as we were told to wait.
    #[error("in use: another process had it open for {waited:?}; try again")]
    InUse {
        /// How long was waited.
        waited: Duration,
    },
    /// The file system has no leases, or the file belongs to somebody else.
    #[error("the kernel gives no lease on it; run as its owner or root, on a local file system")]
    NotGiven(#[source] io::Error),
}

/// A write lease. Nobody else has the file open, or comes to open it, until this is dropped.
#[derive(Debug)]
pub struct Lease<'f> {
    file: &'f File,
    taken: Instant,
    reliable: Duration,
}

impl<'f> Lease<'f> {
    /// Takes the lease of `file`, waiting for at most `limit` until nobody else has it open.
    ///
    /// # Errors
    /// [`LeaseError`].
    pub fn take(file: &'f File, limit: Duration) -> Result<Self, LeaseError> {
        let start = Instant::now();
        // Where it cannot be read nobody is known to have changed it.
        let reliable = reliable(&std::fs::read_to_string(BREAK_TIME).unwrap_or_default());
        // Whoever comes to open the file makes the kernel send us a signal: one that is ignored unless it is asked for.
        fcntl(file, F_SETSIG, libc::SIGURG).map_err(LeaseError::NotGiven)?;
        loop {
            match fcntl(file, libc::F_SETLEASE, libc::F_WRLCK) {
                Ok(_) => return Ok(Self { file, taken: Instant::now(), reliable }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(LeaseError::NotGiven(error)),
            }
            let waited = start.elapsed();
            if waited >= limit {
                return Err(LeaseError::InUse { waited });
            }
            thread::sleep(PAUSE);
        }
    }

    /// The lease of `file`, if it can be had at once.
    ///
    /// What others are made to wait at least is known without asking, so this one is asked for [`Self::nobody_waits`].
    pub(crate) fn take_now(file: &'f File) -> Option<Self> {
        fcntl(file, F_SETSIG, libc::SIGURG).ok()?;
        fcntl(file, libc::F_SETLEASE, libc::F_WRLCK).ok()?;
        Some(Self { file, taken: Instant::now(), reliable: RELIABLE_ALWAYS })
    }

    /// Whether the lease is young enough that nobody who waits for it has been let in.
    pub fn is_reliable(&self) -> bool {
        self.taken.elapsed() < self.reliable
    }

    /// Whether the lease is still there, and nobody has come to open the file. Whoever comes after this is not let in for
    /// [`RELIABLE_ALWAYS`] at least.
    pub(crate) fn nobody_waits(&self) -> bool {
        matches!(fcntl(self.file, libc::F_GETLEASE, 0), Ok(libc::F_WRLCK))
    }
}

/// Opens a file with `open`, trying again for some seconds where somebody has a lease on it: a fill has one for less than
/// a millisecond.
///
/// # Errors
/// Those of `open`.
pub fn past_leases<T>(mut open: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let start = Instant::now();
    let [mut pause, longest] = OPEN_PAUSES;
    loop {
        match open() {
            Err(Errno::WOULDBLOCK) if start.elapsed() < OPEN_LIMIT => thread::sleep(pause),
            opened => return opened,
        }
        pause = (pause * 2).min(longest);
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // It may have been broken, and then there is nothing to give back.
        let _ = fcntl(self.file, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

/// Whether `file` lies on a file system that no other machine writes to: a lease keeps out everybody, and a write sets the
/// file's times at once. Of others, such as those in user space, some give leases without asking the machines that they
/// share it with, and some set times late.
pub fn is_of_this_machine(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| LOCAL.contains(&stat.f_type))
}

/// How long a lease may be relied on, by the kernel's break time: half of it, for the clock of that one begins a little
/// later, and what is checked is done a little after.
fn reliable(break_time: &str) -> Duration {
    match break_time.trim().parse() {
        Ok(0) | Err(_) => RELIABLE_MOST,
        Ok(seconds) => RELIABLE_MOST.min(Duration::from_secs(seconds) / 2),
    }
}

/// fcntl(2) with a command that takes a number or nothing, and returns one. Neither rustix nor any other safe binding has
/// those of leases.
#[expect(
    unsafe_code,
    reason = "leases have no safe binding; numbers go in and out, and no memory is touched"
)]
fn fcntl(file: &File, command: c_int, argument: c_int) -> io::Result<c_int> {
    // SAFETY: F_SETSIG and F_SETLEASE take an int by value, F_GETLEASE nothing, and the descriptor is open as long as
    // `file` is borrowed.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        -1 => Err(io::Error::last_os_error()),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where an operator has made others wait less, a lease is broken sooner.
    #[test]
    fn a_lease_is_relied_on_for_far_less_than_others_wait() {
        for (break_time, seconds) in
            [("45\n", 5.0), ("10\n", 5.0), ("4", 2.0), ("1\n", 0.5), ("0\n", 5.0), ("", 5.0)]
        {
            assert_eq!(reliable(break_time).as_secs_f64(), seconds, "{break_time:?}");
        }
    }

    #[test]
    fn a_file_that_somebody_has_open_is_not_leased() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wsp");
        std::fs::write(&path, b"content").unwrap();
        let (ours, other) = (File::open(&path).unwrap(), File::open(&path).unwrap());
        let refused = Lease::take(&ours, Duration::from_millis(20));
        assert!(matches!(refused, Err(LeaseError::InUse { waited }) if waited.as_millis() >= 20));
        drop(other);
        assert!(Lease::take(&ours, Duration::from_secs(30)).unwrap().is_reliable());
    }

    #[test]
    fn a_lease_tells_whether_somebody_has_come_to_open_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wsp");
        std::fs::write(&path, b"content").unwrap();
        let ours = File::open(&path).unwrap();
        let other = File::open(&path).unwrap();
        assert!(Lease::take_now(&ours).is_none());
        drop(other);
        // A process that another test starts has our files open until it has begun.
        let lease = Lease::take(&ours, Duration::from_secs(30)).unwrap();
        assert!(lease.nobody_waits());
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let open = || rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
        assert_eq!(open().unwrap_err(), Errno::WOULDBLOCK);
        assert!(!lease.nobody_waits());
        thread::scope(|scope| {
            let opener = scope.spawn(|| past_leases(open).map(drop));
            thread::sleep(Duration::from_millis(20));
            assert!(!opener.is_finished());
            drop(lease);
            opener.join().unwrap().unwrap();
        });
    }

    #[test]
    fn who_opens_a_leased_file_waits_until_the_lease_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wsp");
        std::fs::write(&path, b"content").unwrap();
        let ours = File::open(&path).unwrap();
        let lease = Lease::take(&ours, Duration::from_secs(30)).unwrap();
        let opener = thread::spawn({
            let path = path.clone();
            move || File::options().write(true).open(path).map(drop)
        });
        thread::sleep(Duration::from_millis(100));
        assert!(!opener.is_finished());
        drop(lease);
        opener.join().unwrap().unwrap();
    }
}
