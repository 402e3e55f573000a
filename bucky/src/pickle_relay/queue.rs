//! Lines that wait to be sent, limited by metrics and by bytes. If the queue is full, the sender waits;
//! nothing is dropped.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

/// The most bytes that wait.
const BYTES_MOST: usize = 64 * 1024 * 1024;
/// A block of at least this length is complete; one more line may be in it.
const BLOCK_BYTES: usize = 64 * 1024;
/// The most lines of a block.
const BLOCK_METRICS: u32 = 1000;

/// Whole lines that are sent together.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The lines.
    pub(super) lines: Vec<u8>,
    /// How many lines.
    pub(super) metrics: u32,
}

/// The end of the queue where blocks go in.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    blocks: mpsc::UnboundedSender<Block>,
    room: Arc<Room>,
}

/// The end of the queue where blocks come out.
#[derive(Debug)]
pub(super) struct Outlet {
    blocks: mpsc::UnboundedReceiver<Block>,
    room: Arc<Room>,
}

/// Shows how full the queue is.
#[derive(Clone, Debug)]
pub(super) struct Gauge(Arc<Room>);

#[derive(Debug)]
struct Room {
    limit: u32,
    metrics: Semaphore,
    bytes: Semaphore,
}

/// A queue for this many metrics.
pub(super) fn queue(limit: u32) -> (Intake, Outlet) {
    let room = Arc::new(Room {
        limit,
        metrics: Semaphore::new(usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS)),
        bytes: Semaphore::new(BYTES_MOST),
    });
    let (sender, receiver) = mpsc::unbounded_channel();
    (Intake { blocks: sender, room: Arc::clone(&room) }, Outlet { blocks: receiver, room })
}

impl Intake {
    /// Whether a block has reached the largest size.
    pub(super) fn is_full(&self, block: &Block) -> bool {
        block.lines.len() >= BLOCK_BYTES || block.metrics >= BLOCK_METRICS.min(self.room.limit)
    }

    /// Adds a block as soon as there is room for it.
    pub(super) async fn push(&self, block: Block) {
        let bytes = u32::try_from(block.lines.len()).unwrap_or(u32::MAX);
        // The semaphore is never closed. The send below fails only if the outlet is gone, and then nothing is
        // lost that matters.
        let Ok(metrics) = self.room.metrics.acquire_many(block.metrics).await else { return };
        let Ok(bytes) = self.room.bytes.acquire_many(bytes).await else { return };
        metrics.forget();
        bytes.forget();
        let _ = self.blocks.send(block);
    }

    /// Adds a block if there is room for it now.
    pub(super) fn try_push(&self, block: Block) -> bool {
        let bytes = u32::try_from(block.lines.len()).unwrap_or(u32::MAX);
        let (Ok(metrics), Ok(bytes)) = (
            self.room.metrics.try_acquire_many(block.metrics),
            self.room.bytes.try_acquire_many(bytes),
        ) else {
            return false;
        };
        metrics.forget();
        bytes.forget();
        self.blocks.send(block).is_ok()
    }

    /// A gauge that does not keep the queue from ending.
    pub(super) fn gauge(&self) -> Gauge {
        Gauge(Arc::clone(&self.room))
    }
}

impl Gauge {
    /// How many metrics wait.
    pub(super) fn metrics(&self) -> u64 {
        let free = self.0.metrics.available_permits() as u64;
        u64::from(self.0.limit).saturating_sub(free)
    }
}

impl Outlet {
    /// The next block, or `None` if no more can come. It takes up room until it is released.
    pub(super) async fn next(&mut self) -> Option<Block> {
        self.blocks.recv().await
    }

    /// Whether no block waits, and none can come.
    pub(super) fn is_ended(&self) -> bool {
        self.blocks.is_closed() && self.blocks.is_empty()
    }

    /// Frees the room of a block that was sent.
    pub(super) fn release(&self, block: &Block) {
        self.room.metrics.add_permits(usize::try_from(block.metrics).unwrap_or(0));
        self.room.bytes.add_permits(block.lines.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn block(metrics: u32) -> Block {
        Block { lines: b"a 1 2\n".to_vec(), metrics }
    }

    #[tokio::test]
    async fn a_block_that_does_not_fit_waits() {
        let (intake, mut outlet) = queue(3);
        assert!(intake.is_full(&block(3)) && !intake.is_full(&block(2)));
        intake.push(block(2)).await;
        assert!(!intake.try_push(block(2)), "own figures do not wait");
        let waiting = tokio::spawn({
            let intake = intake.clone();
            async move { intake.push(block(3)).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        let first = outlet.next().await.unwrap();
        assert_eq!(intake.gauge().metrics(), 3, "what is being sent, and what waits for room");
        outlet.release(&first);
        waiting.await.unwrap();
        assert_eq!(outlet.next().await.unwrap().metrics, 3);
        drop(intake);
        assert!(outlet.next().await.is_none());
    }
}
