//! One simulated daemon.

use std::iter::Sum;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, Query, State};
use axum::routing::{get, post};
use bucky_api::{
    API_LEVEL, DeleteLine, DeleteOutcome, DeleteRequest, DestinationCount, DiskStatus, HealLine,
    HealOutcome, InventoryState, InventoryStatus, MisplacedCount, MisplacedLine, NotServed,
    PullRequest, ReplacedStatus, Status, TombstoneStatus, TransferStatus, paths,
};
use bucky_ring::{Ring, RingDocument};
use bucky_whisper::{Digest, MetricName};
use serde::{Deserialize, Serialize};

use super::Holding;

/// The length of a file with one day of minutes. None of the nodes has such a file.
const FILE_BYTES: u64 = 17_308;
/// Enough space for all metrics.
const DISK_BYTES: u64 = 1 << 60;
/// Digits of a metric's number, so that names sort like numbers.
const DIGITS: usize = 11;
/// The limit of transfers, as in a real daemon.
const TRANSFERS: u32 = 32;

/// A daemon that holds numbers.
pub(super) struct SimulatedNode {
    number: usize,
    ring: Arc<Ring>,
    /// The number of metrics in its list.
    metrics: u64,
    /// How many of them belong to another node.
    misplaced: u64,
    listed: AtomicU64,
    pulled: AtomicU64,
    pulls: AtomicU64,
    deleted: AtomicU64,
}

/// How many metrics reached each step of a move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Read from lists of misplaced metrics.
    pub(crate) listed: u64,
    /// Fetched by their owners.
    pub(crate) pulled: u64,
    /// The number of requests that fetched them.
    pub(crate) pulls: u64,
    /// Deleted at their sources.
    pub(crate) deleted: u64,
}

impl Sum for Moved {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, next| Self {
            listed: sum.listed + next.listed,
            pulled: sum.pulled + next.pulled,
            pulls: sum.pulls + next.pulls,
            deleted: sum.deleted + next.deleted,
        })
    }
}

/// The query of a list of misplaced metrics.
#[derive(Deserialize)]
struct Page {
    after: Option<String>,
    limit: Option<u64>,
    count: Option<u8>,
}

/// The routes of `node`.
pub(super) fn router(node: Arc<SimulatedNode>) -> Router {
    Router::new()
        .route(paths::HASHRING, get(hashring))
        .route(paths::V1_STATUS, get(status))
        .route(paths::V1_MISPLACED, get(misplaced))
        // The client asks only for unplaceable metrics; there are none.
        .route(paths::V1_METRICS, get(async || String::new()))
        .route(paths::V1_PULL, post(pull))
        .route(paths::V1_DELETE, post(delete))
        .layer(DefaultBodyLimit::disable())
        .with_state(node)
}

async fn hashring(State(node): State<Arc<SimulatedNode>>) -> String {
    RingDocument::from_spec(node.host(), node.ring.spec()).to_json()
}

async fn status(State(node): State<Arc<SimulatedNode>>) -> Json<Status> {
    Json(node.status())
}

async fn misplaced(State(node): State<Arc<SimulatedNode>>, Query(page): Query<Page>) -> Vec<u8> {
    if page.count.is_some() {
        return serde_json::to_vec(&node.count()).unwrap();
    }
    node.page(&page)
}

async fn pull(State(node): State<Arc<SimulatedNode>>, Json(request): Json<PullRequest>) -> Vec<u8> {
    node.pull(request)
}

async fn delete(
    State(node): State<Arc<SimulatedNode>>,
    Json(request): Json<DeleteRequest>,
) -> Vec<u8> {
    node.delete(request)
}

impl SimulatedNode {
    pub(super) fn new(number: usize, ring: Arc<Ring>, holding: Holding) -> Self {
        let (listed, pulled, pulls, deleted) = Default::default();
        let (metrics, misplaced) = match holding {
            Holding::Listed(metrics) => (metrics, 0),
            Holding::Counted(misplaced) => (0, misplaced),
        };
        let mut node = Self { number, ring, metrics, misplaced, listed, pulled, pulls, deleted };
        node.misplaced +=
            (0..metrics).filter(|metric| node.misplaced_name(*metric).is_some()).count() as u64;
        node
    }

    /// The name and the owner of a metric, if it belongs to another node.
    fn misplaced_name(&self, metric: u64) -> Option<(String, usize)> {
        let name = format!("simulated.node{:03}.metric{metric:0DIGITS$}", self.number);
        let owner = self.ring.owner(&name);
        (owner != self.number).then_some((name, owner))
    }

    /// What this node did.
    pub(super) fn moved(&self) -> Moved {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Moved {
            listed: load(&self.listed),
            pulled: load(&self.pulled),
            pulls: load(&self.pulls),
            deleted: load(&self.deleted),
        }
    }

    fn host(&self) -> &str {
        self.ring.nodes()[self.number].host()
    }

    fn status(&self) -> Status {
        Status {
            node: self.host().to_owned(),
            store_id: format!("simulated-{}", self.number),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_level: API_LEVEL,
            ring_fingerprint: self.ring.spec().fingerprint(),
            metrics: Some(self.metrics.max(self.misplaced)),
            inventory: InventoryStatus {
                state: InventoryState::Ready,
                age_seconds: Some(0),
                scan_seconds: Some(0.0),
                unplaceable: 0,
                series: None,
                unusable: 0,
                unreadable_folders: 0,
                not_served: NotServed::default(),
                problem: String::new(),
            },
            disk: DiskStatus {
                total_bytes: DISK_BYTES,
                free_bytes: DISK_BYTES,
                ..DiskStatus::default()
            },
            volumes: Vec::new(),
            tombstones: TombstoneStatus::default(),
            transfers: TransferStatus { sending: 0, receiving: 0, limit: TRANSFERS },
            local_prefixes: Vec::new(),
            replaced: ReplacedStatus::default(),
            read_only: String::new(),
            former_members: Vec::new(),
            former_ring: None,
            ring_file: None,
            received: None,
        }
    }

    /// The rest, distributed evenly over the other nodes: calculated, not counted.
    fn count(&self) -> MisplacedCount {
        let left = self.misplaced.saturating_sub(self.moved().deleted);
        let others = self.ring.nodes().iter().enumerate().filter(|(node, _)| *node != self.number);
        let count = self.ring.nodes().len() as u64 - 1;
        let destinations = others.zip(0..).map(|((_, node), rank)| {
            let metrics = left / count + u64::from(rank < left % count);
            DestinationCount { node: node.to_string(), metrics, bytes: metrics * FILE_BYTES }
        });
        MisplacedCount {
            metrics: left,
            bytes: left * FILE_BYTES,
            destinations: destinations.filter(|destination| destination.metrics > 0).collect(),
            unplaceable: 0,
            unrouted: 0,
        }
    }

    /// The misplaced metrics after a name, each placed by the ring.
    fn page(&self, page: &Page) -> Vec<u8> {
        let mut left = page.limit.unwrap_or(u64::MAX);
        let first = page.after.as_deref().map_or(0, |name| number_of(name) + 1);
        let mut body = Vec::new();
        for (name, owner) in (first..self.metrics).filter_map(|metric| self.misplaced_name(metric))
        {
            if left == 0 {
                break;
            }
            let owners = vec![self.ring.nodes()[owner].to_string()];
            let metric = name.parse().unwrap();
            write_line(
                &mut body,
                &MisplacedLine { metric, owners, bytes: Some(FILE_BYTES), series: None },
            );
            left -= 1;
            self.listed.fetch_add(1, Ordering::Relaxed);
        }
        body
    }

    /// Reports every metric as created.
    fn pull(&self, request: PullRequest) -> Vec<u8> {
        self.pulled.fetch_add(request.metrics.len() as u64, Ordering::Relaxed);
        self.pulls.fetch_add(1, Ordering::Relaxed);
        let mut body = Vec::new();
        for metric in request.metrics {
            let line = HealLine {
                digest: Some(digest(&metric)),
                metric,
                stored_as: None,
                outcome: HealOutcome::Created,
                points: 0,
                held: None,
                difference: None,
                bytes: FILE_BYTES,
                problem: None,
                reason: String::new(),
            };
            write_line(&mut body, &line);
        }
        body
    }

    /// Reports every metric as deleted, if the receipt is the one from the pull.
    fn delete(&self, request: DeleteRequest) -> Vec<u8> {
        let mut body = Vec::new();
        for metric in request.metrics {
            let outcome = if metric.digest == digest(&metric.name) {
                self.deleted.fetch_add(1, Ordering::Relaxed);
                DeleteOutcome::Deleted
            } else {
                DeleteOutcome::Changed
            };
            let reason = String::new();
            write_line(
                &mut body,
                &DeleteLine { metric: metric.name, outcome, kept: None, problem: None, reason },
            );
        }
        body
    }
}

fn number_of(name: &str) -> u64 {
    name[name.len() - DIGITS..].parse().unwrap()
}

fn digest(metric: &MetricName) -> Digest {
    Digest::of(metric.as_str().as_bytes())
}

fn write_line(body: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *body, line).unwrap();
    body.push(b'\n');
}
