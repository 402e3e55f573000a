//! The upstream: connects again and again, and loses no line in between.
//!
//! A line counts as sent once the socket has accepted it. It may still be lost with the connection. So the
//! last lines are kept for a while and sent again over the next connection. A line may arrive twice, which
//! changes nothing in Graphite, but never not at all.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{sleep, timeout};

use super::figures::RelayCounts;
use super::queue::{Block, Outlet};
use crate::output::Output;

/// How long to wait after a failed attempt to connect.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection is broken if the other side accepts nothing for this long. A carbon with a full cache pauses.
const DEAD: Duration = Duration::from_secs(60);
/// How long written lines are kept: longer than it takes to notice a broken connection, and longer than they
/// stay in the buffers of a slow upstream.
const KEPT: Duration = Duration::from_secs(300);
/// How many bytes of them are kept at most: more than the buffers of both sides hold, which are 4 and 6 MiB
/// by default.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// How long the upstream may take to close its side at the end.
const CLOSE: Duration = Duration::from_secs(2);

/// The sender to the upstream.
pub(super) struct Upstream {
    addr: String,
    outlet: Outlet,
    counts: Arc<RelayCounts>,
    output: Arc<Output>,
    /// A block that was taken from the queue and not completely written.
    pending: Option<Block>,
    kept: RecentLines,
}

/// The reason why a connection is left.
enum FeedEnd {
    /// Everything is sent, and no more can come.
    Drained,
    Broken(io::Error),
}

impl Upstream {
    /// A sender to the upstream at `HOST:PORT`.
    pub(super) fn new(
        addr: String,
        outlet: Outlet,
        counts: Arc<RelayCounts>,
        output: Arc<Output>,
    ) -> Self {
        Self { addr, outlet, counts, output, pending: None, kept: RecentLines::default() }
    }

    /// Sends until everything is sent and no more can come.
    pub(super) async fn run(mut self) {
        let mut is_reported = false;
        loop {
            let left = match connect(&self.addr).await {
                Ok(stream) => {
                    if is_reported {
                        self.output.say(format_args!("{}: connected again", self.addr));
                    }
                    is_reported = false;
                    let left = self.feed(stream).await;
                    // From here on kept lines do not age: they are sent again, however long the upstream is
                    // down.
                    self.kept.forget_old();
                    left
                }
                // Without lines to send, the upstream is not needed any more.
                Err(_) if self.is_drained() => FeedEnd::Drained,
                Err(error) => FeedEnd::Broken(error),
            };
            match left {
                FeedEnd::Drained => return,
                FeedEnd::Broken(error) => {
                    if !std::mem::replace(&mut is_reported, true) {
                        self.output.say(format_args!(
                            "{}: {error}; trying again every {} s",
                            self.addr,
                            PAUSE.as_secs()
                        ));
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn is_drained(&mut self) -> bool {
        self.pending.is_none() && self.kept.blocks.is_empty() && self.outlet.is_ended()
    }

    /// Sends over one connection.
    async fn feed(&mut self, stream: TcpStream) -> FeedEnd {
        let (mut reader, mut writer) = stream.into_split();
        let sent = tokio::select! {
            sent = self.write_all(&mut writer) => sent,
            error = gone(&mut reader) => Err(error),
        };
        match sent {
            Ok(()) => {
                close(reader, writer).await;
                FeedEnd::Drained
            }
            Err(error) => FeedEnd::Broken(error),
        }
    }

    /// Writes the lines that may have been lost, and then new ones. It may be dropped at any moment without
    /// losing a line.
    async fn write_all(&mut self, writer: &mut OwnedWriteHalf) -> io::Result<()> {
        for lines in self.kept.again() {
            writer.write_all(lines).await?;
        }
        loop {
            if self.pending.is_none() {
                self.pending = self.outlet.next().await;
            }
            let Some(block) = &self.pending else { return Ok(()) };
            writer.write_all(&block.lines).await?;
            self.outlet.release(block);
            self.counts.sent(block.metrics);
            if let Some(block) = self.pending.take() {
                self.kept.push(block.lines);
            }
        }
    }
}

async fn connect(addr: &str) -> io::Result<TcpStream> {
    let connected = timeout(CONNECT, TcpStream::connect(addr)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    // On the same host, a connection to a port without a listener may get that port as its own, and so
    // connect to itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    let dead = u32::try_from(DEAD.as_millis()).unwrap_or(u32::MAX);
    set_tcp_user_timeout(&stream, dead)?;
    Ok(stream)
}

/// Waits until the other side closes or breaks the connection. What it sends is ignored.
async fn gone(reader: &mut OwnedReadHalf) -> io::Error {
    let mut said = [0; 256];
    loop {
        match reader.read(&mut said).await {
            Ok(0) => return io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the upstream"),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// Closes this side, and waits a moment for the other side to close too.
async fn close(mut reader: OwnedReadHalf, mut writer: OwnedWriteHalf) {
    if writer.shutdown().await.is_ok() {
        let _ = timeout(CLOSE, gone(&mut reader)).await;
    }
}

/// The lines that were written last.
#[derive(Debug, Default)]
struct RecentLines {
    blocks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl RecentLines {
    fn push(&mut self, lines: Vec<u8>) {
        self.bytes += lines.len();
        self.blocks.push_back((Instant::now(), lines));
        self.forget_old();
    }

    /// Drops lines that have arrived by now: otherwise the connection would have been noticed to be broken.
    fn forget_old(&mut self) {
        while let Some((written, lines)) = self.blocks.front() {
            let is_alone = self.blocks.len() == 1;
            if written.elapsed() <= KEPT && (self.bytes <= KEPT_BYTES || is_alone) {
                break;
            }
            self.bytes -= lines.len();
            self.blocks.pop_front();
        }
    }

    /// All kept lines, to be written again as if for the first time.
    fn again(&mut self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter_mut().map(|(written, lines)| {
            *written = Instant::now();
            lines.as_slice()
        })
    }
}
