//! `kill -9` of source daemon, destination daemon and client at moments of chance, many times in one move, while a carbon
//! writes: nothing is lost, nothing is half made, and the command run again ends the move.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bucky_tests::metrics::{MINUTES, minutes, newest_minute, now};
use bucky_tests::{Ledger, Node, Running, TestCluster, peer, soak};
use bucky_whisper::{OpenError, OpenMode, Point, WhisperFile};
use fastrand::Rng;
use rustix::process::Signal;

use crate::cluster;
use crate::crash::assert_nothing_is_half_made;

/// Nodes of the old ring; one more is new.
const OLD_NODES: usize = 3;
/// Metrics of all layouts, which nobody writes to during the move.
const RESTING: usize = 1200;
/// Metrics that are written to all the time.
const BUSY: usize = 200;
/// Kills in one move; then it may end.
const KILLS_A_MOVE: usize = 25;
/// How their names begin: a move goes through the names in order, and is to meet busy ones all the time.
const BUSY_STEMS: [&str; 8] =
    ["a", "p", "servers.e", "servers.z", "shop.b", "shop.p", "shop.x", "z"];
/// Runs that may be needed after the last kill: a busy file may be written to in each of a run's attempts at it.
const LAST_RUNS: usize = 10;

#[test]
fn kills_at_moments_of_chance_lose_nothing() {
    let wanted = soak::rounds(20, 200);
    let mut rng = Rng::with_seed(soak::seed("kills"));
    let (mut killed, mut moves, mut points) = (Killed::default(), 0, 0);
    while killed.total() < wanted {
        let limit = KILLS_A_MOVE.min(wanted - killed.total());
        let (of_move, looked_at) = Move::lay(rng.fork()).run(limit);
        killed.add(&of_move);
        points += looked_at;
        moves += 1;
    }
    let Killed { sources, destinations, clients } = killed;
    let events = format!(
        "{} kill -9: {sources} of sources, {destinations} of destinations, {clients} of clients",
        killed.total()
    );
    soak::record("kills", moves, &events, points);
}

/// How often whom.
#[derive(Clone, Copy, Debug, Default)]
struct Killed {
    sources: usize,
    destinations: usize,
    clients: usize,
}

impl Killed {
    fn total(&self) -> usize {
        self.sources + self.destinations + self.clients
    }

    fn add(&mut self, other: &Self) {
        self.sources += other.sources;
        self.destinations += other.destinations;
        self.clients += other.clients;
    }
}

/// One cluster that grows from three nodes to four.
struct Move {
    cluster: TestCluster,
    before: Ledger,
    /// Metrics that a carbon writes to, with the paths of the nodes' files: the old owner's first, then the new one's.
    busy: BTreeMap<String, [std::path::PathBuf; 2]>,
    /// The newest slot, in Unix seconds. All points are counted back from it: were the clock asked again where a minute has
    /// passed, the gaps that are written to would be the slots that have points.
    newest: u32,
    rng: Rng,
}

impl Move {
    fn lay(rng: Rng) -> Self {
        let newest = newest_minute();
        let mut cluster = cluster(OLD_NODES + 1).lay();
        cluster.scatter(RESTING, &cluster.ring_of_first(OLD_NODES));
        let of_stem = |stem| cluster.names_owned_by(OLD_NODES, stem, BUSY / BUSY_STEMS.len());
        let names: Vec<String> = BUSY_STEMS.into_iter().flat_map(of_stem).collect();
        for (number, name) in names.iter().enumerate() {
            cluster.node(number % OLD_NODES).write(name, &MINUTES, &every_other_minute(newest));
            // Some are at the new owner already, from a relay that failed over.
            if number.is_multiple_of(3) {
                let there = minutes(newest - 7200, [3.0, 4.0]);
                cluster.node(OLD_NODES).write(name, &MINUTES, &there);
            }
        }
        let paths = |(number, name): (usize, &String)| {
            let [old, new] = [number % OLD_NODES, OLD_NODES].map(|n| cluster.node(n).path(name));
            (name.clone(), [old, new])
        };
        let busy = names.iter().enumerate().map(paths).collect();
        cluster.start();
        let before = cluster.ledger();
        Self { cluster, before, busy, newest, rng }
    }

    /// Kills until `limit` is reached or the move has ended; gives who was killed and how many points were looked for.
    fn run(mut self, limit: usize) -> (Killed, u64) {
        let (stop, written) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let (busy, of_writer) = (std::mem::take(&mut self.busy), self.rng.fork());
        let mut killed = Killed::default();
        let newest = self.newest;
        std::thread::scope(|scope| {
            scope.spawn(|| write_until(&stop, newest, &busy, &written, of_writer));
            // The writer ends also where this fails.
            let _stop = StopOnDrop(&stop);
            let mut run = self.start();
            while killed.total() < limit {
                std::thread::sleep(Duration::from_millis(self.rng.u64(0..150)));
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
        });
        let written = written.into_inner().unwrap();
        let ended = (0..LAST_RUNS).any(|_| self.start().finish().code == Some(0));
        assert!(ended, "{LAST_RUNS} more runs did not end the move");
        self.cluster.assert_all_in_place(&self.before);
        let looked_at = self.before.points() + self.look_for(&written);
        self.let_whisper_py_read();
        (killed, looked_at)
    }

    fn start(&mut self) -> Running {
        let workers = self.rng.usize(1..3).to_string();
        let batch = self.rng.usize(1..8).to_string();
        let journal = self.cluster.path("journal");
        let mut args = vec!["rebalance", "-w", &workers, "--batch-metrics", &batch];
        if self.rng.bool() {
            args.extend(["--journal", journal.to_str().unwrap()]);
        }
        self.cluster.start_bucky(&args)
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
        assert_nothing_is_half_made(&self.cluster);
        std::thread::sleep(Duration::from_millis(self.rng.u64(0..200)));
        self.cluster.node_mut(victim).start();
        run
    }

    /// Wants every written point in its owner's file, and gives how many there are.
    fn look_for(&self, written: &[(String, Point)]) -> u64 {
        let after = self.cluster.ledger();
        let owner = self.cluster.node(OLD_NODES).host();
        for (name, point) in written {
            let points = after.archive(name, owner, 60).unwrap();
            assert!(points.contains(point), "{name}: {point:?} was acknowledged and is gone");
        }
        written.len() as u64
    }

    fn let_whisper_py_read(&self) {
        let of_node =
            |node: &Node| node.metrics().iter().map(|name| node.path(name)).collect::<Vec<_>>();
        let files: Vec<_> = self.cluster.nodes().iter().flat_map(of_node).collect();
        assert_eq!(peer::read(&files, now()).len(), RESTING + BUSY);
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A day of points up to `newest`, so many that the few which a tombstone's owner is asked for are a small part.
fn every_other_minute(newest: u32) -> Vec<Point> {
    minutes(newest, (0..1400).map(f64::from)).into_iter().step_by(2).collect()
}

/// Writes to the busy metrics in turn, each slot before `newest` that has no point once, until it is told to stop: to the
/// old owner's file while it is there, as a relay with the old ring lets carbon do, and else to the new one's. What was
/// written is noted after it is.
fn write_until(
    stop: &AtomicBool,
    newest: u32,
    busy: &BTreeMap<String, [std::path::PathBuf; 2]>,
    written: &Mutex<Vec<(String, Point)>>,
    mut rng: Rng,
) {
    // In no order: what a tombstone's owner is asked for, its oldest and newest points among them, is not just these.
    let mut ages: Vec<u32> = (151..1300).step_by(2).collect();
    rng.shuffle(&mut ages);
    for age in ages {
        for (name, paths) in busy {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
            let point = Point { timestamp: newest - age * 60, value: f64::from(age) };
            let wrote = paths.iter().any(|path| {
                match WhisperFile::open(path, OpenMode::Update, Duration::from_secs(20)) {
                    Ok(mut file) => file.update_many(&[point], now()).map(|_| true).unwrap(),
                    Err(OpenError::Open { .. }) => false,
                    Err(error) => panic!("{error}"),
                }
            });
            if wrote {
                written.lock().unwrap().push((name.clone(), point));
            }
        }
    }
}
