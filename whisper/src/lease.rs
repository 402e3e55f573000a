//! Keeps other processes from opening a file for a moment.
//!
//! A lock keeps out only the processes that take it, and carbon takes none by default. The kernel grants a
//! write lease only if no other process has the file open. While the lease is held, a process that opens the
//! file waits, for as long as `/proc/sys/fs/lease-break-time` says (45 s by default). whisper.py and
//! go-carbon open a file for each update, so a short lease keeps them out without losing a point. The kernel
//! grants leases to the owner of a file and to a process with CAP_LEASE, on local file systems.
//!
//! An open with `O_NONBLOCK` fails instead of waiting. This crate and the daemon open files with it, so that
//! a pipe cannot block them; they use [`past_leases`].

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
/// How long a lease may be relied on for any break time of the kernel, counted from a moment when no process
/// waited: half of the shortest break time.
pub(crate) const RELIABLE_ALWAYS: Duration = Duration::from_millis(500);
/// The file in which the kernel shows for how many seconds it lets others wait; 0 means until the lease is
/// released.
const BREAK_TIME: &str = "/proc/sys/fs/lease-break-time";

/// How long an open waits for a lease of another process.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// The first and the longest pause of an open that waits for a lease.
const OPEN_PAUSES: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(5)];

/// The numbers that statfs(2) returns for ext2 to ext4, XFS, btrfs, tmpfs, F2FS, ZFS and bcachefs.
const LOCAL: [FsWord; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];

/// The fcntl command that selects the signal for a lease, from Linux's `fcntl.h`; the bindings lack it.
const F_SETSIG: c_int = 10;

/// Why a lease was not granted.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process had the file open during the whole waiting time.
    #[error("in use: another process had it open for {waited:?}; try again")]
    InUse {
        /// How long we waited.
        waited: Duration,
    },
    /// The file system has no leases, or the file belongs to another user.
    #[error("the kernel gives no lease on it; run as its owner or root, on a local file system")]
    NotGiven(#[source] io::Error),
}

/// A write lease. No other process has the file open or can open it until this is dropped.
#[derive(Debug)]
pub struct Lease<'f> {
    file: &'f File,
    taken: Instant,
    reliable: Duration,
}

impl<'f> Lease<'f> {
    /// Takes the lease of `file`. Waits at most `limit` until no other process has it open.
    ///
    /// # Errors
    /// [`LeaseError`].
    pub fn take(file: &'f File, limit: Duration) -> Result<Self, LeaseError> {
        let start = Instant::now();
        // If the break time cannot be read, the kernel's default is assumed.
        let reliable = reliable(&std::fs::read_to_string(BREAK_TIME).unwrap_or_default());
        // An open by another process makes the kernel send us a signal. SIGURG is ignored by default.
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

    /// The lease of `file`, if it is available at once.
    ///
    /// It relies only on the shortest time that the kernel makes others wait, which is known without asking
    /// the kernel. Check this lease with [`Self::has_no_waiter`].
    pub(crate) fn take_now(file: &'f File) -> Option<Self> {
        fcntl(file, F_SETSIG, libc::SIGURG).ok()?;
        fcntl(file, libc::F_SETLEASE, libc::F_WRLCK).ok()?;
        Some(Self { file, taken: Instant::now(), reliable: RELIABLE_ALWAYS })
    }

    /// Whether the lease is young enough that the kernel has let no waiting process in.
    pub fn is_reliable(&self) -> bool {
        self.taken.elapsed() < self.reliable
    }

    /// Whether the lease is still held and no process waits to open the file. A process that comes later is
    /// not let in for at least [`RELIABLE_ALWAYS`].
    pub(crate) fn has_no_waiter(&self) -> bool {
        matches!(fcntl(self.file, libc::F_GETLEASE, 0), Ok(libc::F_WRLCK))
    }
}

/// Opens a file with `open`, and tries again for some seconds if another process holds a lease on it. A fill
/// holds a lease for less than a millisecond.
///
/// # Errors
/// The errors of `open`.
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
        // The kernel may have broken the lease; then there is nothing to release.
        let _ = fcntl(self.file, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

/// Whether `file` is on a file system that no other machine writes to. There a lease keeps out every writer,
/// and a write updates the file's times at once. Some other file systems, such as those in user space, grant
/// leases without asking the machines that share them, and some update times late.
pub fn is_of_this_machine(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| LOCAL.contains(&stat.f_type))
}

/// How long a lease may be relied on, given the kernel's break time: half of it, because the kernel's clock
/// may start a little earlier, and the write happens a little after the check.
fn reliable(break_time: &str) -> Duration {
    match break_time.trim().parse() {
        Ok(0) | Err(_) => RELIABLE_MOST,
        Ok(seconds) => RELIABLE_MOST.min(Duration::from_secs(seconds) / 2),
    }
}

/// fcntl(2) with a command that takes a number or nothing, and returns a number. Neither rustix nor another
/// safe binding has the commands for leases.
#[expect(
    unsafe_code,
    reason = "leases have no safe binding; numbers go in and out, and no memory is touched"
)]
fn fcntl(file: &File, command: c_int, argument: c_int) -> io::Result<c_int> {
    // SAFETY: F_SETSIG and F_SETLEASE take an int by value, F_GETLEASE nothing, and the descriptor is open as
    // long as `file` is borrowed.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        -1 => Err(io::Error::last_os_error()),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If an operator has shortened the break time, a lease is broken sooner.
    #[test]
    fn a_lease_is_relied_on_for_far_less_than_others_wait() {
        for (break_time, seconds) in
            [("45\n", 5.0), ("10\n", 5.0), ("4", 2.0), ("1\n", 0.5), ("0\n", 5.0), ("", 5.0)]
        {
            assert_eq!(reliable(break_time).as_secs_f64(), seconds, "{break_time:?}");
        }
    }

    #[test]
    fn an_open_file_is_not_leased() {
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
    fn a_lease_shows_whether_a_process_waits_to_open_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wsp");
        std::fs::write(&path, b"content").unwrap();
        let ours = File::open(&path).unwrap();
        let other = File::open(&path).unwrap();
        assert!(Lease::take_now(&ours).is_none());
        drop(other);
        // A child process of another test has our files open until its exec.
        let lease = Lease::take(&ours, Duration::from_secs(30)).unwrap();
        assert!(lease.has_no_waiter());
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let open = || rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
        assert_eq!(open().unwrap_err(), Errno::WOULDBLOCK);
        assert!(!lease.has_no_waiter());
        thread::scope(|scope| {
            let opener = scope.spawn(|| past_leases(open).map(drop));
            thread::sleep(Duration::from_millis(20));
            assert!(!opener.is_finished());
            drop(lease);
            opener.join().unwrap().unwrap();
        });
    }

    #[test]
    fn opening_a_leased_file_waits_until_the_lease_is_released() {
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
