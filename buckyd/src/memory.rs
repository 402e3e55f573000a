//! The memory that files and requests in flight take together.
//!
//! Before the daemon holds a file, or bytes from outside, it takes a share of their size. The share is
//! returned with the bytes. If no memory is left, the request waits within a limit, and then fails. So
//! neither the number of requests nor an announced length can exceed the limit. Sending and receiving have
//! separate budgets: a node that receives as much as it can still sends, so two nodes that pull from each
//! other do not block each other.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of counting.
const PAGE_BYTES: u64 = 4096;
/// How long to wait for a share. Together with the time for a lock it is less than the Go client waits for an
/// answer (30 s).
const WAIT: Duration = Duration::from_secs(20);
/// How many of three parts of the memory are for receiving. A fill holds the source, the destination, and the
/// new content of the destination.
const RECEIVING_PARTS: u64 = 2;
const PARTS: u64 = 3;
/// How many times its own length a file takes at most while it is received.
const RECEIVED_TIMES: u64 = 4;
/// How many times its own length a file takes at most while it is sent: as it is, and encoded.
const SENT_TIMES: u64 = 2;
/// How much a growing share takes at once.
const STEP_BYTES: u64 = 64 << 10;
/// The part of each budget that the longest file does not use: its line, and what an encoding adds.
const SPARE_BYTES: u64 = 8 << 20;

/// Both budgets.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// For files that are read here and sent.
    pub(crate) sending: Budget,
    /// For what is received, and for the files that it is merged with.
    pub(crate) receiving: Budget,
}

/// One budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pages: Arc<Semaphore>,
    limit_bytes: u64,
}

/// A part of a budget. Dropping it returns the part.
#[derive(Debug, Default)]
pub(crate) struct Share(Option<OwnedSemaphorePermit>);

/// A share that grows piece by piece. All pieces are of one budget.
#[derive(Debug, Default)]
pub(crate) struct GrowingShare {
    share: Share,
    left_bytes: u64,
    /// The least that is taken at once.
    least_bytes: u64,
}

/// There is no memory left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no memory for {wanted_bytes} more bytes: other transfers use the budget of {limit_bytes} bytes (--memory of this \
     buckyd)"
)]
pub(crate) struct NoMemory {
    wanted_bytes: u64,
    limit_bytes: u64,
}

impl Memory {
    /// Budgets of `limit_bytes` in total.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        let receiving = limit_bytes / PARTS * RECEIVING_PARTS;
        Self { sending: Budget::new(limit_bytes - receiving), receiving: Budget::new(receiving) }
    }

    /// The longest file that always fits if nothing else is under way.
    pub(crate) fn file_limit_bytes(&self) -> u64 {
        let of = |budget: &Budget, times| budget.limit_bytes.saturating_sub(SPARE_BYTES) / times;
        of(&self.sending, SENT_TIMES).min(of(&self.receiving, RECEIVED_TIMES))
    }
}

impl Budget {
    fn new(limit_bytes: u64) -> Self {
        let pages = usize::try_from(limit_bytes / PAGE_BYTES).unwrap_or(Semaphore::MAX_PERMITS);
        Self { pages: Arc::new(Semaphore::new(pages.min(Semaphore::MAX_PERMITS))), limit_bytes }
    }

    /// Waits for a share of `bytes` within the limit.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) async fn share(&self, bytes: u64) -> Result<Share, NoMemory> {
        self.share_within(bytes, WAIT).await
    }

    async fn share_within(&self, bytes: u64, wait: Duration) -> Result<Share, NoMemory> {
        let no_memory = NoMemory { wanted_bytes: bytes, limit_bytes: self.limit_bytes };
        let pages = u32::try_from(bytes.div_ceil(PAGE_BYTES)).map_err(|_| no_memory.clone())?;
        if bytes > self.limit_bytes {
            return Err(no_memory);
        }
        let waiting = Arc::clone(&self.pages).acquire_many_owned(pages);
        match tokio::time::timeout(wait, waiting).await {
            Ok(Ok(permit)) => Ok(Share(Some(permit))),
            // The semaphores are never closed.
            Err(_) | Ok(Err(_)) => Err(no_memory),
        }
    }

    /// Waits for a share of `bytes` on a thread that may block.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) fn share_blocking(&self, bytes: u64) -> Result<Share, NoMemory> {
        match Handle::try_current() {
            Ok(handle) => handle.block_on(self.share(bytes)),
            // Without a runtime no other task could return memory.
            Err(_) => self.share_now(bytes),
        }
    }

    /// A share of `bytes` if it is available at once. For tasks that hold a share already, which could block
    /// each other.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) fn share_now(&self, bytes: u64) -> Result<Share, NoMemory> {
        let no_memory = NoMemory { wanted_bytes: bytes, limit_bytes: self.limit_bytes };
        let pages = u32::try_from(bytes.div_ceil(PAGE_BYTES)).map_err(|_| no_memory.clone())?;
        let permit = Arc::clone(&self.pages).try_acquire_many_owned(pages);
        permit.map(|permit| Share(Some(permit))).map_err(|_| no_memory)
    }

    /// How many bytes are not in use.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> u64 {
        self.pages.available_permits() as u64 * PAGE_BYTES
    }
}

impl Share {
    /// Adds another share of the same budget.
    pub(crate) fn add(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(mine), Some(other)) => mine.merge(other),
            (mine @ None, other) => *mine = other,
            (Some(_), None) => {}
        }
    }
}

impl GrowingShare {
    /// A share for many small pieces. It takes more than requested at once, so that a piece does not cost a
    /// page.
    pub(crate) fn by_steps() -> Self {
        Self { least_bytes: STEP_BYTES, ..Self::default() }
    }

    /// Adds `bytes` of `budget`, on a thread that may block.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) fn add_blocking(&mut self, budget: &Budget, bytes: u64) -> Result<(), NoMemory> {
        self.provide_blocking(budget, bytes)?;
        self.left_bytes -= bytes;
        Ok(())
    }

    /// Takes as much of `budget` as the next `bytes` will need, on a thread that may block. Otherwise the
    /// task would wait for the rest while it holds a part.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) fn provide_blocking(&mut self, budget: &Budget, bytes: u64) -> Result<(), NoMemory> {
        if bytes > self.left_bytes {
            let step = (bytes - self.left_bytes).max(self.least_bytes);
            self.share.add(budget.share_blocking(step)?);
            self.left_bytes += step;
        }
        Ok(())
    }

    /// Adds a share of the same budget.
    pub(crate) fn add(&mut self, share: Share) {
        self.share.add(share);
    }

    /// Everything that was taken.
    pub(crate) fn into_share(self) -> Share {
        self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_shares_together_never_exceed_the_budget_and_waiting_ends() {
        let memory = Memory::new(3 << 20);
        let mut held = memory.receiving.share(1 << 20).await.unwrap();
        held.add(memory.receiving.share(1).await.unwrap());
        assert_eq!(memory.receiving.free_bytes(), (1 << 20) - PAGE_BYTES);
        let short = Duration::from_millis(20);
        assert!(memory.receiving.share_within(1 << 20, short).await.is_err());
        assert!(memory.sending.share(1 << 20).await.is_ok(), "what is sent has its own budget");
        let waiting = tokio::spawn(async move { memory.receiving.share(2 << 20).await.is_ok() });
        tokio::task::yield_now().await;
        drop(held);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_share_larger_than_the_budget_is_refused_at_once() {
        let memory = Memory::new(3 << 20);
        assert!(memory.receiving.share((2 << 20) + 1).await.is_err());
        assert!(memory.receiving.share(u64::MAX).await.is_err());
    }

    #[test]
    fn small_pieces_cost_what_they_are_and_not_a_page_each() {
        let memory = Memory::new(3 << 20);
        let mut lines = GrowingShare::by_steps();
        for _ in 0..1000 {
            // Memory that was taken in advance is not taken twice.
            lines.provide_blocking(&memory.receiving, 1000).unwrap();
            lines.add_blocking(&memory.receiving, 1000).unwrap();
        }
        let taken = (2 << 20) - memory.receiving.free_bytes();
        assert!((1_000_000..1_000_000 + STEP_BYTES).contains(&taken), "{taken}");
        assert!(lines.add_blocking(&memory.receiving, 2 << 20).is_err());
        drop(lines.into_share());
        assert_eq!(memory.receiving.free_bytes(), 2 << 20);
    }

    #[test]
    fn a_file_of_the_limit_fits_both_ways() {
        let memory = Memory::new(1600 << 20);
        let file_bytes = memory.file_limit_bytes();
        assert!((256 << 20..270 << 20).contains(&file_bytes), "{file_bytes}");
        assert!(file_bytes * RECEIVED_TIMES < memory.receiving.limit_bytes);
        assert!(file_bytes * SENT_TIMES < memory.sending.limit_bytes);
    }
}
