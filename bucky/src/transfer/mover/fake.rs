//! Members of a cluster for the mover's tests: owners that heal, sources that delete, Go daemons.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bucky_api::archive::{Limits, read_archive};
use bucky_api::go::MetricStat;
use bucky_api::{
    API_LEVEL, Client, DaemonAddr, DeleteLine, DeleteOutcome, DeleteRequest, Encoding, HealLine,
    HealOutcome, PullRequest, Timeouts,
};
use bucky_whisper::{Digest, MetricName};

use super::{Mover, MoverParts};
use crate::cluster::test_cluster::{document, go, v1};
use crate::cluster::{Answer, Cluster, Member};
use crate::fake_daemon::{Reply, Request, daemon};
use crate::fleet::{Fleet, Node};
use crate::output::Output;
use crate::placement::Series;
use crate::plan::survey::StraySelection;
use crate::run::stop::Stop;
use crate::transfer::batch::held::HoldingRoom;
use crate::transfer::batch::{Batch, BatchLimits, Batcher, Stray};
use crate::transfer::options::{Batching, SourceRules, SyncOptions, Travel};
use crate::transfer::records::Records;

/// A member of the ring with this daemon.
pub(in crate::transfer) struct FakeMember {
    pub(in crate::transfer) host: &'static str,
    pub(in crate::transfer) addr: DaemonAddr,
    pub(in crate::transfer) is_go: bool,
    pub(in crate::transfer) store: &'static str,
    /// The level of `/v1` that it reports.
    pub(in crate::transfer) level: u32,
}

impl FakeMember {
    pub(in crate::transfer) fn v1(host: &'static str, addr: DaemonAddr) -> Self {
        Self { host, addr, is_go: false, store: host, level: API_LEVEL }
    }

    pub(in crate::transfer) fn go(host: &'static str, addr: DaemonAddr) -> Self {
        Self { host, addr, is_go: true, store: host, level: API_LEVEL }
    }

    fn answer(&self, document: &bucky_ring::RingDocument) -> Answer {
        if self.is_go {
            return go(document, self.store);
        }
        let mut answer = v1(document, self.host, self.store);
        if let Answer::V1 { status, .. } = &mut answer {
            status.api_level = self.level;
        }
        answer
    }
}

/// A mover over these members; the last one is the source of the tests.
pub(in crate::transfer) fn mover(members: Vec<FakeMember>, deletes: bool) -> (Mover, Arc<Node>) {
    let output = Arc::new(Output::to_writers(Box::new(std::io::sink()), Box::new(std::io::sink())));
    let hosts: Vec<&str> = members.iter().map(|member| member.host).collect();
    let document = document(&hosts);
    let members = members.into_iter().map(|member| Member {
        daemon: Client::new(Timeouts::default()).unwrap().daemon(member.addr.clone()),
        host: Some(member.host.to_owned()),
        answer: member.answer(&document),
    });
    let cluster = Cluster::from_answers(document.clone(), members.collect());
    let ring = cluster.ring().unwrap();
    let fleet = Fleet::of_cluster(&cluster, &ring, &[], None).unwrap();
    let source = Arc::clone(&fleet.sources.last().unwrap().node);
    let mover = Mover::new(MoverParts {
        fleet: Arc::new(fleet),
        selection: StraySelection {
            ring,
            regex: None,
            allowed: None,
            local_prefix: None,
            series: Series::default(),
        },
        batching: Batching { workers: 4, travel: Travel::As(Encoding::Identity), limits: LIMITS },
        sources: SourceRules { deletes, ..SourceRules::default() },
        sync: SyncOptions::default(),
        verbose: false,
        records: Records::of_counts(&output),
        stop: Stop::without_signals().1,
        output,
    });
    (mover, source)
}

const LIMITS: BatchLimits =
    BatchLimits { bytes: 1 << 20, metrics: 100, held_bytes: 1 << 16, patience: 1000 };

/// A batch of these metrics.
pub(in crate::transfer) fn batch(owners: &[usize], names: &[&str]) -> Batch {
    let room = HoldingRoom::new(LIMITS.held_bytes, 1);
    let mut batcher = Batcher::new(LIMITS, room, None);
    for name in names {
        batcher.push(
            owners.to_vec(),
            Stray { metric: name.parse().unwrap(), bytes: NonZeroU64::new(1) },
        );
    }
    batcher.take_fullest().unwrap()
}

/// The metrics that a pull asks for.
pub(in crate::transfer) fn pulled(request: &Request) -> Vec<MetricName> {
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/pull"));
    serde_json::from_slice::<PullRequest>(&request.body).unwrap().metrics
}

/// A line for a metric that was healed from `content`.
pub(in crate::transfer) fn healed(metric: &MetricName, content: &str) -> HealLine {
    HealLine {
        metric: metric.clone(),
        stored_as: None,
        outcome: HealOutcome::Created,
        points: 0,
        held: None,
        difference: None,
        bytes: 10,
        digest: Some(Digest::of(content.as_bytes())),
        problem: None,
        reason: String::new(),
    }
}

/// An owner that heals everything from `content`.
pub(in crate::transfer) fn heals_all(
    content: &'static str,
) -> impl Fn(Request) -> Reply + Send + Sync + 'static {
    move |request| {
        let lines: Vec<HealLine> =
            pulled(&request).iter().map(|metric| healed(metric, content)).collect();
        Reply::lines(&lines)
    }
}

/// The delete requests that were received.
pub(in crate::transfer) type Deletes = Arc<Mutex<Vec<DeleteRequest>>>;

/// A source that deletes with `outcome`, and notes the requests. It has no single metrics.
pub(in crate::transfer) async fn source(
    outcome: impl Fn(usize, &MetricName) -> DeleteOutcome + Send + Sync + 'static,
) -> (DaemonAddr, Deletes) {
    let deletes = Deletes::default();
    let noted = Arc::clone(&deletes);
    let addr = daemon(move |request| {
        if request.method == "HEAD" {
            return Reply::status(404);
        }
        assert_eq!(request.path, "/v1/delete");
        let request: DeleteRequest = serde_json::from_slice(&request.body).unwrap();
        let mut noted = noted.lock().unwrap();
        let round = noted.len();
        let line = |metric: &bucky_api::DeleteMetric| DeleteLine {
            metric: metric.name.clone(),
            outcome: outcome(round, &metric.name),
            kept: None,
            problem: None,
            reason: String::new(),
        };
        let lines: Vec<DeleteLine> = request.metrics.iter().map(line).collect();
        noted.push(request);
        Reply::lines(&lines)
    });
    (addr.await, deletes)
}

/// The files of a Go daemon: name to content and modification time.
pub(in crate::transfer) type GoFiles = Arc<Mutex<BTreeMap<String, (Vec<u8>, i64)>>>;

/// A Go daemon. An uploaded file replaces the old one, after `damage` has changed it. `after_get` is called
/// when a metric was read.
pub(in crate::transfer) async fn go_daemon(
    files: GoFiles,
    damage: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    after_get: impl Fn(&GoFiles) + Send + Sync + 'static,
) -> DaemonAddr {
    go_daemon_at(files, damage, after_get, Some(SystemTime::now())).await
}

/// A Go daemon whose clock always shows `clock`, or that sends no time.
pub(in crate::transfer) async fn go_daemon_at(
    files: GoFiles,
    damage: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    after_get: impl Fn(&GoFiles) + Send + Sync + 'static,
    clock: Option<SystemTime>,
) -> DaemonAddr {
    daemon(move |request| {
        let Some(name) = request.path.strip_prefix("/metrics/").map(str::to_owned) else {
            return Reply::status(404);
        };
        let held = files.lock().unwrap().get(&name).cloned();
        match (request.method.as_str(), held) {
            ("POST", _) => {
                assert_eq!(request.headers["content-type"], "application/octet-stream");
                let stat = MetricStat::parse(&request.headers["x-metric-stat"]).unwrap();
                assert_eq!(stat.size, request.body.len() as i64);
                files.lock().unwrap().insert(name, (damage(request.body), stat.mod_time));
                Reply::ok("{}")
            }
            (_, None) => Reply::status(404),
            ("DELETE", Some(_)) => {
                files.lock().unwrap().remove(&name);
                Reply::ok("")
            }
            (method, Some((content, mod_time))) => {
                let stat = MetricStat {
                    name,
                    size: content.len() as i64,
                    mode: 0o644,
                    mod_time,
                    encoding: 0,
                };
                let date = clock.map(|clock| ("date", httpdate::fmt_http_date(clock)));
                let stat = ("x-metric-stat", stat.to_header());
                let headers = [stat].into_iter().chain(date).collect();
                if method == "GET" {
                    after_get(&files);
                }
                Reply {
                    status: 200,
                    headers,
                    body: if method == "GET" { content } else { Vec::new() },
                }
            }
        }
    })
    .await
}

/// A daemon with `/v1` that heals by storing what is sent to it in `files`, unchanged.
pub(in crate::transfer) async fn healing_daemon(files: GoFiles) -> DaemonAddr {
    daemon(move |request| {
        assert_eq!(request.path, "/v1/heal");
        let mut lines = Vec::new();
        read_archive(request.body.as_slice(), Limits::default(), |member| {
            let line = HealLine { digest: Some(member.digest), ..healed(&member.metric, "") };
            let mtime = i64::try_from(member.meta.mtime).unwrap();
            files.lock().unwrap().insert(member.metric.to_string(), (member.content, mtime));
            lines.push(line);
        })
        .unwrap();
        Reply::lines(&lines)
    })
    .await
}
