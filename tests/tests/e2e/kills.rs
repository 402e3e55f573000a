//! `kill -9` of source daemon, destination daemon and client at random moments, many times in one move, while
//! carbons write on all nodes: nothing is lost, no file is half written, and running the command again
//! finishes the move.
//!
//! In some moves all nodes create equal files. In the others the new owner already has many metrics with
//! other schemas, and their files are reshaped between the kills.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bucky_tests::layout_account::SchemaPolicy;
use bucky_tests::metrics::{MINUTES, now};
use bucky_tests::schema::MIXED;
use bucky_tests::{
    Ledger, Node, Route, Running, Schemas, TestCluster, WriterOptions, Writers, Written, peer,
    soak, tree,
};
use fastrand::Rng;
use rustix::process::Signal;

use crate::cluster;
use crate::crash::assert_nothing_is_half_made;

/// Nodes of the old ring; one more node is new.
const OLD_NODES: usize = 3;
/// Metrics of all layouts that are not written to during the move.
const RESTING: usize = 1200;
/// Metrics that are written to all the time.
const BUSY: usize = 200;
/// The number of kills in one move; then it may finish.
const KILLS_A_MOVE: usize = 25;
/// The beginnings of their names: a move goes through the names in order, and should meet busy ones all the
/// time.
const BUSY_STEMS: [&str; 8] =
    ["a", "p", "servers.e", "servers.z", "shop.b", "shop.p", "shop.x", "z"];
/// One in this many metrics is on the new owner already, after a relay's failover.
const THERE_ALREADY: usize = 3;
/// How many runs may be needed after the last kill: a metric may be written to in every attempt of a run.
const LAST_RUNS: usize = 10;
/// How long each writer pauses after a write.
const PAUSE: Duration = Duration::from_millis(3);
/// Grace times, in seconds: a writer without locks may be delayed for a moment between its open and its
/// write.
const GRACES: [&str; 2] = ["1", "2"];

#[test]
fn kills_at_moments_of_chance_lose_nothing() {
    let wanted = soak::rounds(20, 200);
    let mut rng = Rng::with_seed(soak::seed("kills"));
    let (mut killed, mut points) = ([Killed::default(), Killed::default()], 0);
    let mut moves = [0, 0];
    while killed.iter().map(Killed::total).sum::<usize>() < wanted {
        let reshapes = moves[0] <= moves[1];
        let which = usize::from(!reshapes);
        let limit = KILLS_A_MOVE.min(wanted - killed.iter().map(Killed::total).sum::<usize>());
        let (of_move, looked_at) = Move::lay(rng.fork(), reshapes).run(limit);
        killed[which].add(&of_move);
        points += looked_at;
        moves[which] += 1;
    }
    let counts = ["reshaping", "of equal layouts"].into_iter().zip(moves).zip(&killed);
    let counts: Vec<String> = counts
        .filter(|((_, moves), _)| *moves > 0)
        .map(|((kind, moves), killed)| {
            let Killed { sources, destinations, clients, amid, unswept } = killed;
            format!(
                "{moves} moves {kind}: {} kill -9: {sources} of sources, {destinations} of destinations ({amid} with a file in \
                 the making, {unswept} with old files unswept), {clients} of clients",
                killed.total()
            )
        })
        .collect();
    soak::record("kills", moves.iter().sum(), &counts.join("; "), points);
}

/// How many times each process was killed.
#[derive(Clone, Copy, Debug, Default)]
struct Killed {
    sources: usize,
    destinations: usize,
    clients: usize,
    /// Of the destinations: with a file in progress.
    amid: usize,
    /// Of the destinations: with old files of reshaped metrics that were not confirmed yet.
    unswept: usize,
}

impl Killed {
    fn total(&self) -> usize {
        self.sources + self.destinations + self.clients
    }

    fn add(&mut self, other: &Self) {
        self.sources += other.sources;
        self.destinations += other.destinations;
        self.clients += other.clients;
        self.amid += other.amid;
        self.unswept += other.unswept;
    }
}

/// A cluster that grows from three nodes to four.
struct Move {
    cluster: TestCluster,
    /// The metrics that are not written to.
    before: Ledger,
    /// The metrics that are written to.
    written: Written,
    reshapes: bool,
    rng: Rng,
}

impl Move {
    fn lay(mut rng: Rng, reshapes: bool) -> Self {
        let grace = GRACES[rng.usize(..GRACES.len())];
        let mut cluster = cluster(OLD_NODES + 1).flag("--tombstone-grace", grace).lay();
        let old = cluster.ring_of_first(OLD_NODES);
        cluster.scatter(RESTING, &old);
        let of_stem = |stem| cluster.names_owned_by(OLD_NODES, stem, BUSY / BUSY_STEMS.len());
        let names: Vec<String> = BUSY_STEMS.into_iter().flat_map(of_stem).collect();
        let alike = [Schemas::same("m", MINUTES)];
        let mut written = Written::of(names, if reshapes { &MIXED } else { &alike });
        if reshapes {
            cluster.scatter_others(0..RESTING, OLD_NODES, THERE_ALREADY);
        }
        let before = cluster.ledger();
        written.lay_down(BUSY, &cluster, &old);
        written.lay_down_at(cluster.node(OLD_NODES), THERE_ALREADY, &cluster);
        cluster.start();
        let written = written.beside(before.names().cloned());
        Self { cluster, before, written, reshapes, rng }
    }

    /// Kills until `limit` is reached or the move has ended. Returns the kills, and how many points were
    /// checked.
    fn run(mut self, limit: usize) -> (Killed, u64) {
        let manner = WriterOptions { locks: self.rng.bool(), pause: PAUSE, seed: self.rng.u64(..) };
        let old = self.cluster.ring_of_first(OLD_NODES);
        let writers = Writers::start(&self.cluster, &self.written, &old, manner);
        let killed = self.kill_until(limit, &writers);
        let dropped = writers.stop(&mut self.written);
        // Files created since the last scan are in no list, and metrics that are done by a journal are not
        // checked again.
        let mut last_run = vec!["rebalance", "-f"];
        last_run.extend(self.policy());
        let ended = (0..LAST_RUNS).any(|_| self.cluster.bucky(&last_run).code == Some(0));
        assert!(ended, "{LAST_RUNS} more runs did not end the move ({manner:?}, {dropped:?})");
        let busy: Vec<_> = self.written.metrics().iter().map(|metric| &metric.name).collect();
        let resting = self.cluster.assert_all_in_place_except(&self.before, busy);
        let found = self.written.assert_in_place(&self.cluster);
        assert!(found.live > 0, "nothing was written");
        self.let_whisper_py_read();
        (killed, resting + found.looked_for)
    }

    /// Kills until `limit` is reached or the move has ended. The relays switch back and forth during this.
    fn kill_until(&mut self, limit: usize, writers: &Writers) -> Killed {
        let mut killed = Killed::default();
        let mut run = self.start();
        while killed.total() < limit {
            std::thread::sleep(Duration::from_millis(self.rng.u64(0..150)));
            writers.route([Route::Old, Route::Both, Route::New][self.rng.usize(..3)]);
            if !run.is_running() {
                let ended = run.finish();
                assert!(matches!(ended.code, Some(0 | 1 | 3)), "{ended}");
                if ended.code == Some(0) {
                    break;
                }
                run = self.start();
            }
            run = self.kill_one(run, &mut killed);
        }
        killed
    }

    fn start(&mut self) -> Running {
        let workers = self.rng.usize(1..3).to_string();
        let batch = self.rng.usize(1..8).to_string();
        let journal = self.cluster.path("journal");
        let mut args = vec!["rebalance", "-w", &workers, "--batch-metrics", &batch];
        args.extend(self.policy());
        if self.rng.bool() {
            args.push("-f");
        }
        if self.rng.bool() {
            args.extend(["--journal", journal.to_str().unwrap()]);
        }
        self.cluster.start_bucky(&args)
    }

    fn policy(&self) -> &'static [&'static str] {
        let policy = if self.reshapes { SchemaPolicy::Reshape } else { SchemaPolicy::Keep };
        policy.args()
    }

    /// Kills one of the three and starts it again.
    fn kill_one(&mut self, run: Running, killed: &mut Killed) -> Running {
        let victim = match self.rng.u32(0..10) {
            0..2 => {
                run.signal(Signal::KILL);
                assert!(matches!(run.finish().code, None | Some(0 | 1 | 3)));
                killed.clients += 1;
                assert_nothing_is_half_made(&self.cluster);
                return self.start();
            }
            2..6 => {
                killed.sources += 1;
                self.rng.usize(0..OLD_NODES)
            }
            _ => {
                killed.destinations += 1;
                OLD_NODES
            }
        };
        self.cluster.node_mut(victim).kill();
        if victim == OLD_NODES {
            let prefix = self.cluster.node(victim).prefix();
            killed.amid += usize::from(has_files(&prefix.join(".bucky/tmp")));
            killed.unswept += usize::from(!tree::tombstones(&prefix).is_empty());
        }
        assert_nothing_is_half_made(&self.cluster);
        std::thread::sleep(Duration::from_millis(self.rng.u64(0..200)));
        self.cluster.node_mut(victim).start();
        run
    }

    fn let_whisper_py_read(&self) {
        let of_node =
            |node: &Node| node.metrics().iter().map(|name| node.path(name)).collect::<Vec<_>>();
        let files: Vec<_> = self.cluster.nodes().iter().flat_map(of_node).collect();
        let read = peer::read(&files, now());
        assert_eq!(read.len(), files.len());
        let names: BTreeSet<String> = self.cluster.nodes().iter().flat_map(Node::metrics).collect();
        assert_eq!(names.len(), RESTING + BUSY);
    }
}

fn has_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}
