//! The errors of the store.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bucky_api::Problem;
use bucky_whisper::{HeaderError, LockError};
use rustix::io::Errno;

use crate::memory::NoMemory;

/// A failure of the store. Every variant names the path, relative to the prefix.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// No such file.
    #[error("{path} does not exist")]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Something else has the file's name.
    #[error("{path} is {what}, not a regular file; move it away")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The path goes through a symbolic link, or through something that is not a folder.
    #[error(
        "{path} is reached through a symbolic link or a file; buckyd follows no links below the prefix"
    )]
    BadPath {
        /// The path.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error(
        "another process holds the lock of {path} (waited {} ms for it); find it with `fuser` or `lslocks`",
        waited.as_millis()
    )]
    Busy {
        /// The path.
        path: PathBuf,
        /// How long this daemon waited.
        waited: Duration,
    },
    /// It is too long to hold in memory.
    #[error(
        "{path} has {bytes} bytes; this needs the file in memory and takes at most {limit} bytes"
    )]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Other requests use the memory.
    #[error("{path} could not be read now")]
    NoMemory {
        /// The path.
        path: PathBuf,
        /// The state of the memory.
        source: NoMemory,
    },
    /// It is removed and replaced faster than it can be opened.
    #[error("{path} was replaced several times while buckyd opened it")]
    Unsteady {
        /// The path.
        path: PathBuf,
    },
    /// Another process deleted the file after it was put in place or filled, and before it was durable.
    #[error(
        "another process deleted {path} while buckyd was writing it; try again if the metric should exist"
    )]
    Deleted {
        /// The path.
        path: PathBuf,
    },
    /// It is on another mount than its volume: one that was mounted after the last scan, or that cannot be
    /// served.
    #[error(
        "{path} is on another file system than its volume; buckyd serves what is mounted below the prefix from its \
         next scan on (`bucky list -f` waits for one); if it does not, `bucky list --not-served` says why"
    )]
    Elsewhere {
        /// The path.
        path: PathBuf,
    },
    /// The prefix leads to another folder than at the start.
    #[error(
        "{path} is not the folder that this buckyd opened when it started: something was mounted on it or unmounted, or a \
         link was changed. Nothing is written or deleted until you restart buckyd"
    )]
    PrefixChanged {
        /// The prefix.
        path: PathBuf,
    },
    /// The prefix cannot be found any more.
    #[error(
        "the prefix {path} cannot be reached any more. Nothing is written or deleted: put it back, or restart buckyd \
         with the right prefix"
    )]
    PrefixGone {
        /// The prefix.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A disk that the node had when buckyd last ran is not mounted.
    #[error(
        "{path} was a volume of its own when buckyd last ran, and is now a folder of another file system: its disk is \
         not mounted. Nothing is written or deleted on this node: mount the disk, or, if it is gone for good, remove \
         its line from {memory} and restart buckyd"
    )]
    VolumeMissing {
        /// The path where it was mounted.
        path: PathBuf,
        /// The file that lists the known volumes.
        memory: PathBuf,
    },
    /// A file system was mounted on a folder that had metrics.
    #[error(
        "something was mounted on {path} and hides metrics there ({metrics}); unmount it to get them back, or restart \
         buckyd to serve what is mounted"
    )]
    Hidden {
        /// The folder.
        path: PathBuf,
        /// How many metrics it had.
        metrics: u64,
    },
    /// Another daemon serves the folder, or one above or below it.
    #[error(
        "cannot serve {path}: another buckyd already serves {whose}; only one buckyd may serve a folder and \
         everything below it. Stop the other one (`pgrep -a buckyd` lists them), or give this one a prefix of its own"
    )]
    Served {
        /// The folder.
        path: PathBuf,
        /// What the other daemon serves, in words.
        whose: String,
    },
    /// One of the daemon's own folders is a symbolic link.
    #[error(
        "{path} is a symbolic link; buckyd follows no links to its state folder or inside it. Put a folder in its \
         place, or give --state-dir the folder that it leads to"
    )]
    StateLink {
        /// The path.
        path: PathBuf,
    },
    /// go-carbon keeps points of the metric in another file.
    #[error(
        "go-carbon keeps late points of {path} in {} beside it, which Bucky does not move; {path} can be deleted once \
         go-carbon has merged them into it",
        sidecar.display()
    )]
    LatePoints {
        /// The path.
        path: PathBuf,
        /// The name of the other file.
        sidecar: PathBuf,
    },
    /// It is not a valid Whisper file, so whether its owners hold its points cannot be determined.
    #[error(
        "{path} is not a valid Whisper file, and is not deleted: the points that its owners must hold cannot be \
         determined; if you do not need the file, move it aside"
    )]
    NotWhole {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What the daemon tried to do.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl StoreError {
    /// The kind of problem for a heal, if the file is the owner's.
    pub(crate) fn as_destination_problem(&self) -> Problem {
        match self {
            Self::Busy { .. }
            | Self::Unsteady { .. }
            | Self::Deleted { .. }
            | Self::NoMemory { .. } => Problem::Busy,
            Self::NotAFile { .. } | Self::BadPath { .. } | Self::Elsewhere { .. } => {
                Problem::BadPath
            }
            Self::TooLarge { .. } => Problem::TooLarge,
            Self::Io { source, .. } if is_no_space(source) => Problem::NoSpace,
            Self::LatePoints { .. } => Problem::LatePoints,
            Self::NotWhole { .. } => Problem::DestinationDamaged,
            Self::Missing { .. }
            | Self::PrefixChanged { .. }
            | Self::PrefixGone { .. }
            | Self::VolumeMissing { .. }
            | Self::Hidden { .. }
            | Self::Served { .. }
            | Self::StateLink { .. }
            | Self::Io { .. } => Problem::Storage,
        }
    }

    /// The kind of problem for a transfer, if the file is the source's.
    pub(crate) fn as_source_problem(&self) -> Problem {
        match self {
            Self::Missing { .. } => Problem::SourceMissing,
            Self::Busy { .. }
            | Self::Unsteady { .. }
            | Self::Deleted { .. }
            | Self::NoMemory { .. } => Problem::Busy,
            Self::NotAFile { .. } | Self::BadPath { .. } | Self::Elsewhere { .. } => {
                Problem::BadPath
            }
            Self::TooLarge { .. } => Problem::TooLarge,
            Self::LatePoints { .. } => Problem::LatePoints,
            Self::NotWhole { .. } => Problem::SourceDamaged,
            Self::PrefixChanged { .. }
            | Self::PrefixGone { .. }
            | Self::VolumeMissing { .. }
            | Self::Hidden { .. }
            | Self::Served { .. }
            | Self::StateLink { .. }
            | Self::Io { .. } => Problem::SourceUnreadable,
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }

    /// The error for a failed open.
    pub(super) fn open(path: impl Into<PathBuf>, errno: Errno) -> Self {
        let path = path.into();
        match errno {
            Errno::NOENT => Self::Missing { path },
            Errno::XDEV => Self::Elsewhere { path },
            Errno::LOOP | Errno::NOTDIR => Self::BadPath { path },
            Errno::ISDIR => Self::NotAFile { path, what: "a folder" },
            Errno::NXIO => Self::NotAFile { path, what: "a FIFO or a socket" },
            errno => Self::io("open", path, errno),
        }
    }

    pub(super) fn lock(path: impl Into<PathBuf>, error: LockError) -> Self {
        match error {
            LockError::Busy { waited } => Self::Busy { path: path.into(), waited },
            LockError::Io(source) => Self::io("lock", path, source),
        }
    }
}

/// The file system is full, has no quota left, or cannot be written: a retry at once will not help.
fn is_no_space(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS))
}
