//! Random sources and owners with different storage schemas: many pairs of layouts, moved by real daemons.
//!
//! For each point of each source an independent reader decides what happened to it: its owner's file holds
//! it, or the source still exists and the run has reported the metric. Only the policy may allow another
//! result.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bucky_tests::layout_account::{Account, SchemaPolicy, Times};
use bucky_tests::layout_pair::LayoutPair;
use bucky_tests::plain_file::PlainFile;
use bucky_tests::{Clock, Node, TestCluster, metrics, soak, tree, wait};
use fastrand::Rng;
use serde_json::Value;

use crate::cluster;

/// Pairs in one cluster.
const PAIRS: usize = 50;
/// How many problems a failed test shows.
const PROBLEMS_SHOWN: usize = 12;
/// The age of the files' last write: so none of them is about to get its first point.
const WRITTEN_AGO: Duration = Duration::from_secs(3_600);

const POLICIES: [SchemaPolicy; 4] =
    [SchemaPolicy::Keep, SchemaPolicy::Reshape, SchemaPolicy::Coarsen, SchemaPolicy::Drop];

/// How many seconds the clock of one node is ahead: less than `--max-clock-difference`, and several steps.
const AHEAD: [i64; 3] = [0, 20, -20];

#[test]
fn every_point_of_a_pair_of_layouts_is_held_kept_or_reported() {
    let mut rng = Rng::with_seed(soak::seed("layouts"));
    let mut sums = Sums::default();
    let clusters = soak::rounds(4, 40);
    for number in 0..clusters {
        let policy = POLICIES[number % POLICIES.len()];
        Pairs::lay(&mut rng, policy, AHEAD[number % AHEAD.len()]).run(&mut sums);
    }
    let Sums { moved, kept, waiting, points, held } = sums;
    assert!(moved > 0 && kept > 0, "{moved} moved, {kept} kept: such pairs prove nothing");
    let pairs = moved + kept;
    let events = format!(
        "{pairs} pairs of layouts: {moved} moved ({waiting} tombstones wait), {kept} kept; {held} points held"
    );
    soak::record("layouts", clusters, &events, points);
}

/// The sums over all clusters.
#[derive(Default)]
struct Sums {
    moved: usize,
    kept: usize,
    /// Metrics that were moved, with a tombstone that waits.
    waiting: usize,
    /// Points of sources that were checked.
    points: u64,
    /// Of these, the points that an owner holds.
    held: u64,
}

/// A cluster of two nodes, each of which has sources that belong to the other.
struct Pairs {
    cluster: TestCluster,
    policy: SchemaPolicy,
    ahead: i64,
    /// When its files were written, by the clock that is behind.
    laid: u32,
    /// By name, with the source's number.
    pairs: BTreeMap<String, (usize, LayoutPair)>,
}

impl Pairs {
    fn lay(rng: &mut Rng, policy: SchemaPolicy, ahead: i64) -> Self {
        let mut cluster = cluster(2).lay();
        if ahead != 0 {
            cluster.node_mut(1).set_clock(Clock::Ahead(ahead));
        }
        let now = metrics::now();
        let mut pairs = BTreeMap::new();
        for owner in [0, 1] {
            let source = 1 - owner;
            for name in cluster.names_owned_by(owner, "pair", PAIRS / 2) {
                let pair = LayoutPair::random(rng, now);
                put(&cluster, source, &name, &pair.source);
                if let Some(file) = &pair.owner {
                    put(&cluster, owner, &name, file);
                }
                pairs.insert(name, (source, pair));
            }
        }
        Self { cluster, policy, ahead, laid: behind(now, ahead), pairs }
    }

    /// Waits until each tombstone is gone, or waits because points have no place: a point may have left the
    /// owner's shorter window between the receipt and the confirmation. Returns the metrics of the waiting
    /// ones.
    fn wait_until_settled(&self) -> Vec<String> {
        wait::until("the tombstones are gone, or wait for want of a place", || {
            (0..2).all(|node| {
                let tombstones = &self.cluster.get(node, "/v1/status").json()["tombstones"];
                let held = tombstones["held"].as_array().map_or(&[][..], Vec::as_slice);
                let no_place = held.iter().filter(|held| {
                    held["reason"].as_str().is_some_and(|reason| reason.contains("no place"))
                });
                let held: u64 = no_place.filter_map(|held| held["count"].as_u64()).sum();
                tombstones["waiting"].as_u64() == Some(held)
            })
        });
        let prefixes = self.cluster.nodes().iter().map(Node::prefix);
        prefixes.flat_map(|prefix| tombstones(&prefix)).collect()
    }

    fn run(mut self, sums: &mut Sums) {
        self.cluster.start();
        let errors = self.cluster.path("errors");
        let args = ["rebalance", "--errors", errors.to_str().unwrap()];
        let run = self.cluster.bucky(&[&args, self.policy.args()].concat());
        let waiting = self.wait_until_settled();
        let errors = std::fs::read_to_string(errors).unwrap_or_default();
        let now = metrics::now();
        let (mut problems, mut kept) = (Vec::new(), 0);
        for (name, (source, pair)) in &self.pairs {
            let [left, owned] = [*source, 1 - *source].map(|node| read(&self.cluster, node, name));
            if waiting.contains(name) {
                // Nothing is lost yet, and the status gives the reason for waiting.
                sums.waiting += 1;
                continue;
            }
            let report = errors.lines().find(|line| line.contains(&format!("\t{name}\t")));
            let owners_end = if *source == 0 { shown(now, self.ahead) } else { now };
            let times = Times { laid: self.laid, end: behind(now, self.ahead), owners_end };
            let account = Account::of(pair, owned.as_ref(), times);
            sums.points += account.points;
            sums.held += account.held;
            kept += usize::from(left.is_some());
            for problem in account.problems(self.policy, pair, left.as_ref(), report.is_some()) {
                let (pair, account) = (pair.description(), account.summary());
                let report = report.unwrap_or("not reported");
                problems.push(format!(
                    "{name}, {:?}, {} s: {problem} ({pair}; {account})\n  {report}",
                    self.policy, self.ahead
                ));
            }
        }
        sums.kept += kept;
        sums.moved += self.pairs.len() - kept;
        let shown: Vec<_> = problems.iter().take(PROBLEMS_SHOWN).cloned().collect();
        assert!(problems.is_empty(), "{} problems:\n{}\n{run}", problems.len(), shown.join("\n"));
        run.assert_code(i32::from(kept > 0));
    }
}

/// The metrics with a tombstone below `prefix`.
fn tombstones(prefix: &Path) -> Vec<String> {
    let files = tree::tombstones(prefix);
    let named = files.iter().filter_map(|path| {
        let seq: u64 = path.file_name()?.to_str()?.parse().ok()?;
        let manifest = std::fs::read_to_string(path.with_file_name("manifest")).ok()?;
        let mut lines =
            manifest.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["seq"] == seq)?;
        Some(line["metric"].as_str()?.to_owned())
    });
    named.collect()
}

/// The time by the clock that is behind, if node 1 is `ahead`.
fn behind(now: u32, ahead: i64) -> u32 {
    shown(now, ahead.min(0))
}

/// The time on a clock that is `ahead` seconds ahead.
fn shown(now: u32, ahead: i64) -> u32 {
    u32::try_from(i64::from(now) + ahead).unwrap()
}

fn put(cluster: &TestCluster, node: usize, name: &str, file: &PlainFile) {
    let node = cluster.node(node);
    node.put(name, &file.encode());
    let file = File::options().write(true).open(node.path(name)).unwrap();
    file.set_modified(SystemTime::now() - WRITTEN_AGO).unwrap();
}

fn read(cluster: &TestCluster, node: usize, name: &str) -> Option<PlainFile> {
    let path = cluster.node(node).path(name);
    path.exists().then(|| PlainFile::decode(&std::fs::read(path).unwrap()))
}
