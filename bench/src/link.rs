//! A cluster grows from three nodes to four over a slow link with a long round trip: how much of it a
//! rebalance uses.
//!
//! Everything that the old nodes send shares the new node's link of 1 Gbit/s, with a round trip of 20 ms. The
//! link is the bench's own proxy, because not every kernel has netem. Its throughput for plain TCP
//! connections is reported too, to show its own limit.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use bucky_tests::{ClusterPlan, Link, LinkSpec, Node, TestCluster, tree, wait};

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::lay::{self, LARGE};
use crate::measure::{self, Cost};
use crate::table::{Table, say};

/// The new node.
const NEW: usize = 3;
/// How many metrics the full bench has before the cluster grows; about a quarter of them moves.
const METRICS: u32 = 20_000;
/// 1 Gbit/s, 20 ms.
const SPEC: LinkSpec =
    LinkSpec { round_trip: Duration::from_millis(20), bytes_per_second: 125_000_000 };
/// How many bytes each of the plain connections sends.
const PLAIN_BYTES: usize = 64 << 20;
/// How many plain connections there are: as many as batches in parallel by default.
const PLAIN_CONNECTIONS: usize = 8;
const PLAIN: Figure = Figure::ratio("link: plain TCP through the proxy / 1 Gbit/s", Bar::None);
const SHARE: Figure = Figure::ratio("link: bytes on the wire / 1 Gbit/s", Bar::AtLeast(0.8));

/// How files are encoded.
struct LinkEncoding {
    encoding: &'static str,
    time: Figure,
    cpu: Figure,
    wire: Figure,
}

const WAYS: [LinkEncoding; 3] = [
    LinkEncoding {
        encoding: "identity",
        time: unbarred("link: identity, time", "s"),
        cpu: unbarred("link: identity, processors", "s"),
        wire: unbarred("link: identity, on the wire", "MB"),
    },
    LinkEncoding {
        encoding: "auto",
        time: unbarred("link: auto, time", "s"),
        cpu: unbarred("link: auto, processors", "s"),
        wire: unbarred("link: auto, on the wire", "MB"),
    },
    LinkEncoding {
        encoding: "zstd",
        time: unbarred("link: zstd, time", "s"),
        cpu: unbarred("link: zstd, processors", "s"),
        wire: unbarred("link: zstd, on the wire", "MB"),
    },
];

const fn unbarred(name: &'static str, unit: &'static str) -> Figure {
    Figure { name, unit, bar: Bar::None }
}

/// Measures the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    if !table.wants_any(&[PLAIN, SHARE]) && !WAYS.iter().any(|way| way.is_wanted(table)) {
        return;
    }
    let mut moves = LinkMoves::lay(plan);
    for _ in 0..plan.runs {
        table.add(&PLAIN, plain());
        for way in &WAYS {
            moves.restore();
            let run = moves.run(way.encoding);
            table.add(&way.time, run.cost.wall.as_secs_f64());
            table.add(&way.cpu, run.cost.cpu.as_secs_f64());
            table.add(&way.wire, float(run.bytes) / 1e6);
            if way.encoding == "identity" {
                table.add(&SHARE, run.share());
            }
        }
    }
}

impl LinkEncoding {
    fn is_wanted(&self, table: &Table) -> bool {
        table.wants_any(&[self.time, self.cpu, self.wire])
    }
}

/// The result of a rebalance.
struct LinkRun {
    cost: Cost,
    /// How many bytes the nodes' answers had on the wire.
    bytes: u64,
}

impl LinkRun {
    fn share(&self) -> f64 {
        float(self.bytes) / self.cost.wall.as_secs_f64() / float(SPEC.bytes_per_second)
    }
}

struct LinkMoves {
    cluster: TestCluster,
    /// The metrics that move: the node that has each, and its number.
    moving: Vec<(usize, usize)>,
    contents: Vec<Vec<u8>>,
}

impl LinkMoves {
    fn lay(plan: &Plan) -> Self {
        let count = plan.scaled(METRICS);
        let cluster = ClusterPlan::of(plan.programs, 4).link(SPEC).lay();
        let old = cluster.ring_of_first(3);
        let moving: Vec<(usize, usize)> = (0..count)
            .filter(|&number| cluster.ring().owner(lay::name(number).as_str()) == NEW)
            .map(|number| (old.owner(lay::name(number).as_str()), number))
            .collect();
        say(&format!("link: {} metrics move", moving.len()));
        let contents = (0..16).map(|seed| lay::content(&LARGE, seed, |_, _| true)).collect();
        Self { cluster, moving, contents }
    }

    /// Writes the metrics that move to their old nodes.
    fn restore(&self) {
        let _ = std::fs::remove_dir_all(self.cluster.node(NEW).prefix());
        for &(node, number) in &self.moving {
            let content = &self.contents[number % self.contents.len()];
            lay::write(&self.cluster.node(node).prefix(), &lay::name(number), content);
        }
        measure::shell("sync");
    }

    /// Runs a rebalance; the time that its tombstones wait is not counted.
    fn run(&mut self, encoding: &str) -> LinkRun {
        self.cluster.start();
        let pids: Vec<u32> = self.cluster.nodes().iter().map(Node::pid).collect();
        let spent = || -> Duration { pids.iter().filter_map(|&pid| measure::cpu(pid)).sum() };
        let (before, bytes) = (spent(), self.cluster.link().answered_bytes());
        let mut bucky = Command::new(self.cluster.programs().bucky);
        bucky.args(["rebalance", "--encoding", encoding, "-h", &self.cluster.node(0).addr()]);
        bucky.stderr(std::fs::File::create(self.cluster.path("bucky.log")).unwrap());
        let mut cost = measure::run(bucky);
        let bytes = self.cluster.link().answered_bytes() - bytes;
        cost.cpu += spent().saturating_sub(before);
        let nodes = self.cluster.nodes();
        wait::until("all tombstones are gone", || {
            nodes.iter().all(|node| tree::tombstones(&node.prefix()).is_empty())
        });
        let moved = self.cluster.node(NEW).metrics().len();
        assert_eq!(moved, self.moving.len(), "not all of it was moved");
        for node in 0..pids.len() {
            self.cluster.node_mut(node).stop();
        }
        LinkRun { cost, bytes }
    }
}

/// The share of the link that plain connections use.
fn plain() -> f64 {
    let link = Link::new(SPEC);
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    link.stand_before(door, sink.local_addr().unwrap());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..PLAIN_CONNECTIONS {
            let mut taken = TcpStream::connect(door).unwrap();
            let (mut sent, _) = sink.accept().unwrap();
            scope.spawn(move || {
                let piece = vec![7; 256 * 1024];
                (0..PLAIN_BYTES / piece.len()).for_each(|_| sent.write_all(&piece).unwrap());
            });
            scope.spawn(move || {
                let mut buffer = vec![0; 256 * 1024];
                while taken.read(&mut buffer).unwrap() > 0 {}
            });
        }
    });
    float(link.answered_bytes()) / begun.elapsed().as_secs_f64() / float(SPEC.bytes_per_second)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}
