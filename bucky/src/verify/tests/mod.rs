//! The whole command against daemons that answer as a test wants.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use bucky_api::archive::{ArchiveWriter, FileMeta};
use bucky_api::go::MetricStat;
use bucky_api::{
    ArchiveRequest, DaemonAddr, DigestFound, DigestLine, DigestRequest, LeftOut, Problem,
};
use bucky_ring::{Ring, RingDocument};
use bucky_whisper::{Aggregation, Digest, Header, Point, Summary, XFilesFactor};

use crate::cluster::test_cluster::{document, status};
use crate::fake_daemon::{Reply, Request, daemon_at};
use crate::outcome::Outcome;
use crate::output::Output;

mod digests;

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;
/// Called before the answer to an archive request, with its number from 0.
type Hook = Box<dyn Fn(usize) -> Option<Reply> + Send + Sync>;
/// Makes the answer to a request for digests from the lines that a correct daemon would give.
type Digests = Box<dyn Fn(Vec<DigestLine>) -> Reply + Send + Sync>;

/// A daemon of a test's cluster.
struct Node {
    host: &'static str,
    is_go: bool,
    files: Files,
    /// Names that it lists although it may not have them.
    listed: Vec<String>,
    hook: Hook,
    /// `None` if it does not know the route.
    digests: Option<Digests>,
}

fn node(host: &'static str, files: &[(&str, Vec<u8>)]) -> Node {
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(name, content)| ((*name).to_owned(), content.clone())).collect();
    let listed = files.keys().cloned().collect();
    let files = Arc::new(Mutex::new(files));
    Node { host, is_go: false, files, listed, hook: Box::new(|_| None), digests: None }
}

/// Starts the nodes, all on one port and in one ring.
async fn cluster(nodes: Vec<Node>) -> DaemonAddr {
    let hosts: Vec<&str> = nodes.iter().map(|node| node.host).collect();
    let ring = document(&hosts);
    let mut first: Option<DaemonAddr> = None;
    for node in nodes {
        let port = first.as_ref().map_or(0, DaemonAddr::port);
        let address = format!("{}:{port}", node.host);
        let (ring, rounds) = (ring.clone(), AtomicUsize::new(0));
        let answer = move |request: Request| node.answer(&request, &ring, &rounds);
        let addr = daemon_at(&address, answer).await;
        first.get_or_insert(addr);
    }
    first.unwrap()
}

impl Node {
    fn answer(&self, request: &Request, ring: &RingDocument, rounds: &AtomicUsize) -> Reply {
        match request.route() {
            "/hashring" => {
                Reply::ok(RingDocument { name: self.host.into(), ..ring.clone() }.to_json())
            }
            "/metrics" => Reply::ok(serde_json::to_string(&self.listed).unwrap()),
            route if self.is_go => match route.strip_prefix("/metrics/") {
                Some(name) => self.file(name),
                None => Reply::status(404),
            },
            "/v1/status" => {
                Reply::ok(serde_json::to_string(&status(self.host, self.host)).unwrap())
            }
            "/v1/metrics" => {
                let after = request.parameter("after").unwrap_or_default();
                let later = self.listed.iter().filter(|name| name.as_str() > after);
                Reply::ok(later.map(|name| format!("{name}\n")).collect::<String>())
            }
            "/v1/archive" => {
                let round = rounds.fetch_add(1, Ordering::Relaxed);
                (self.hook)(round).unwrap_or_else(|| self.archive(&request.body, false))
            }
            "/v1/digests" => match &self.digests {
                Some(digests) => digests(self.digests(&request.body)),
                None => Reply::status(404),
            },
            route => panic!("nobody asks for {route}"),
        }
    }

    fn archive(&self, body: &[u8], is_damaged: bool) -> Reply {
        let wanted: ArchiveRequest = serde_json::from_slice(body).unwrap();
        let files = self.files.lock().unwrap();
        let mut writer = ArchiveWriter::new(Vec::new());
        for metric in wanted.metrics {
            match files.get(metric.as_str()) {
                Some(content) => {
                    let digest = Digest::of(if is_damaged { b"" } else { content });
                    let meta = FileMeta { mode: 0o644, mtime: 0 };
                    writer.append(&metric, meta, digest, content).unwrap();
                }
                None => {
                    let (problem, reason) = (Problem::SourceMissing, "gone".into());
                    writer.leave_out(LeftOut { metric, problem, reason }).unwrap();
                }
            }
        }
        Reply::ok(writer.finish().unwrap())
    }

    fn digests(&self, body: &[u8]) -> Vec<DigestLine> {
        let wanted: DigestRequest = serde_json::from_slice(body).unwrap();
        let files = self.files.lock().unwrap();
        let line = |metric: bucky_whisper::MetricName| {
            let found = match files.get(metric.as_str()) {
                Some(content) => {
                    let summary = Summary::of(content, wanted.window());
                    DigestFound::of(summary, wanted.archives)
                }
                None => {
                    DigestFound::Unread { problem: Problem::SourceMissing, reason: "gone".into() }
                }
            };
            DigestLine { metric, found }
        };
        wanted.metrics.clone().into_iter().map(line).collect()
    }

    fn file(&self, name: &str) -> Reply {
        let files = self.files.lock().unwrap();
        let Some(content) = files.get(name) else { return Reply::status(404) };
        let size = i64::try_from(content.len()).unwrap();
        let stat = MetricStat { name: name.into(), size, mode: 0o644, mod_time: 0, encoding: 0 };
        Reply {
            status: 200,
            headers: vec![("x-metric-stat", stat.to_header())],
            body: content.clone(),
        }
    }
}

/// A file with a point at each of these ages, in minutes. All files count from one time, so that points of
/// two files fall into the same minutes even if a minute ends between the two calls.
fn file(ages: &[u32]) -> Vec<u8> {
    let factor = XFilesFactor::new(0.0).unwrap();
    let retentions = ["1m:1d".parse().unwrap()];
    let header = Header::for_retentions(&retentions, Aggregation::Last, factor).unwrap();
    let mut bytes = header.encode();
    static NOW: LazyLock<u32> = LazyLock::new(bucky_api::clock::unix_now);
    let newest = *NOW - *NOW % 60;
    let mut slots = vec![[0; 12]; 1440];
    for age in ages {
        // The base is the newest point: older ones are at the end.
        let position = (1440 - *age as usize) % 1440;
        slots[position] = Point { timestamp: newest - age * 60, value: 1.0 }.encode();
    }
    slots[0] = Point { timestamp: newest, value: 0.0 }.encode();
    bytes.extend(slots.concat());
    bytes
}

/// A name that belongs to `hosts[owner]`.
fn name_of(hosts: &[&str], owner: usize) -> String {
    let ring = Ring::new(document(hosts).to_spec().unwrap()).unwrap();
    let mut names = (0..).map(|number| format!("app.m{number}"));
    names.find(|name| ring.owners(name).next() == Some(owner)).unwrap()
}

async fn verify(seed: &DaemonAddr, words: &[&str]) -> (Outcome, String, String) {
    let mut all: Vec<OsString> = vec!["verify".into(), "-h".into(), seed.to_string().into()];
    all.extend(words.iter().map(OsString::from));
    let (output, data, people) = Output::captured();
    let run = tokio::task::spawn_blocking(move || crate::run_with(all, output));
    (run.await.unwrap(), data.text(), people.text())
}

/// A metric is healed and deleted between the first reading and the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_metric_that_moves_while_it_is_read_is_not_reported() {
    let hosts = ["127.0.61.1", "127.0.61.2"];
    let name = name_of(&hosts, 1);
    let mut stray = node(hosts[0], &[(&name, file(&[1]))]);
    let owner = node(hosts[1], &[]);
    let (from, to) = (Arc::clone(&stray.files), Arc::clone(&owner.files));
    stray.hook = Box::new(move |round| {
        if round == 1 {
            to.lock().unwrap().append(&mut from.lock().unwrap());
        }
        None
    });
    let (outcome, data, people) = verify(&cluster(vec![stray, owner]).await, &[]).await;
    assert_eq!(outcome, Outcome::Done, "{data}{people}");
    assert!(
        data.starts_with("1 metric on 2 nodes, 1 copy read, 2 points: all in place.\n"),
        "{data}"
    );
    assert!(data.contains("1 metric changed during the check"), "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_metric_that_no_node_has_is_reported_unless_the_list_may_be_old() {
    let hosts = ["127.0.62.1", "127.0.62.2"];
    let name = name_of(&hosts, 0);
    let nodes = || {
        let mut node_0 = node(hosts[0], &[]);
        node_0.listed.push(name.clone());
        vec![node_0, node(hosts[1], &[])]
    };
    let (outcome, data, people) = verify(&cluster(nodes()).await, &[]).await;
    assert_eq!(outcome, Outcome::SomeFailed, "{data}{people}");
    assert!(data.contains(&format!("{name}: was listed, but then no node had it")), "{data}");
    let (outcome, data, _) = verify(&cluster(nodes()).await, &["--no-scan"]).await;
    assert_eq!(outcome, Outcome::Done, "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_of_the_go_tool_are_read_metric_by_metric() {
    let hosts = ["127.0.63.1", "127.0.63.2"];
    let [owned, shared] = [name_of(&hosts, 1), format!("other.{}", name_of(&hosts, 0))];
    let ring = Ring::new(document(&hosts).to_spec().unwrap()).unwrap();
    let owner = ring.owners(&shared).next().unwrap();
    let mut go = node(hosts[1], &[(&owned, file(&[1])), (&shared, file(&[1, 2, 3]))]);
    go.is_go = true;
    go.listed.push("bad..name".into());
    let v1 = node(hosts[0], &[(&shared, file(&[1, 9]))]);
    let (outcome, data, people) = verify(&cluster(vec![v1, go]).await, &["-j"]).await;
    assert_eq!(outcome, Outcome::SomeFailed, "{data}{people}");
    let report: serde_json::Value = serde_json::from_str(&data).unwrap();
    let points = |owner: usize| if owner == 0 { 2 } else { 1 };
    let reported: Vec<(&str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["kind"].as_str().unwrap(), one["metric"].as_str().unwrap()))
        .collect();
    let expected =
        [("unusable", "bad..name"), ("misplaced", shared.as_str()), ("lacks", shared.as_str())];
    assert_eq!(reported, expected, "{data}");
    assert_eq!(report["findings"][2]["points"], points(owner), "{data}");
    assert_eq!(report["summary"]["copies"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_arrives_damaged_is_asked_for_again() {
    let hosts = ["127.0.64.1"];
    let mut only = node(hosts[0], &[("app.a", file(&[1]))]);
    let twin = node(hosts[0], &[("app.a", file(&[1]))]);
    only.hook = Box::new(move |round| {
        let body = serde_json::json!({"metrics": ["app.a"]}).to_string();
        (round == 0).then(|| twin.archive(body.as_bytes(), true))
    });
    let (outcome, data, people) = verify(&cluster(vec![only]).await, &[]).await;
    assert_eq!(outcome, Outcome::Done, "{data}{people}");
    assert!(data.contains("1 copy read, 2 points: all in place"), "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_read_ends_it_with_3_and_what_was_found_by_then() {
    let hosts = ["127.0.65.1", "127.0.65.2"];
    let [good, bad] = [0, 1].map(|owner| name_of(&hosts, owner));
    for words in [&[][..], &["-j"]] {
        let nodes = vec![
            node(hosts[0], &[(&good, file(&[1]))]),
            Node {
                hook: Box::new(|_| Some(Reply::status(400))),
                ..node(hosts[1], &[(&bad, file(&[1]))])
            },
        ];
        let (outcome, data, people) = verify(&cluster(nodes).await, words).await;
        assert_eq!(outcome, Outcome::Unhealthy, "{data}{people}");
        assert!(people.contains(hosts[1]), "{people}");
        assert!(
            !data.contains("all in place") && !data.contains("\"all_in_place\":true"),
            "{data}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_out_of_order_ends_it_with_3() {
    let mut only = node("127.0.66.1", &[("app.a", file(&[1])), ("app.b", file(&[1]))]);
    only.listed.reverse();
    let (outcome, data, people) = verify(&cluster(vec![only]).await, &[]).await;
    assert_eq!(outcome, Outcome::Unhealthy, "{data}{people}");
    assert!(people.contains("out of order"), "{people}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_verified_with_flags_that_make_no_sense() {
    let seed = "127.0.67.1:1".parse().unwrap();
    for words in [
        &["-s"][..],
        &["--seed", "3"],
        &["--sample", "0"],
        &["--sample", "3", "app.a"],
        &["--no-scan", "-f"],
        &["-w", "0"],
    ] {
        let (outcome, _, people) = verify(&seed, words).await;
        assert_eq!(outcome, Outcome::Usage, "{words:?}: {people}");
    }
    let (outcome, _, _) = verify(&seed, &[]).await;
    assert_eq!(outcome, Outcome::Unhealthy);
}
