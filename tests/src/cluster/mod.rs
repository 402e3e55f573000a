//! A cluster of daemons on its own loopback addresses.

mod plan;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use bucky_ring::{Ring, RingDocument};
use bucky_whisper::MetricName;
use tempfile::TempDir;

pub use self::plan::{ClusterPlan, Programs};
use crate::address::Network;
use crate::http::{Answer, Http};
use crate::ledger::{Ledger, owner_hosts};
use crate::metrics::{self, LAYOUTS, OTHER_LAYOUTS};
use crate::node::Node;
use crate::program::{Finished, Running};
use crate::{Gate, Link, tree, wait};

/// The commands that keep a reserve of free space on the destinations.
const BULK: [&str; 5] = ["rebalance", "heal", "copy", "backfill", "backfill2"];
/// How many of a daemon's last log lines a failed test shows.
const LOG_LINES: usize = 150;

/// A cluster. Its daemons stop when it is dropped.
#[derive(Debug)]
pub struct TestCluster {
    nodes: Vec<Node>,
    ring: Ring,
    network: Network,
    plan: ClusterPlan,
    link: Option<Link>,
    // Removed last.
    folder: TempDir,
}

impl TestCluster {
    /// Starts all daemons that do not run.
    #[track_caller]
    pub fn start(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.daemon.is_none()) {
            node.start();
        }
    }

    /// The node with this number, from 0.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// The node with this number, to start or stop it.
    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    /// The node with this host.
    pub fn node_of(&self, host: &str) -> &Node {
        &self.nodes[self.number_of(host)]
    }

    /// The link between its nodes.
    ///
    /// # Panics
    /// If the cluster was planned without a link.
    pub fn link(&self) -> &Link {
        self.link.as_ref().expect("the plan of this cluster has a link")
    }

    /// The programs that it runs.
    pub fn programs(&self) -> Programs {
        self.plan.programs
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The ring of the daemons.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// A ring of only the first nodes, as before the cluster grew.
    pub fn ring_of_first(&self, nodes: usize) -> Ring {
        let hosts: Vec<String> = self.nodes[..nodes].iter().map(|node| node.host.clone()).collect();
        self.plan.ring(&self.plan.members(&hosts))
    }

    /// The numbers of the nodes that own a metric by the daemons' ring.
    pub fn owners(&self, metric: &str) -> Vec<usize> {
        let metric: MetricName = metric.parse().unwrap();
        let hosts = owner_hosts(&self.ring, &metric).expect("a metric that the ring places");
        hosts.iter().map(|host| self.number_of(host)).collect()
    }

    /// This many names, beginning with `stem`, whose first owner is the node `owner`.
    pub fn names_owned_by(&self, owner: usize, stem: &str, count: usize) -> Vec<String> {
        let names = (0..).map(|number| format!("{stem}.m{number:05}"));
        names.filter(|name| self.owners(name)[0] == owner).take(count).collect()
    }

    /// One name, beginning with `stem`, whose first owner is the node `owner`.
    pub fn name_owned_by(&self, owner: usize, stem: &str) -> String {
        self.names_owned_by(owner, stem, 1).remove(0)
    }

    /// Writes `count` metrics of all layouts to their owners in `ring`, with equal copies. All points are
    /// written as of the same second: otherwise a point at the end of a retention might be in one copy and
    /// not in the next.
    pub fn scatter(&self, count: usize, ring: &Ring) {
        self.scatter_some(0..count, ring);
    }

    /// Like [`Self::scatter`], for the metrics with these numbers.
    pub fn scatter_some(&self, numbers: Range<usize>, ring: &Ring) {
        let now = metrics::now();
        for number in numbers {
            let metric = metrics::name(number);
            let layout = &LAYOUTS[number % LAYOUTS.len()];
            let points = metrics::history(layout, now, number);
            for host in owner_hosts(ring, &metric).expect("a metric that the ring places") {
                let prefix = self.nodes[self.number_of(&host)].prefix();
                metrics::write_at(&prefix, &metric, layout, &points, now);
            }
        }
    }

    /// Of the metrics with these numbers that the node `owner` owns, writes every `nth` one on that node too,
    /// with other points and layouts.
    pub fn scatter_others(&self, numbers: Range<usize>, owner: usize, nth: usize) {
        let now = metrics::now();
        let owned =
            numbers.filter(|number| self.owners(metrics::name(*number).as_str()).contains(&owner));
        for number in owned.step_by(nth) {
            let layout = &OTHER_LAYOUTS[number % OTHER_LAYOUTS.len()];
            let points = metrics::history(layout, now, number + 1);
            let prefix = self.nodes[owner].prefix();
            metrics::write_at(&prefix, &metrics::name(number), layout, &points, now);
        }
    }

    fn number_of(&self, host: &str) -> usize {
        self.nodes.iter().position(|node| node.host == host).expect("a host of this cluster")
    }

    /// Opens another address for a node's daemon, until the returned gate is dropped.
    pub fn alias_of(&self, number: usize) -> Gate {
        Gate::open(self.network.alias(host_number(number)), self.nodes[number].addr)
    }

    /// Runs `bucky` with these arguments on the cluster, to its end.
    #[track_caller]
    pub fn bucky(&self, args: &[&str]) -> Finished {
        self.start_bucky(args).finish()
    }

    /// Starts `bucky` with these arguments on the cluster.
    pub fn start_bucky(&self, args: &[&str]) -> Running {
        self.start_bucky_at(&self.nodes[0].addr(), args)
    }

    /// Like [`Self::start_bucky`], with the address of the daemon that names the ring.
    pub fn start_bucky_at(&self, addr: &str, args: &[&str]) -> Running {
        Running::start(self.command_at(addr, args))
    }

    /// The command that runs `bucky` with these arguments on the cluster.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_at(&self.nodes[0].addr(), args)
    }

    fn command_at(&self, addr: &str, args: &[&str]) -> Command {
        let (command, rest) = args.split_first().expect("a command");
        let mut bucky = Command::new(self.plan.programs.bucky);
        bucky.arg(command);
        // `ring` is a group: its commands have the flags.
        let (group_command, rest) = rest.split_at(usize::from(*command == "ring"));
        bucky.args(group_command).arg("-h").arg(addr);
        if BULK.contains(command) && !rest.contains(&"--reserve") {
            // The disk of the tests may be fuller than a carbon's should ever be.
            bucky.args(["--reserve", "0"]);
        }
        bucky.args(rest);
        bucky
            .current_dir(self.folder.path())
            .env_remove("BUCKYHOST")
            .env("HOME", self.folder.path());
        bucky
    }

    /// Runs `bucky` with exactly these arguments.
    #[track_caller]
    pub fn bucky_alone(&self, args: &[&str]) -> Finished {
        let mut bucky = Command::new(self.plan.programs.bucky);
        bucky.args(args).env_remove("BUCKYHOST").env("HOME", self.folder.path());
        Running::start(bucky).finish()
    }

    /// The URL of `path`, which begins with `/`, on a node.
    pub fn url(&self, number: usize, path: &str) -> String {
        format!("http://{}{path}", self.nodes[number].addr)
    }

    /// Requests `path` from a node.
    #[track_caller]
    pub fn get(&self, number: usize, path: &str) -> Answer {
        Http::new().get(&self.url(number, path))
    }

    /// Sends JSON to a node.
    #[track_caller]
    pub fn post_json(&self, number: usize, path: &str, body: &serde_json::Value) -> Answer {
        Http::new().post(&self.url(number, path), "application/json", body.to_string())
    }

    /// A path of the cluster's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file with the ring document.
    pub fn ring_file(&self) -> PathBuf {
        let path = self.path("ring.json");
        std::fs::write(&path, RingDocument::from_spec("test", self.ring.spec()).to_json()).unwrap();
        path
    }

    /// Every point of every node.
    pub fn ledger(&self) -> Ledger {
        Ledger::read(&self.hosts())
    }

    fn hosts(&self) -> Vec<(String, PathBuf)> {
        self.nodes.iter().map(|node| (node.host.clone(), node.prefix())).collect()
    }

    /// The modification time of every metric's file, on every node: while it stays the same, no process
    /// writes.
    pub fn written(&self) -> Vec<(PathBuf, Option<SystemTime>)> {
        let of_node = |node: &Node| {
            let paths = node.metrics().into_iter().map(|name| node.path(&name));
            paths.collect::<Vec<PathBuf>>()
        };
        let files = self.nodes.iter().flat_map(of_node);
        // A file may have disappeared since it was listed.
        let written = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
        let with_time = |path: PathBuf| {
            let time = written(&path);
            (path, time)
        };
        files.map(with_time).collect()
    }

    /// Waits until no daemon has a tombstone.
    #[track_caller]
    pub fn wait_until_no_tombstones(&self) {
        wait::until("all tombstones are gone", || {
            self.nodes.iter().all(|node| tree::tombstones(&node.prefix()).is_empty())
        });
    }

    /// Waits until the tombstones are gone. Then checks that every metric is on its owners and nowhere else,
    /// that every point of `before` is in the owners' files, and that nothing below any prefix does not
    /// belong there.
    ///
    /// # Panics
    /// If any of these does not hold.
    #[track_caller]
    pub fn assert_all_in_place(&self, before: &Ledger) {
        self.assert_all_in_place_except(before, []);
    }

    /// The same check, except for metrics whose points the caller checks itself. Returns how many points were
    /// checked.
    ///
    /// # Panics
    /// If the check fails.
    #[track_caller]
    pub fn assert_all_in_place_except<'m>(
        &self,
        before: &Ledger,
        others: impl IntoIterator<Item = &'m MetricName>,
    ) -> u64 {
        self.wait_until_no_tombstones();
        let findings = before.compare(&self.ledger().without(others), &self.ring);
        assert!(findings.problems.is_empty(), "{}", listed(&findings.problems));
        assert!(findings.points > 0, "no point was looked at");
        self.assert_nothing_unexpected();
        findings.points
    }

    /// Checks that nothing below any prefix does not belong there. Folders that a move has emptied are
    /// removed a moment after their last tombstone.
    ///
    /// # Panics
    /// If something remains.
    #[track_caller]
    pub fn assert_nothing_unexpected(&self) {
        let unexpected_files = || -> Vec<PathBuf> {
            self.nodes.iter().flat_map(|node| tree::unexpected_files(&node.prefix())).collect()
        };
        let gone = wait::within(wait::LIMIT, || unexpected_files().is_empty().then_some(()));
        assert!(gone.is_some(), "does not belong there: {:?}", unexpected_files());
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                show(&format!("--- {}, the end of its log", node.host), &node.log());
            }
        }
    }
}

/// Checks that a node's folder is still as in `marks`.
///
/// # Panics
/// If anything in it has changed.
#[track_caller]
pub fn assert_untouched(marks: &std::collections::BTreeMap<PathBuf, tree::Mark>, prefix: &Path) {
    let now = tree::marks(prefix);
    let differs = |path: &&PathBuf| marks.get(*path) != now.get(*path);
    let touched: Vec<&PathBuf> = marks
        .keys()
        .chain(now.keys().filter(|path| !marks.contains_key(*path)))
        .filter(differs)
        .collect();
    assert!(touched.is_empty(), "touched in {}: {touched:?}", prefix.display());
}

fn host_number(node: usize) -> u8 {
    u8::try_from(node + 1).unwrap()
}

/// The first lines of many, and how many there are.
fn listed(lines: &[String]) -> String {
    format!(
        "{} problems:\n{}",
        lines.len(),
        lines.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    )
}

#[expect(clippy::print_stderr, reason = "the test harness shows it with the test that failed")]
fn show(title: &str, log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
    eprintln!("{title}\n{end}");
}
