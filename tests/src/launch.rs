//! How a node's daemon is started, and the commands that change its surroundings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The size of a file system below a prefix.
pub(crate) const DISK_BELOW_BYTES: u64 = 64 << 20;

/// How a daemon is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Launch {
    /// Without changes.
    #[default]
    Plain,
    /// With the prefix on a separate file system of this many bytes, which disappears with the daemon.
    OnSmallDisk(u64),
    /// With the prefix on a separate file system with a limited number of inodes.
    OnDisk {
        /// The size of the file system.
        bytes: u64,
        /// How many files and folders it can hold.
        inodes: u64,
    },
    /// With a separate file system at this folder below the prefix, which disappears with the daemon.
    WithDiskBelow(&'static str),
    /// Without the capabilities with which root ignores file permissions.
    WithoutRootCapabilities,
    /// With this soft limit of open files and connections. The daemon may raise it up to the hard limit.
    WithDescriptors(u64),
    /// With its own clock: [`crate::Node::set_clock`].
    WithClock,
    /// Under `strace`, which records what the daemon does to files and sends: [`crate::Node::recording`].
    Recorded,
    /// Under `strace`, which makes system calls fail.
    Injected(Injection),
}

/// System calls that fail, as on a broken disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The calls, separated by commas: `fsync,syncfs`.
    pub calls: &'static str,
    /// The error: `EIO`.
    pub error: &'static str,
    /// Which of the calls fail, in the notation of `strace`: `1+` for all, `2` for the second only. Counted
    /// for each thread.
    pub when: &'static str,
    /// Only calls on this path below the prefix fail.
    pub path: Option<PathBuf>,
}

impl Injection {
    /// All these calls fail with `EIO`.
    pub fn eio(calls: &'static str) -> Self {
        Self { calls, error: "EIO", when: "1+", path: None }
    }

    /// Only calls on this path below the prefix fail.
    #[must_use]
    pub fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// They fail with another error.
    #[must_use]
    pub fn error(mut self, error: &'static str) -> Self {
        self.error = error;
        self
    }

    /// Only some of the calls fail.
    #[must_use]
    pub fn when(mut self, when: &'static str) -> Self {
        self.when = when;
        self
    }
}

/// Starts the program with `unshare` in its own mount namespace, with a file system of this size at `prefix`.
pub(crate) fn on_disk(size: &str, prefix: &Path, program: &OsString) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script =
        "mkdir -p \"$2\" && mount -t tmpfs -o $1,mode=755 tmpfs \"$2\" && shift 2 && exec \"$@\"";
    command.args(["--mount", "sh", "-ec", script, "sh", size]).arg(prefix).arg(program);
    command
}

pub(crate) fn without_root_capabilities(program: &OsString) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-dac_override,-dac_read_search").arg(program);
    command
}

pub(crate) fn with_descriptors(count: u64, program: &OsString) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={count}:")).arg(program);
    command
}
