//! Daemons that answer as a test tells them to, over real sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bucky_api::archive::{Limits, read_archive};
use bucky_api::go::MetricStat;
use bucky_api::{
    Client, DaemonAddr, DeleteLine, DeleteOutcome, DeleteRequest, Encoding, HealLine, HealOutcome,
    PullRequest, Timeouts,
};
use bucky_whisper::{Digest, MetricName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::super::batch::{Batch, BatchLimits, Batcher, Stray};
use super::super::nodes::{Fleet, Node};
use super::super::stop::Stop;
use super::super::survey::Selection;
use super::super::tally::Tally;
use super::{JournalDesk, Mover, MoverParts};
use crate::cluster::test_cluster::{document, go, v1};
use crate::cluster::{Answer, Cluster, Member};
use crate::output::Output;

/// A request as it came.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// What is answered.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: b"so the test wants it".to_vec() }
    }

    pub(super) fn lines<T: serde::Serialize>(lines: &[T]) -> Self {
        let lines = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n");
        Self::ok(lines.collect::<String>())
    }
}

/// Starts a daemon that answers as `handler` says, and gives its address.
pub(super) async fn daemon(
    handler: impl Fn(Request) -> Reply + Send + Sync + 'static,
) -> DaemonAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = DaemonAddr::new("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
    let handler = Arc::new(handler);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = Arc::clone(&handler);
            tokio::spawn(async move { serve(stream, handler.as_ref()).await });
        }
    });
    addr
}

async fn serve(stream: TcpStream, handler: &(impl Fn(Request) -> Reply + ?Sized)) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read_request(&mut stream).await else { return };
    let is_head = request.method == "HEAD";
    let reply = handler(request);
    let mut head = format!(
        "HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {}\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    if !is_head {
        let _ = stream.write_all(&reply.body).await;
    }
    let _ = stream.flush().await;
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let body = if headers.contains_key("transfer-encoding") {
        read_chunks(stream).await?
    } else {
        let len = headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
        let mut body = vec![0; len];
        stream.read_exact(&mut body).await.ok()?;
        body
    };
    Some(Request { method, path, headers, body })
}

async fn read_chunks(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let len = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; len + 2];
        stream.read_exact(&mut chunk).await.ok()?;
        body.extend_from_slice(&chunk[..len]);
        if len == 0 {
            return Some(body);
        }
    }
}

/// A member of the ring over such a daemon.
pub(super) struct FakeMember {
    pub(super) host: &'static str,
    pub(super) addr: DaemonAddr,
    pub(super) is_go: bool,
    pub(super) store: &'static str,
}

impl FakeMember {
    pub(super) fn v1(host: &'static str, addr: DaemonAddr) -> Self {
        Self { host, addr, is_go: false, store: host }
    }

    pub(super) fn go(host: &'static str, addr: DaemonAddr) -> Self {
        Self { host, addr, is_go: true, store: host }
    }
}

/// A mover over these members, the last of which is the source of the tests.
pub(super) fn mover(members: Vec<FakeMember>, deletes: bool) -> (Mover, Arc<Node>) {
    let output = Arc::new(Output::to_writers(Box::new(std::io::sink()), Box::new(std::io::sink())));
    let hosts: Vec<&str> = members.iter().map(|member| member.host).collect();
    let document = document(&hosts);
    let members = members.into_iter().map(|member| Member {
        daemon: Client::new(Timeouts::default()).unwrap().daemon(member.addr),
        host: Some(member.host.to_owned()),
        answer: answer(&document, member.host, member.store, member.is_go),
    });
    let cluster = Cluster::from_answers(document.clone(), members.collect());
    let ring = cluster.ring().unwrap();
    let fleet = Fleet::muster(&cluster, &ring, &[], None).unwrap();
    let source = Arc::clone(&fleet.sources.last().unwrap().node);
    let mover = Mover::new(MoverParts {
        fleet,
        selection: Selection { ring, regex: None, allowed: None, local_prefix: None },
        limits: LIMITS,
        encoding: Encoding::Identity,
        deletes,
        tally: Tally::begin(None, Arc::clone(&output)).unwrap(),
        journal: JournalDesk::new(None, Arc::clone(&output)),
        stop: Stop::manual().1,
        output,
        workers: 4,
    });
    (mover, source)
}

fn answer(document: &bucky_ring::RingDocument, host: &str, store: &str, is_go: bool) -> Answer {
    if is_go { go(document, store) } else { v1(document, host, store) }
}

const LIMITS: BatchLimits =
    BatchLimits { bytes: 1 << 20, metrics: 100, held: 1000, patience: 1000 };

/// A batch of these metrics.
pub(super) fn batch(owners: &[usize], names: &[&str]) -> Batch {
    let mut batcher = Batcher::new(LIMITS, None);
    for name in names {
        batcher.push(owners.to_vec(), Stray { metric: name.parse().unwrap(), bytes: 1 });
    }
    batcher.take_fullest().unwrap()
}

/// The metrics that a pull asks for.
pub(super) fn pulled(request: &Request) -> Vec<MetricName> {
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/pull"));
    serde_json::from_slice::<PullRequest>(&request.body).unwrap().metrics
}

/// A line that says healed, from `content`.
pub(super) fn healed(metric: &MetricName, content: &str) -> HealLine {
    HealLine {
        metric: metric.clone(),
        outcome: HealOutcome::Created,
        points: 0,
        bytes: 10,
        digest: Some(Digest::of(content.as_bytes())),
        problem: None,
        reason: String::new(),
    }
}

/// An owner that heals everything from `content`.
pub(super) fn heals_all(
    content: &'static str,
) -> impl Fn(Request) -> Reply + Send + Sync + 'static {
    move |request| {
        let lines: Vec<HealLine> =
            pulled(&request).iter().map(|metric| healed(metric, content)).collect();
        Reply::lines(&lines)
    }
}

/// What was asked to be deleted, request by request.
pub(super) type Deletes = Arc<Mutex<Vec<DeleteRequest>>>;

/// A source that deletes what `outcome` says, and notes what it is asked.
pub(super) async fn source(
    outcome: impl Fn(usize, &MetricName) -> DeleteOutcome + Send + Sync + 'static,
) -> (DaemonAddr, Deletes) {
    let deletes = Deletes::default();
    let noted = Arc::clone(&deletes);
    let addr = daemon(move |request| {
        assert_eq!(request.path, "/v1/delete");
        let request: DeleteRequest = serde_json::from_slice(&request.body).unwrap();
        let mut noted = noted.lock().unwrap();
        let round = noted.len();
        let line = |metric: &bucky_api::DeleteMetric| DeleteLine {
            metric: metric.name.clone(),
            outcome: outcome(round, &metric.name),
            reason: String::new(),
        };
        let lines: Vec<DeleteLine> = request.metrics.iter().map(line).collect();
        noted.push(request);
        Reply::lines(&lines)
    });
    (addr.await, deletes)
}

/// The files of a daemon of the Go tool: name to content and time of change.
pub(super) type GoFiles = Arc<Mutex<BTreeMap<String, (Vec<u8>, i64)>>>;

/// A daemon of the Go tool. What it is given replaces what it has, after `damage` has had its way with it; `after_get`
/// is called once a metric was read.
pub(super) async fn go_daemon(
    files: GoFiles,
    damage: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    after_get: impl Fn(&GoFiles) + Send + Sync + 'static,
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
                let headers = vec![("x-metric-stat", stat.to_header())];
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

/// A daemon with `/v1` that heals what is sent to it into `files`, as it stands.
pub(super) async fn healing_daemon(files: GoFiles) -> DaemonAddr {
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
