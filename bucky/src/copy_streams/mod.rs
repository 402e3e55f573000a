//! The copies of many metrics, streamed by their nodes and read side by side.
//!
//! Each node sends its copies of a batch as one archive stream, in the order of the names. A Go daemon is
//! asked metric by metric. The streams are read in step, so that all copies of one metric are available at
//! the same time. So only a few metrics are held, however many a batch has. A file that is too long for
//! memory is left out there. It is sent if the metric is asked for alone ([`CopyNodes::of_any_length`]), and
//! goes into a temporary file (`received`).

mod received;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bucky_api::archive::{FileMeta, ReadArchiveError};
use bucky_api::{ClientError, Daemon, DaemonAddr, Encoding, LeftOut, Problem, chain};
use bucky_whisper::MetricName;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use self::received::read_stream;
use crate::cluster::{DaemonKind, Member};
use crate::output::Output;
use crate::patience::{self, NextStep, Patience, Trouble};
use crate::spool::Content;

/// The most streams that are read at once, in all batches together. Each has one of the runtime's 512
/// threads.
const STREAMS: u32 = 400;
/// The most archives that a Go daemon is asked for at once: it has no limit of its own.
const GO_ARCHIVES: u32 = 8;

/// The reasons why a node did not send some metrics.
pub(crate) type LeftOuts = HashMap<MetricName, (Problem, String)>;

/// The reason why copies could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A node's answer is not usable.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A node's archive is not valid, or broke off.
    #[error("cannot read the copies of {addr}")]
    Archive { addr: DaemonAddr, source: ReadArchiveError },
    /// The content that arrived is not what the node read.
    #[error("{metric} from {addr} arrived damaged: its digest does not match")]
    Damaged { addr: DaemonAddr, metric: MetricName },
    /// A node sends a metric that it was not asked for.
    #[error("{addr} sent {metric} out of order or unasked")]
    Disordered { addr: DaemonAddr, metric: MetricName },
    /// A node's answer ended too early.
    #[error("the answer of {addr} does not mention {metric}, which was requested")]
    Unanswered { addr: DaemonAddr, metric: MetricName },
    /// A copy is too long for memory and cannot be stored elsewhere.
    #[error("{metric} of {addr} cannot be kept while it is worked on")]
    Spool { addr: DaemonAddr, metric: MetricName, source: std::io::Error },
    /// The reading ended early, which is a bug in this program.
    #[error("the stream of {addr} ended without its report")]
    Ended { addr: DaemonAddr },
}

impl ReadError {
    /// What kind of trouble it is.
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::Client(error) => Trouble::of(error),
            Self::Archive { .. }
            | Self::Damaged { .. }
            | Self::Unanswered { .. }
            | Self::Ended { .. } => Trouble::Passing,
            Self::Disordered { .. } | Self::Spool { .. } => Trouble::Lasting,
        }
    }
}

/// The nodes of a cluster, to read copies from.
pub(crate) struct CopyNodes {
    nodes: Vec<CopyNode>,
    encoding: Encoding,
    streams: Semaphore,
    output: Arc<Output>,
}

struct CopyNode {
    daemon: Daemon,
    has_archives: bool,
    /// Permits for half of what the node allows, so that moves get through too.
    archives: Semaphore,
}

/// A copy as its node sent it.
pub(crate) struct NodeCopy {
    /// Its mode and modification time there.
    pub(crate) meta: FileMeta,
    /// The whole file.
    pub(crate) content: Content,
}

/// The longest file that is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    /// The longest that is held in memory.
    Held,
    /// Of any length.
    Any,
}

/// A message from the reader of a stream.
enum StreamPiece {
    /// A copy.
    Copy { metric: MetricName, copy: NodeCopy },
    /// The end, and what the node did not send.
    End(Vec<LeftOut>),
}

impl CopyNodes {
    /// Reads from these members. All nodes that are read from must have answered.
    pub(crate) fn new(members: &[Member], encoding: Encoding, output: Arc<Output>) -> Self {
        let node = |member: &Member| {
            let limit = member.status().map_or(GO_ARCHIVES, |status| status.transfers.limit / 2);
            CopyNode {
                daemon: member.daemon.clone(),
                has_archives: member.can(DaemonKind::exchanges_archives),
                archives: Semaphore::new(usize::try_from(limit).unwrap_or(1).max(1)),
            }
        };
        let nodes = members.iter().map(node).collect();
        Self { nodes, encoding, streams: Semaphore::new(STREAMS as usize), output }
    }

    /// Runs `attempt`, again if that may help.
    ///
    /// # Errors
    /// [`ReadError`] of the last attempt.
    pub(crate) async fn patiently<T, F>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let away_limits = self.nodes.iter().map(|node| node.daemon.timeouts().away);
        let mut patience = Patience::with_all(away_limits.max().unwrap_or_default());
        let mut is_reported = false;
        loop {
            let error = match attempt().await {
                Ok(read) => return Ok(read),
                Err(error) => error,
            };
            let trouble = error.trouble();
            let NextStep::Wait(wait) = patience.after(trouble, patience::jitter()) else {
                return Err(error);
            };
            if trouble == Trouble::Away && !std::mem::replace(&mut is_reported, true) {
                self.output.say(format_args!("bucky: {}; waiting for it", chain(&error)));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks each node for its copies of `wanted`: metrics in the order of their names, each with the nodes to
    /// ask.
    ///
    /// # Errors
    /// [`ReadError`] of the first node that cannot be asked.
    pub(crate) async fn open<'w>(
        &self,
        wanted: impl Iterator<Item = (&'w MetricName, &'w [usize])>,
    ) -> Result<SideBySide<'_>, ReadError> {
        self.open_by(wanted, Length::Held).await
    }

    /// Asks each of these nodes for its copy of one metric, of any length.
    ///
    /// # Errors
    /// The errors of [`Self::open`].
    pub(crate) async fn of_any_length(
        &self,
        metric: &MetricName,
        nodes: &[usize],
    ) -> Result<SideBySide<'_>, ReadError> {
        self.open_by(std::iter::once((metric, nodes)), Length::Any).await
    }

    async fn open_by<'w>(
        &self,
        wanted: impl Iterator<Item = (&'w MetricName, &'w [usize])>,
        length: Length,
    ) -> Result<SideBySide<'_>, ReadError> {
        let mut of_node: BTreeMap<usize, Vec<MetricName>> = BTreeMap::new();
        for (metric, nodes) in wanted {
            for node in nodes {
                of_node.entry(*node).or_default().push(metric.clone());
            }
        }
        let count = u32::try_from(of_node.len()).unwrap_or(STREAMS).min(STREAMS);
        // The semaphores are never closed. All tasks acquire permits in the order of the nodes, so there is
        // no deadlock.
        let mut permits = Vec::with_capacity(of_node.len() + 1);
        permits.extend(self.streams.acquire_many(count).await.ok());
        let mut streams = BTreeMap::new();
        for (number, metrics) in of_node {
            let Some(node) = self.nodes.get(number) else { continue };
            permits.extend(node.archives.acquire().await.ok());
            streams.insert(number, Incoming::begin(node, metrics, self.encoding, length).await?);
        }
        Ok(SideBySide { streams, _permits: permits })
    }
}

/// The streams of a batch, one for each node. When it is dropped, the nodes stop sending.
pub(crate) struct SideBySide<'n> {
    streams: BTreeMap<usize, Incoming>,
    _permits: Vec<SemaphorePermit<'n>>,
}

impl SideBySide<'_> {
    /// The copies of the next metric, by node, in the order of its nodes; `None` if the node does not send
    /// it.
    ///
    /// # Errors
    /// [`ReadError`] if a stream breaks off.
    pub(crate) async fn next(
        &mut self,
        metric: &MetricName,
        nodes: &[usize],
    ) -> Result<Vec<(usize, Option<NodeCopy>)>, ReadError> {
        let mut copies = Vec::with_capacity(nodes.len());
        for node in nodes {
            let Some(stream) = self.streams.get_mut(node) else { continue };
            copies.push((*node, stream.take(metric).await?));
        }
        Ok(copies)
    }

    /// Reads the ends of the streams: what each node did not send, and why.
    ///
    /// # Errors
    /// [`ReadError`] if a stream has no end, or has more than was asked for.
    pub(crate) async fn finish(self) -> Result<BTreeMap<usize, LeftOuts>, ReadError> {
        let mut left_out = BTreeMap::new();
        for (node, stream) in self.streams {
            left_out.insert(node, stream.finish().await?);
        }
        Ok(left_out)
    }
}

/// The stream of one node in one batch.
struct Incoming {
    addr: DaemonAddr,
    pieces: mpsc::Receiver<Result<StreamPiece, ReadError>>,
    ahead: Option<StreamPiece>,
}

impl Incoming {
    /// Asks `node` for `metrics`.
    async fn begin(
        node: &CopyNode,
        metrics: Vec<MetricName>,
        encoding: Encoding,
        length: Length,
    ) -> Result<Self, ReadError> {
        let (sender, pieces) = mpsc::channel(1);
        let addr = node.daemon.addr().clone();
        if node.has_archives {
            let (encoding, stream) = match length {
                Length::Held => node.daemon.archive(metrics, encoding).await?,
                Length::Any => node.daemon.archive_of_any_length(metrics, encoding).await?,
            };
            let addr = addr.clone();
            tokio::task::spawn_blocking(move || {
                let end = read_stream(&addr, (encoding, length), stream, &sender);
                // If the receiver is gone, nothing needs the end.
                let _ = sender.blocking_send(end);
            });
        } else {
            let daemon = node.daemon.clone();
            tokio::spawn(async move {
                let end = read_one_by_one(&daemon, metrics, &sender).await;
                let _ = sender.send(end).await;
            });
        }
        Ok(Self { addr, pieces, ahead: None })
    }

    async fn next(&mut self) -> Result<StreamPiece, ReadError> {
        if let Some(piece) = self.ahead.take() {
            return Ok(piece);
        }
        let piece = self.pieces.recv().await;
        piece.unwrap_or_else(|| Err(ReadError::Ended { addr: self.addr.clone() }))
    }

    /// The copy of `metric`, or `None` if another one is next. Call it in the order in which the metrics were
    /// asked for.
    async fn take(&mut self, metric: &MetricName) -> Result<Option<NodeCopy>, ReadError> {
        match self.next().await? {
            StreamPiece::Copy { metric: sent, copy } if sent == *metric => Ok(Some(copy)),
            piece => {
                self.ahead = Some(piece);
                Ok(None)
            }
        }
    }

    /// Reads the end: what the node did not send, and why.
    async fn finish(mut self) -> Result<LeftOuts, ReadError> {
        match self.next().await? {
            StreamPiece::End(left_out) => {
                let why = |one: LeftOut| (one.metric, (one.problem, one.reason));
                Ok(left_out.into_iter().map(why).collect())
            }
            StreamPiece::Copy { metric, .. } => {
                Err(ReadError::Disordered { addr: self.addr, metric })
            }
        }
    }
}

/// Sends what a Go daemon has of these metrics; returns the end.
async fn read_one_by_one(
    daemon: &Daemon,
    metrics: Vec<MetricName>,
    sender: &mpsc::Sender<Result<StreamPiece, ReadError>>,
) -> Result<StreamPiece, ReadError> {
    let mut left_out = Vec::new();
    for metric in metrics {
        let (problem, reason) = match daemon.go_get(metric.as_str()).await {
            Ok(Some(file)) => {
                let content = Content::Held(file.content.into());
                let copy = NodeCopy { meta: file.stat.file_meta(), content };
                let piece = StreamPiece::Copy { metric, copy };
                if sender.send(Ok(piece)).await.is_err() {
                    break;
                }
                continue;
            }
            Ok(None) => (Problem::SourceMissing, "it does not have this metric".to_owned()),
            Err(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => {
                return Err(error.into());
            }
            Err(error) => (Problem::SourceUnreadable, chain(&error)),
        };
        left_out.push(LeftOut { metric, problem, reason });
    }
    Ok(StreamPiece::End(left_out))
}
