//! Whole commands against daemons that answer as a test wants: what is printed, and the exit code.

use std::ffi::OsString;
use std::sync::{Arc, Mutex};

use bucky_api::{DaemonAddr, MetricLine, MisplacedLine};
use bucky_ring::{Ring, RingDocument};

use crate::cluster::test_cluster::{document, status};
use crate::fake_daemon::{Reply, Request, daemon_at};
use crate::outcome::Outcome;
use crate::output::Output;

/// Runs a command: returns its outcome, its data, and what it printed for people.
async fn bucky(words: &[&str]) -> (Outcome, String, String) {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let (output, data, people) = Output::captured();
    let outcome =
        tokio::task::spawn_blocking(move || crate::run_with(words, output)).await.unwrap();
    (outcome, data.text(), people.text())
}

/// A daemon of a test's cluster.
#[derive(Clone)]
struct Node {
    host: &'static str,
    is_go: bool,
    ring: RingDocument,
    metrics: Vec<&'static str>,
    /// Listed metrics whose files have vanished.
    vanished: Vec<&'static str>,
}

fn node(host: &'static str, ring: &RingDocument, metrics: &[&'static str]) -> Node {
    Node { host, is_go: false, ring: ring.clone(), metrics: metrics.to_vec(), vanished: Vec::new() }
}

/// Starts the nodes, all on one port; returns the address of the first.
async fn cluster(nodes: Vec<Node>) -> DaemonAddr {
    let mut first: Option<DaemonAddr> = None;
    for node in nodes {
        let port = first.as_ref().map_or(0, DaemonAddr::port);
        let address = format!("{}:{port}", node.host);
        let addr = daemon_at(&address, move |request| node.answer(&request)).await;
        first.get_or_insert(addr);
    }
    first.unwrap()
}

impl Node {
    fn answer(&self, request: &Request) -> Reply {
        match request.route() {
            "/hashring" => {
                Reply::ok(RingDocument { name: self.host.into(), ..self.ring.clone() }.to_json())
            }
            "/metrics" => Reply::ok(serde_json::to_string(&self.listed(request)).unwrap()),
            _ if self.is_go => Reply::status(404),
            "/v1/status" => {
                Reply::ok(serde_json::to_string(&status(self.host, self.host)).unwrap())
            }
            "/v1/metrics" => self.page(request),
            "/v1/misplaced" => self.misplaced(),
            route => panic!("nobody should ask for {route}"),
        }
    }

    /// The Go tool's list.
    fn listed(&self, request: &Request) -> Vec<&'static str> {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let is_wanted = |name: &&&str| body.is_empty() || body.contains(&format!("%22{name}%22"));
        self.metrics.iter().filter(is_wanted).copied().collect()
    }

    fn page(&self, request: &Request) -> Reply {
        if request.parameter("unplaceable").is_some() {
            return Reply::ok("");
        }
        let after = request.parameter("after").unwrap_or_default();
        let limit = request.parameter("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let names = self.metrics.iter().filter(|name| **name > after).take(limit);
        if request.parameter("stat").is_none() {
            return Reply::ok(names.map(|name| format!("{name}\n")).collect::<String>());
        }
        let there = names.filter(|name| !self.vanished.contains(name));
        let lines: Vec<MetricLine> = there
            .map(|name| MetricLine {
                metric: name.parse().unwrap(),
                bytes: 100,
                mtime: 0,
                reason: String::new(),
                series: None,
            })
            .collect();
        Reply::lines(&lines)
    }

    /// The misplaced metrics on this node, by its own ring.
    fn misplaced(&self) -> Reply {
        let ring = Ring::new(self.ring.to_spec().unwrap()).unwrap();
        let line = |name: &&'static str| {
            let owners: Vec<usize> = ring.owners(name).collect();
            let is_home = owners.iter().any(|owner| ring.nodes()[*owner].host() == self.host);
            let owners = owners.iter().map(|owner| ring.nodes()[*owner].to_string()).collect();
            (!is_home).then(|| MisplacedLine {
                metric: name.parse().unwrap(),
                owners,
                bytes: None,
                series: None,
            })
        };
        Reply::lines(&self.metrics.iter().filter_map(line).collect::<Vec<_>>())
    }
}

/// A ring of two hosts, and names that belong to the first and to the second.
fn two() -> (RingDocument, Vec<&'static str>, Vec<&'static str>) {
    let document = document(&["127.0.31.1:2003=a", "127.0.31.2:2003=b"]);
    let ring = Ring::new(document.to_spec().unwrap()).unwrap();
    let names =
        ["app.a", "app.b", "app.c", "app.d", "app.e", "app.f", "app.g", "app.h", "app.i", "app.j"];
    let (first, second) = names.into_iter().partition(|name| ring.owner(name) == 0);
    (document, first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_all_nodes_are_one_list_in_which_doubles_stand_twice() {
    let (ring, ..) = two();
    let go = Node { is_go: true, ..node("127.0.31.2", &ring, &["b", "a", "a", "c.d"]) };
    let host = cluster(vec![node("127.0.31.1", &ring, &["a", "c"]), go]).await.to_string();
    let (outcome, data, _) = bucky(&["list", "-h", &host]).await;
    assert_eq!((outcome, data.as_str()), (Outcome::Done, "a\na\nb\nc\nc.d\n"));
    let (_, data, _) = bucky(&["list", "-j", "-h", &host, "c", "nope"]).await;
    assert_eq!(data, "[\n\t\"c\"\n]\n");
    let (_, data, _) = bucky(&["list", "-j", "nope", "-h", &host]).await;
    assert_eq!(data, "[]\n");
    let (_, data, _) = bucky(&["list", "-l", "a", "b", "-h", &host]).await;
    let port = host.rsplit_once(':').unwrap().1;
    assert_eq!(data, format!("127.0.31.1:{port}: a\n127.0.31.2:{port}: a\n127.0.31.2:{port}: b\n"));
    let (_, data, _) = bucky(&["list", "-l", "-j", "c", "-h", &host]).await;
    assert_eq!(
        data,
        format!(
            "{{\n\t\"127.0.31.1:{port}\": [\n\t\t\"c\"\n\t],\n\t\"127.0.31.2:{port}\": []\n}}\n"
        )
    );
}

/// D7: the Go tool takes -s and asks all nodes.
#[tokio::test(flavor = "multi_thread")]
async fn with_s_one_node_is_asked_and_no_other() {
    let ring = document(&["127.0.32.1:2003=a", "127.0.32.2:2003=b"]);
    let mut other = node("127.0.32.2", &ring, &["elsewhere"]);
    other.ring.algo = "fnv1a".into();
    let host = cluster(vec![node("127.0.32.1", &ring, &["here"]), other]).await.to_string();
    let (outcome, data, _) = bucky(&["list", "-s", "-h", &host]).await;
    assert_eq!((outcome, data.as_str()), (Outcome::Done, "here\n"));
}

/// D4: if a member is down, every command of the Go tool panics.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_node_down_the_others_are_shown_and_the_exit_code_is_3() {
    let ring = document(&["127.0.33.1:2003=a", "127.0.33.2:2003=b"]);
    let host = cluster(vec![node("127.0.33.1", &ring, &["here"])]).await.to_string();
    for command in ["list", "inconsistent", "servers"] {
        let (outcome, data, people) = bucky(&[command, "-h", &host]).await;
        assert_eq!(outcome, Outcome::Unhealthy, "{command}: {people}");
        let printed = people + &data;
        assert!(printed.contains("127.0.33.2:"), "{command}: {printed}");
        assert!(printed.contains(" is down (is buckyd running"), "{command}: {printed}");
    }
    assert_eq!(bucky(&["list", "-h", &host]).await.1, "here\n");
    for command in [&["locate", "x"][..], &["rebalance"]] {
        let (outcome, data, people) = bucky(&[command, &["-h", &host]].concat()).await;
        assert_eq!((outcome, data.as_str()), (Outcome::Unhealthy, ""), "{people}");
        assert!(people.contains("127.0.33.2"), "{people}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_located_or_moved_where_rings_differ() {
    let ring = document(&["127.0.34.1:2003=a", "127.0.34.2:2003=b"]);
    let mut other = node("127.0.34.2", &ring, &[]);
    other.ring.nodes[1].instance = "c".into();
    let host = cluster(vec![node("127.0.34.1", &ring, &[]), other]).await.to_string();
    for command in [&["locate", "x"][..], &["rebalance"]] {
        let (outcome, _, people) = bucky(&[command, &["-h", &host]].concat()).await;
        assert_eq!(outcome, Outcome::Unhealthy);
        assert!(people.contains("node 2: instance \"b\", there \"c\""), "{people}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn misplaced_metrics_are_reported_by_nodes_or_placed_here_for_go_daemons() {
    let (mut ring, first, second) = two();
    for node in &mut ring.nodes {
        node.server = node.server.replace("31", "35");
    }
    let ours = Ring::new(ring.to_spec().unwrap()).unwrap();
    let (first, second): (Vec<&str>, Vec<&str>) =
        first.into_iter().chain(second).partition(|name| ours.owner(name) == 0);
    let mut listed = vec!["carbon.agents.x.cpu", ".dot"];
    listed.extend([first[0], second[0]]);
    let go = Node { is_go: true, ..node("127.0.35.2", &ring, &listed) };
    let host =
        cluster(vec![node("127.0.35.1", &ring, &[first[1], second[1]]), go]).await.to_string();
    let port = host.rsplit_once(':').unwrap().1;
    let (outcome, data, people) = bucky(&["inconsistent", "-h", &host]).await;
    let expected = format!("127.0.35.1:{port}: {}\n127.0.35.2:{port}: {}\n", second[1], first[0]);
    assert_eq!((outcome, data), (Outcome::Done, expected), "{people}");
    // D31: a name that would mean another file.
    assert!(people.contains("lists \".dot\""), "{people}");
    let (_, data, _) = bucky(&["inconsistent", "-j", "-h", &host]).await;
    let expected = format!(
        "{{\"127.0.35.1:{port}\":[\"{}\"],\"127.0.35.2:{port}\":[\"{}\"]}}\n",
        second[1], first[0]
    );
    assert_eq!(data, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_added_up_over_pages_that_lost_metrics() {
    let ring = document(&["127.0.36.1:2003=a"]);
    let mut gone = node("127.0.36.1", &ring, &["a", "b", "c"]);
    gone.vanished = vec!["c"];
    let host = cluster(vec![gone]).await.to_string();
    let (outcome, data, _) = bucky(&["du", "-r", ".", "-h", &host]).await;
    assert_eq!((outcome, data.as_str()), (Outcome::Done, "200 Bytes\n0.00 MiB\n0.00 GiB\n"));
    let (_, data, _) = bucky(&["stat", "-r", ".", "-h", &host]).await;
    assert_eq!(data, "0.10KiB\t1970-01-01T00:00:00Z\ta\n0.10KiB\t1970-01-01T00:00:00Z\tb\n");
}

/// D19, D47: mistakes for which the Go tool exits 0, or takes all metrics.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_refused_before_anybody_is_asked() {
    for words in [
        &["list", "-r", "", "-h", "127.0.37.1:1"][..],
        &["list", "-j", "-r", "a(", "-h", "127.0.37.1:1"],
        &["du", "-h", "127.0.37.1:1"],
        &["inconsistent", "name", "-h", "127.0.37.1:1"],
        &["inconsistent", "-go-carbon-prefix", "", "-h", "127.0.37.1:1"],
        &["rebalance", "-r", "", "-h", "127.0.37.1:1"],
        &["rebalance", "--encoding", "rot13", "-h", "127.0.37.1:1"],
        &["rebalance", "-h", "a:b"],
        &["nosuch"],
        &[],
    ] {
        let (outcome, data, people) = bucky(words).await;
        assert_eq!((outcome, data.as_str()), (Outcome::Usage, ""), "{words:?}: {people}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_not_a_failure() {
    struct Closed(Arc<Mutex<usize>>);
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            *self.0.lock().unwrap() += 1;
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let tries = Arc::new(Mutex::new(0));
    let (_, _, people) = Output::captured();
    let output = Output::to_writers(Box::new(Closed(Arc::clone(&tries))), Box::new(people.clone()));
    let words = ["json", "a"].map(OsString::from);
    let outcome =
        tokio::task::spawn_blocking(move || crate::run_with(words, output)).await.unwrap();
    assert_eq!((outcome, people.text().as_str(), *tries.lock().unwrap()), (Outcome::Done, "", 1));
}

/// Nothing was listed or moved, so it is not a partial failure.
#[tokio::test]
async fn a_node_that_cannot_scan_again_is_an_unhealthy_cluster() {
    let ring = document(&["127.0.5.31"]);
    let addr = daemon_at("127.0.5.31:0", move |request| match request.route() {
        "/hashring" => Reply::ok(ring.to_json()),
        "/v1/status" => Reply::ok(serde_json::to_string(&status("127.0.5.31", "s")).unwrap()),
        _ => Reply::status(400),
    })
    .await;
    let host = addr.to_string();
    for command in ["list", "inconsistent", "rebalance"] {
        let (outcome, _, people) = bucky(&[command, "-h", &host, "-f"]).await;
        assert_eq!(outcome, Outcome::Unhealthy, "{command}: {people}");
        assert!(people.contains(&format!("no new scan on {host}")), "{people}");
    }
}
