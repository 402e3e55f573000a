//! One connection. A frame is a big-endian length of four bytes, and a pickle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::datapoint::append_line;
use super::figures::RelayCounts;
use super::pickle::Pickle;
use super::queue::{Block, Intake};
use crate::output::Output;
use crate::run::stop::Stop;

/// How many dropped entries of a pickle are reported one by one.
const DROPPED_NAMED: u64 = 5;
/// How many more pickles of a sender are accepted once the relay stops: those that have arrived already.
const LATE_MOST: u32 = 100;
/// How much memory is allocated at once for an incoming frame: the announced length costs nothing.
const READ_BYTES: usize = 64 * 1024;

/// How many bytes of pickles are decoded at once. A decoded pickle may take sixty times its length, and is
/// held while it waits for room in the queue.
pub(super) const WORK_BYTES: u32 = 4 * 1024 * 1024;
/// After this many datapoints, other connections get their turn. A short pickle may refer to one long name a
/// million times.
const TURN: usize = 256;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) intake: Intake,
    pub(super) counts: Arc<RelayCounts>,
    pub(super) output: Arc<Output>,
    pub(super) stop: Stop,
    /// A permit for each byte of the pickles that are being decoded.
    pub(super) work: Arc<Semaphore>,
    pub(super) idle: Duration,
    pub(super) frame_bytes: u32,
    pub(super) verbose: bool,
}

/// The reason why a connection ends.
enum ConnectionEnd {
    /// The sender closed it between two frames, or the relay stops.
    InOrder,
    /// It failed, for this reason.
    Because(String),
}

impl Receiver {
    /// Receives pickles until the connection ends.
    pub(super) async fn serve(self, mut stream: impl AsyncRead + Unpin, peer: SocketAddr) {
        if self.verbose {
            self.output.say(format_args!("{peer}: connected"));
        }
        let mut late = 0;
        let end = loop {
            late += u32::from(self.stop.is_asked());
            if late > LATE_MOST {
                break ConnectionEnd::InOrder;
            }
            match self.frame(&mut stream).await {
                Ok(frame) => self.take(&frame, peer).await,
                Err(end) => break end,
            }
        };
        match end {
            ConnectionEnd::Because(reason) => {
                self.output.say(format_args!("{peer}: closed: {reason}"))
            }
            ConnectionEnd::InOrder if self.verbose => {
                self.output.say(format_args!("{peer}: disconnected"))
            }
            ConnectionEnd::InOrder => {}
        }
    }

    /// The next pickle. A frame that has begun is read to its end, even if the relay stops.
    async fn frame(&self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ConnectionEnd> {
        let mut head = Vec::with_capacity(4);
        while head.len() < 4 {
            let is_between = head.is_empty();
            let read = tokio::select! {
                // A frame that has arrived is accepted, even if the relay stops: its sender believes that it
                // was delivered.
                biased;
                read = self.read(stream, &mut head, 4) => read?,
                () = self.stop.asked(), if is_between => return Err(ConnectionEnd::InOrder),
            };
            if read == 0 {
                return Err(if is_between {
                    ConnectionEnd::InOrder
                } else {
                    cut_off(head.len(), 4)
                });
            }
        }
        let len = head.iter().fold(0_u32, |len, byte| (len << 8) | u32::from(*byte));
        if len > self.frame_bytes {
            let most = self.frame_bytes;
            return Err(ConnectionEnd::Because(format!(
                "a pickle of {len} bytes; -x allows {most}"
            )));
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut frame = Vec::new();
        while frame.len() < len {
            if self.read(stream, &mut frame, len).await? == 0 {
                return Err(cut_off(frame.len(), len));
            }
        }
        Ok(frame)
    }

    /// Reads what has arrived, until `bytes` has `len` bytes at most; returns 0 at the end of the stream.
    async fn read(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        bytes: &mut Vec<u8>,
        len: usize,
    ) -> Result<usize, ConnectionEnd> {
        let missing = len.saturating_sub(bytes.len()).min(READ_BYTES);
        bytes.reserve(missing);
        let mut limited = stream.take(missing as u64);
        match timeout(self.idle, limited.read_buf(bytes)).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) => Err(ConnectionEnd::Because(error.to_string())),
            Err(_) => Err(ConnectionEnd::Because(format!(
                "nothing received for {} s (-t)",
                self.idle.as_secs()
            ))),
        }
    }

    /// Queues the datapoints of a pickle. Waits if the queue is full.
    async fn take(&self, frame: &[u8], peer: SocketAddr) {
        self.counts.pickle();
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX).min(WORK_BYTES);
        // The semaphore is never closed.
        let Ok(_working) = self.work.acquire_many(bytes).await else { return };
        let pickle = match Pickle::read(frame) {
            Ok(pickle) => pickle,
            Err(error) => return self.output.say(format_args!("{peer}: bad pickle: {error}")),
        };
        let datapoints = match pickle.datapoints() {
            Ok(datapoints) => datapoints,
            Err(error) => return self.output.say(format_args!("{peer}: bad pickle: {error}")),
        };
        let (mut block, mut dropped) = (Block::default(), 0);
        for (number, datapoint) in datapoints.enumerate() {
            if number % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            let appended = datapoint.and_then(|point| append_line(&point, &mut block.lines));
            match appended {
                Ok(()) => block.metrics += 1,
                Err(reason) => {
                    dropped += 1;
                    if dropped <= DROPPED_NAMED {
                        self.output.say(format_args!("{peer}: dropped: {}", reason.shown()));
                    }
                }
            }
            if self.intake.is_full(&block) {
                self.push(std::mem::take(&mut block)).await;
            }
        }
        if block.metrics > 0 {
            self.push(block).await;
        }
        if dropped > DROPPED_NAMED {
            let more = dropped - DROPPED_NAMED;
            self.output.say(format_args!("{peer}: dropped: {more} more of the same pickle"));
        }
    }

    async fn push(&self, block: Block) {
        self.counts.seen(u64::from(block.metrics));
        self.intake.push(block).await;
    }
}

fn cut_off(came: usize, len: usize) -> ConnectionEnd {
    ConnectionEnd::Because(format!("cut off after {came} of {len} bytes"))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::pickle_relay::queue::queue;

    /// An invalid name of 4 kB, fifty thousand times: checking it takes long.
    #[tokio::test]
    async fn others_have_their_turn_while_a_pickle_is_long_work() {
        let mut pickle = b"](X\x00\x10\x00\x00".to_vec();
        pickle.extend(b"a b");
        pickle.extend([b'x'; 4093]);
        pickle.extend(b"q\x000K\x01K\x02\x86q\x010");
        (0..50_000).for_each(|_| pickle.extend(b"h\x00h\x01\x86"));
        pickle.extend(b"e.");
        let mut frame = u32::try_from(pickle.len()).unwrap().to_be_bytes().to_vec();
        frame.append(&mut pickle);

        let (output, _, messages) = Output::captured();
        let (intake, _outlet) = queue(10);
        let (_stop, stop) = Stop::without_signals();
        let receiver = Receiver {
            intake,
            counts: Arc::new(RelayCounts::default()),
            output: Arc::new(output),
            stop,
            work: Arc::new(Semaphore::new(usize::try_from(WORK_BYTES).unwrap())),
            idle: Duration::from_secs(60),
            frame_bytes: 1 << 20,
            verbose: false,
        };
        let (mut sender, stream) = tokio::io::duplex(1 << 20);
        sender.write_all(&frame).await.unwrap();
        drop(sender);
        let serving = tokio::spawn(receiver.serve(stream, ([127, 0, 0, 1], 1).into()));
        let mut turns = 0;
        while !serving.is_finished() {
            turns += 1;
            tokio::task::yield_now().await;
        }
        assert!(messages.text().contains("49995 more of the same pickle"), "{}", messages.text());
        assert!(turns > 100, "{turns}");
    }
}
