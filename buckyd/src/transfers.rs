//! How many transfers run at once, and what the last ones brought.
//!
//! Sending and receiving are counted separately: a node that receives as much as it may can still send, so
//! two nodes that pull from each other do not block each other.
//!
//! A request for an archive without a free permit fails at once, and `bucky` tries again. The Go tool does
//! not retry: its single files and lists wait for a permit, within a limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bucky_api::TransferStatus;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::blocking::blocking;
use crate::received::Received;

/// How many single files are in memory at once in each direction. Each is held completely.
const FILES_AT_ONCE: usize = 32;
/// How many lists of metrics are in memory at once. Each may have 160 MiB.
const LISTS_AT_ONCE: usize = 4;
/// How many answers are written piece by piece at once. Each holds a thread until its reader has taken the
/// last piece.
pub(crate) const ANSWERS_AT_ONCE: usize = 64;
/// How many regular expressions and globs are in memory at once. Each may have 16 MiB, and half as much again
/// to match with.
const PATTERNS_AT_ONCE: usize = 8;
/// How long a single file waits for its permit. Together with the time for a lock it is less than the Go
/// client waits for an answer (30 s).
const FILE_WAIT: Duration = Duration::from_secs(20);
/// How long a list waits for its permit. It may also have to wait for a scan, and for an answer of many
/// lines.
const LIST_WAIT: Duration = Duration::from_secs(5);

/// The permits for transfers, and whether new transfers may begin.
pub(crate) struct Transfers {
    sending: Arc<Semaphore>,
    receiving: Arc<Semaphore>,
    files_sent: Arc<Semaphore>,
    files_received: Arc<Semaphore>,
    lists_received: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    patterns: Arc<Semaphore>,
    /// One permit: compiling may briefly take more memory than its result.
    compiling: Arc<Semaphore>,
    limit: u32,
    stopping: watch::Receiver<bool>,
    /// What was received in the last run of a move.
    pub(crate) received: Received,
}

/// The right to take part in one transfer. Dropping it returns it.
pub(crate) type Permit = OwnedSemaphorePermit;

/// Why a request must wait, or is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPermit {
    /// All permits of a direction are in use.
    #[error("{limit} {what} already")]
    InUse {
        /// What runs, such as "archives are being sent".
        what: &'static str,
        /// The number of permits.
        limit: u32,
    },
    /// No permit became free in time.
    #[error("too many {what}: waited {} s for a permit", waited.as_secs())]
    NotInTime {
        /// What runs.
        what: &'static str,
        /// The time after which the request is refused.
        waited: Duration,
    },
    /// The daemon is stopping.
    #[error("this daemon is stopping")]
    Stopping,
    /// The work that had the permit panicked.
    #[error(transparent)]
    Panicked(io::Error),
}

impl Transfers {
    /// `limit` permits in each direction. No permits are given once `stopping` is true.
    pub(crate) fn new(limit: u32, stopping: watch::Receiver<bool>) -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        let archives = usize::try_from(limit).unwrap_or(1);
        Self {
            sending: permits(archives),
            receiving: permits(archives),
            files_sent: permits(FILES_AT_ONCE),
            files_received: permits(FILES_AT_ONCE),
            lists_received: permits(LISTS_AT_ONCE),
            answers: permits(ANSWERS_AT_ONCE),
            patterns: permits(PATTERNS_AT_ONCE),
            compiling: permits(1),
            limit,
            stopping,
            received: Received::default(),
        }
    }

    /// A permit to send an archive.
    ///
    /// # Errors
    /// [`NoPermit::InUse`] or [`NoPermit::Stopping`].
    pub(crate) fn send(&self) -> Result<Permit, NoPermit> {
        self.take(&self.sending, "archives are being sent")
    }

    /// A permit to receive an archive.
    ///
    /// # Errors
    /// [`NoPermit::InUse`] or [`NoPermit::Stopping`].
    pub(crate) fn receive(&self) -> Result<Permit, NoPermit> {
        self.take(&self.receiving, "transfers are being received")
    }

    /// A permit to send a single file.
    ///
    /// # Errors
    /// [`NoPermit::NotInTime`] or [`NoPermit::Stopping`].
    pub(crate) async fn send_file(&self) -> Result<Permit, NoPermit> {
        self.wait(&self.files_sent, FILE_WAIT, "files are being sent").await
    }

    /// A permit to receive or to fetch a single file.
    ///
    /// # Errors
    /// As [`Self::send_file`].
    pub(crate) async fn receive_file(&self) -> Result<Permit, NoPermit> {
        self.wait(&self.files_received, FILE_WAIT, "files are being received").await
    }

    /// A permit to receive a list of metrics.
    ///
    /// # Errors
    /// As [`Self::send_file`].
    pub(crate) async fn receive_list(&self) -> Result<Permit, NoPermit> {
        self.wait(&self.lists_received, LIST_WAIT, "lists are being processed").await
    }

    /// A permit for an answer of many lines, which its reader may take slowly.
    ///
    /// # Errors
    /// As [`Self::send_file`], except that a daemon that is stopping still answers.
    pub(crate) async fn answer(&self) -> Result<Permit, NoPermit> {
        Self::wait_for(&self.answers, LIST_WAIT, "answers are being read").await
    }

    /// A permit for the patterns of a request.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub(crate) async fn pattern(&self) -> Result<Permit, NoPermit> {
        Self::wait_for(&self.patterns, LIST_WAIT, "patterns are being matched").await
    }

    /// Runs `work`, which compiles a pattern, on a thread that may block, one at a time.
    ///
    /// # Errors
    /// As [`Self::answer`]. [`NoPermit::Panicked`] if the work panicked.
    pub(crate) async fn compile<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoPermit> {
        let permit =
            Self::wait_for(&self.compiling, LIST_WAIT, "patterns are being compiled").await?;
        let compiled = blocking(move || {
            let _permit = permit;
            work()
        });
        compiled.await.map_err(NoPermit::Panicked)
    }

    /// How many transfers run.
    pub(crate) fn status(&self) -> TransferStatus {
        let used = |permits: &Semaphore| {
            self.limit.saturating_sub(u32::try_from(permits.available_permits()).unwrap_or(0))
        };
        TransferStatus {
            sending: used(&self.sending),
            receiving: used(&self.receiving),
            limit: self.limit,
        }
    }

    async fn wait(
        &self,
        permits: &Arc<Semaphore>,
        limit: Duration,
        what: &'static str,
    ) -> Result<Permit, NoPermit> {
        self.refuse_if_stopping()?;
        Self::wait_for(permits, limit, what).await
    }

    async fn wait_for(
        permits: &Arc<Semaphore>,
        limit: Duration,
        what: &'static str,
    ) -> Result<Permit, NoPermit> {
        match tokio::time::timeout(limit, Arc::clone(permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphores are never closed.
            Err(_) | Ok(Err(_)) => Err(NoPermit::NotInTime { what, waited: limit }),
        }
    }

    fn refuse_if_stopping(&self) -> Result<(), NoPermit> {
        if !*self.stopping.borrow() {
            return Ok(());
        }
        Err(NoPermit::Stopping)
    }

    fn take(&self, permits: &Arc<Semaphore>, what: &'static str) -> Result<Permit, NoPermit> {
        self.refuse_if_stopping()?;
        Arc::clone(permits)
            .try_acquire_owned()
            .map_err(|_| NoPermit::InUse { what, limit: self.limit })
    }
}
