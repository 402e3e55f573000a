//! The one upstream: connected again and again, and no line lost between.
//!
//! A line counts as sent once the socket has taken it. What the socket took may still be lost with the
//! connection, so the last lines are kept for a while and sent again over the next one: a line may come
//! twice, which changes nothing in Graphite, and never not at all.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{sleep, timeout};

use super::figures::Counts;
use super::queue::{Block, Outlet};
use crate::output::Output;

/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// After so long in which the other side took nothing a connection is broken. A carbon whose cache is full
/// pauses.
const DEAD: Duration = Duration::from_secs(60);
/// How long lines that were written are kept: longer than it takes to see that a connection is broken, and
/// than they lie in the buffers of an upstream that is slow.
const KEPT: Duration = Duration::from_secs(300);
/// How many bytes of them at most: more than the buffers of both sides hold, 4 and 6 MiB where nobody has set
/// them.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// How long the upstream may take to close its side at the end.
const CLOSE: Duration = Duration::from_secs(2);

/// What goes to the upstream.
pub(super) struct Upstream {
    addr: String,
    outlet: Outlet,
    counts: Arc<Counts>,
    output: Arc<Output>,
    /// Taken from the queue, and not written to its end.
    pending: Option<Block>,
    kept: Kept,
}

/// Why a connection is left.
enum Left {
    /// All is sent, and no more comes.
    Drained,
    Broken(io::Error),
}

impl Upstream {
    /// For the upstream at `HOST:PORT`.
    pub(super) fn new(
        addr: String,
        outlet: Outlet,
        counts: Arc<Counts>,
        output: Arc<Output>,
    ) -> Self {
        Self { addr, outlet, counts, output, pending: None, kept: Kept::default() }
    }

    /// Sends until no more comes and all is sent.
    pub(super) async fn run(mut self) {
        let mut is_told = false;
        loop {
            let left = match connect(&self.addr).await {
                Ok(stream) => {
                    if is_told {
                        self.output.say(format_args!("{}: connected again", self.addr));
                    }
                    is_told = false;
                    let left = self.feed(stream).await;
                    // From now on nothing gets older: it is sent again, however long the upstream is away.
                    self.kept.forget_old();
                    left
                }
                // Without work nobody needs the upstream any more.
                Err(_) if self.is_drained() => Left::Drained,
                Err(error) => Left::Broken(error),
            };
            match left {
                Left::Drained => return,
                Left::Broken(error) => {
                    if !std::mem::replace(&mut is_told, true) {
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
    async fn feed(&mut self, stream: TcpStream) -> Left {
        let (mut reader, mut writer) = stream.into_split();
        let sent = tokio::select! {
            sent = self.write_all(&mut writer) => sent,
            error = gone(&mut reader) => Err(error),
        };
        match sent {
            Ok(()) => {
                close(reader, writer).await;
                Left::Drained
            }
            Err(error) => Left::Broken(error),
        }
    }

    /// Writes what may have been lost, and then what comes. Dropped at any moment, it has lost nothing.
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
    // On one host a connection to a port on which nobody listens may get that very port for its own, and so
    // itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    let dead = u32::try_from(DEAD.as_millis()).unwrap_or(u32::MAX);
    set_tcp_user_timeout(&stream, dead)?;
    Ok(stream)
}

/// Waits until the other side closes or breaks the connection. What it says before is nobody's business.
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

/// Says that no more comes, and waits a moment for the other side's word that it has all.
async fn close(mut reader: OwnedReadHalf, mut writer: OwnedWriteHalf) {
    if writer.shutdown().await.is_ok() {
        let _ = timeout(CLOSE, gone(&mut reader)).await;
    }
}

/// The lines that were written last.
#[derive(Debug, Default)]
struct Kept {
    blocks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Kept {
    fn push(&mut self, lines: Vec<u8>) {
        self.bytes += lines.len();
        self.blocks.push_back((Instant::now(), lines));
        self.forget_old();
    }

    /// Forgets what has arrived, or the connection would have been seen to be broken.
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

    /// All of it, to be written once more, as if for the first time.
    fn again(&mut self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter_mut().map(|(written, lines)| {
            *written = Instant::now();
            lines.as_slice()
        })
    }
}
