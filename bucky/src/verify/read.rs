//! Reading the copies of many metrics from their nodes, side by side.
//!
//! Each node sends its copies of a batch as one archive stream, in the order of the names; a daemon of the Go tool is
//! asked metric by metric. The streams are read in step, so that of a metric all copies are at hand at one time and no
//! more than a few metrics are held, however many a batch has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bucky_api::archive::{Limits, ReadArchiveError, read_archive};
use bucky_api::client::ByteStream;
use bucky_api::{ClientError, Daemon, DaemonAddr, Encoding, LeftOut, Problem, chain};
use bucky_whisper::MetricName;
use futures_util::TryStreamExt;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::copies::{Clock, Copy, Examined, State, examine};
use crate::cluster::{Answer, Member};
use crate::holders::Place;
use crate::output::Output;
use crate::patience::{self, Next, Patience, Trouble};

/// Streams read at once, in all batches together: each has a thread of the runtime's, of which there are 512.
const STREAMS: u32 = 400;
/// Archives asked of a Go daemon at once: it has no limit of its own.
const GO_ARCHIVES: u32 = 8;

/// A metric to be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The metric.
    pub(crate) metric: MetricName,
    /// Where it belongs.
    pub(crate) place: Place,
    /// The nodes that are asked for it: those that listed it, and its owners. Sorted.
    pub(crate) nodes: Vec<usize>,
}

/// Why copies could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A node does not answer as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A node's archive is none, or broke off.
    #[error("the copies of {addr} cannot be read")]
    Archive { addr: DaemonAddr, source: ReadArchiveError },
    /// A copy is not what its node read.
    #[error("{metric} of {addr} arrived damaged: its digest is another")]
    Damaged { addr: DaemonAddr, metric: MetricName },
    /// A node sends what it was not asked for.
    #[error("{addr} sends {metric}, which it was not asked for there")]
    Disordered { addr: DaemonAddr, metric: MetricName },
    /// The reading ended early, which is a defect of this program.
    #[error("the copies of {addr} ended without their report")]
    Ended { addr: DaemonAddr },
}

impl ReadError {
    fn trouble(&self) -> Trouble {
        match self {
            Self::Client(error) => Trouble::of(error),
            Self::Archive { .. } | Self::Damaged { .. } | Self::Ended { .. } => Trouble::Passing,
            Self::Disordered { .. } => Trouble::Lasting,
        }
    }
}

/// Reads copies from the nodes of a cluster.
pub(crate) struct Reader {
    nodes: Vec<Node>,
    encoding: Encoding,
    streams: Semaphore,
    output: Arc<Output>,
}

struct Node {
    daemon: Daemon,
    is_v1: bool,
    /// Half of what it allows, so that moves get through too.
    archives: Semaphore,
}

/// What comes from a node.
enum Piece {
    /// A copy.
    Copy { metric: MetricName, content: Vec<u8> },
    /// The end: what the node has not sent.
    End(Vec<LeftOut>),
}

impl Reader {
    /// A reader of what these members have; `members` answered.
    pub(crate) fn new(members: &[Member], encoding: Encoding, output: Arc<Output>) -> Self {
        let node = |member: &Member| {
            let limit = match &member.answer {
                Answer::V1 { status, .. } => status.transfers.limit / 2,
                Answer::Go { .. } | Answer::Away { .. } => GO_ARCHIVES,
            };
            Node {
                daemon: member.daemon.clone(),
                is_v1: matches!(member.answer, Answer::V1 { .. }),
                archives: Semaphore::new(usize::try_from(limit).unwrap_or(1).max(1)),
            }
        };
        let nodes = members.iter().map(node).collect();
        Self { nodes, encoding, streams: Semaphore::new(STREAMS as usize), output }
    }

    /// What the copies of `subjects` are, in their order, which is that of the names. Tried again where that may help.
    ///
    /// # Errors
    /// [`ReadError`] of the node that could not be read in the end.
    pub(crate) async fn examine(
        &self,
        subjects: &[Subject],
        clock: Clock,
    ) -> Result<Vec<Examined>, ReadError> {
        let away_limits = self.nodes.iter().map(|node| node.daemon.timeouts().away);
        let mut patience = Patience::with_all(away_limits.max().unwrap_or_default());
        let mut told = false;
        loop {
            let error = match self.examine_once(subjects, clock).await {
                Ok(examined) => return Ok(examined),
                Err(error) => error,
            };
            let trouble = error.trouble();
            let Next::Wait(wait) = patience.after(trouble, patience::jitter()) else {
                return Err(error);
            };
            if trouble == Trouble::Away && !std::mem::replace(&mut told, true) {
                self.output.say(format_args!("bucky: {}; waiting for it", chain(&error)));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn examine_once(
        &self,
        subjects: &[Subject],
        clock: Clock,
    ) -> Result<Vec<Examined>, ReadError> {
        let mut wanted: BTreeMap<usize, Vec<MetricName>> = BTreeMap::new();
        for subject in subjects {
            for node in &subject.nodes {
                wanted.entry(*node).or_default().push(subject.metric.clone());
            }
        }
        let count = u32::try_from(wanted.len()).unwrap_or(STREAMS).min(STREAMS);
        // Nothing closes these semaphores. All take places in the order of the nodes: nobody waits in a circle.
        let _streams = self.streams.acquire_many(count).await;
        let mut places = Vec::with_capacity(wanted.len());
        let mut streams = BTreeMap::new();
        for (number, metrics) in wanted {
            let Some(node) = self.nodes.get(number) else { continue };
            places.push(node.archives.acquire().await);
            streams.insert(number, Incoming::begin(node, metrics, self.encoding).await?);
        }
        let mut examined = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let mut copies = Vec::with_capacity(subject.nodes.len());
            for node in &subject.nodes {
                let Some(stream) = streams.get_mut(node) else { continue };
                let content = stream.take(&subject.metric).await?;
                copies.push(Copy { node: *node, content });
            }
            examined.push(examine(&subject.place, &copies, clock));
        }
        for (node, stream) in streams {
            let mut left_out = stream.finish().await?;
            for (subject, examined) in subjects.iter().zip(&mut examined) {
                add_absent(subject, node, &mut left_out, examined);
            }
        }
        Ok(examined)
    }
}

/// Notes of a subject's copy that did not come why that is.
fn add_absent(
    subject: &Subject,
    node: usize,
    left_out: &mut HashMap<MetricName, (Problem, String)>,
    examined: &mut Examined,
) {
    let at = match examined.states.binary_search_by_key(&node, |(node, _)| *node) {
        Err(at) if subject.nodes.contains(&node) => at,
        _ => return,
    };
    let (problem, reason) = left_out.remove(&subject.metric).unwrap_or_else(|| {
        (Problem::Storage, "the node's answer does not have it, and does not say why".into())
    });
    examined.states.insert(at, (node, State::Absent(problem, reason)));
}

/// The copies that one node sends of one batch.
struct Incoming {
    addr: DaemonAddr,
    pieces: mpsc::Receiver<Result<Piece, ReadError>>,
    ahead: Option<Piece>,
}

impl Incoming {
    /// Asks `node` for `metrics`.
    async fn begin(
        node: &Node,
        metrics: Vec<MetricName>,
        encoding: Encoding,
    ) -> Result<Self, ReadError> {
        let (sender, pieces) = mpsc::channel(1);
        let addr = node.daemon.addr().clone();
        if node.is_v1 {
            let (encoding, stream) = node.daemon.archive(metrics, encoding).await?;
            let addr = addr.clone();
            tokio::task::spawn_blocking(move || {
                let end = read_stream(&addr, encoding, stream, &sender);
                // Where nobody listens any more, nobody needs to know.
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

    async fn next(&mut self) -> Result<Piece, ReadError> {
        if let Some(piece) = self.ahead.take() {
            return Ok(piece);
        }
        let piece = self.pieces.recv().await;
        piece.unwrap_or_else(|| Err(ReadError::Ended { addr: self.addr.clone() }))
    }

    /// The copy of `metric`; none where it is not the next. Metrics are taken in the order in which they were asked for.
    async fn take(&mut self, metric: &MetricName) -> Result<Option<Vec<u8>>, ReadError> {
        match self.next().await? {
            Piece::Copy { metric: sent, content } if sent == *metric => Ok(Some(content)),
            piece => {
                self.ahead = Some(piece);
                Ok(None)
            }
        }
    }

    /// Reads the end: what the node has not sent, and why.
    async fn finish(mut self) -> Result<HashMap<MetricName, (Problem, String)>, ReadError> {
        match self.next().await? {
            Piece::End(left_out) => {
                let why = |one: LeftOut| (one.metric, (one.problem, one.reason));
                Ok(left_out.into_iter().map(why).collect())
            }
            Piece::Copy { metric, .. } => Err(ReadError::Disordered { addr: self.addr, metric }),
        }
    }
}

/// Hands out what an archive stream holds; gives its end.
fn read_stream(
    addr: &DaemonAddr,
    encoding: Encoding,
    stream: ByteStream,
    sender: &mpsc::Sender<Result<Piece, ReadError>>,
) -> Result<Piece, ReadError> {
    let reader = SyncIoBridge::new(StreamReader::new(stream.map_err(std::io::Error::other)));
    let failed = |source| ReadError::Archive { addr: addr.clone(), source };
    let reader = encoding
        .decoder(reader)
        .map_err(|source| failed(ReadArchiveError::Read { members: 0, source }))?;
    let report = read_archive(reader, Limits::default(), |member| {
        let piece = if member.is_intact() {
            Ok(Piece::Copy { metric: member.metric, content: member.content })
        } else {
            Err(ReadError::Damaged { addr: addr.clone(), metric: member.metric })
        };
        let _ = sender.blocking_send(piece);
    });
    report.map(|report| Piece::End(report.left_out)).map_err(failed)
}

/// The same from a daemon of the Go tool.
async fn read_one_by_one(
    daemon: &Daemon,
    metrics: Vec<MetricName>,
    sender: &mpsc::Sender<Result<Piece, ReadError>>,
) -> Result<Piece, ReadError> {
    let mut left_out = Vec::new();
    for metric in metrics {
        let (problem, reason) = match daemon.go_get(metric.as_str()).await {
            Ok(Some((_, content))) => {
                let piece = Piece::Copy { metric, content: content.into() };
                if sender.send(Ok(piece)).await.is_err() {
                    break;
                }
                continue;
            }
            Ok(None) => (Problem::SourceMissing, "it has no such metric".to_owned()),
            Err(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => {
                return Err(error.into());
            }
            Err(error) => (Problem::SourceUnreadable, chain(&error)),
        };
        left_out.push(LeftOut { metric, problem, reason });
    }
    Ok(Piece::End(left_out))
}
