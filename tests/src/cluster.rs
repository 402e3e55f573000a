//! A cluster of daemons on its own loopback addresses.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use bucky_ring::{Algorithm, Relay, Ring, RingDocument, RingSpec};
use bucky_whisper::MetricName;
use tempfile::TempDir;

use crate::address::Network;
use crate::http::{Answer, Http};
use crate::ledger::{Ledger, owner_hosts};
use crate::metrics::{self, LAYOUTS, OTHER_LAYOUTS};
use crate::node::{Launch, Node};
use crate::program::{Finished, Running};
use crate::{Gate, Link, LinkSpec, tree, wait};

/// The port of a carbon in the rings; no process listens on it.
const CARBON_PORT: u16 = 2003;
/// The commands that keep a reserve of free space on the destinations.
const BULK: [&str; 5] = ["rebalance", "heal", "copy", "backfill", "backfill2"];
/// How many of a daemon's last log lines a failed test shows.
const LOG_LINES: usize = 150;

/// The programs under test.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// `bucky`.
    pub bucky: &'static str,
    /// `buckyd`.
    pub buckyd: &'static str,
}

/// The cluster that a test needs.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    programs: Programs,
    nodes: usize,
    in_ring: usize,
    instances: Vec<&'static str>,
    algorithm: Algorithm,
    relay: Option<Relay>,
    replication_factor: usize,
    flags: Vec<String>,
    gates: Vec<usize>,
    link: Option<LinkSpec>,
}

impl ClusterPlan {
    /// A cluster of this many nodes, all of them in a carbon ring with one copy of each metric.
    pub fn of(programs: Programs, nodes: usize) -> Self {
        Self {
            programs,
            nodes,
            in_ring: nodes,
            instances: Vec::new(),
            algorithm: Algorithm::Carbon,
            relay: None,
            replication_factor: 1,
            flags: Vec::new(),
            gates: Vec::new(),
            link: None,
        }
    }

    /// Only the first nodes are in the ring.
    #[must_use]
    pub fn in_ring(mut self, nodes: usize) -> Self {
        self.in_ring = nodes;
        self
    }

    /// Each host has these instances of carbon.
    #[must_use]
    pub fn instances(mut self, instances: &[&'static str]) -> Self {
        self.instances = instances.to_vec();
        self
    }

    /// The kind of ring.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The relay whose arithmetic is used if the relays differ.
    #[must_use]
    pub fn relay(mut self, relay: Relay) -> Self {
        self.relay = Some(relay);
        self
    }

    /// How many nodes hold each metric.
    #[must_use]
    pub fn replication_factor(mut self, copies: usize) -> Self {
        self.replication_factor = copies;
        self
    }

    /// Starts all daemons with this flag too. It comes after the plan's own flags, so it wins.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: &str) -> Self {
        self.flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// Starts all daemons with this flag, which has no value.
    #[must_use]
    pub fn switch(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Puts a gate before this node.
    #[must_use]
    pub fn gate(mut self, node: usize) -> Self {
        self.gates.push(node);
        self
    }

    /// Puts a link between all nodes, and between them and `bucky`. No node of this cluster may have a gate.
    #[must_use]
    pub fn link(mut self, link: LinkSpec) -> Self {
        self.link = Some(link);
        self
    }

    /// The cluster, with its daemons running.
    #[track_caller]
    pub fn start(self) -> TestCluster {
        let mut cluster = self.lay();
        cluster.start();
        cluster
    }

    /// The cluster, with no daemon running yet.
    pub fn lay(self) -> TestCluster {
        let network = Network::free(u8::try_from(self.nodes).unwrap());
        let folder = tempfile::Builder::new().prefix("bucky-test-").tempdir().unwrap();
        let hosts: Vec<String> =
            (0..self.nodes).map(|node| addr(network, node).ip().to_string()).collect();
        let members = self.members(&hosts[..self.in_ring]);
        let ring = self.ring(&members);
        let link = self.link.map(Link::new);
        let nodes = hosts.iter().enumerate().map(|(number, host)| {
            let is_gated = self.gates.contains(&number);
            let behind = network.behind_gate(host_number(number));
            if let Some(link) = &link {
                link.stand_before(addr(network, number), behind);
            }
            let listen = if is_gated || link.is_some() { behind } else { addr(network, number) };
            let node_folder = folder.path().join(format!("node-{number}"));
            std::fs::create_dir(&node_folder).unwrap();
            Node {
                host: host.clone(),
                addr: addr(network, number),
                listen,
                gate: is_gated.then(|| Gate::open(addr(network, number), listen)),
                folder: node_folder,
                program: self.programs.buckyd.into(),
                args: self.args(&members),
                launch: Launch::Plain,
                token: None,
                daemon: None,
                starts: 0,
            }
        });
        let nodes = nodes.collect();
        TestCluster { nodes, ring, network, plan: self, link, folder }
    }

    /// The members of a ring with these hosts.
    fn members(&self, hosts: &[String]) -> Vec<String> {
        let of_host = |host: &String| match self.instances.as_slice() {
            [] => vec![format!("{host}:{CARBON_PORT}")],
            instances => {
                let numbered = (CARBON_PORT..).step_by(100).zip(instances);
                numbered.map(|(port, instance)| format!("{host}:{port}={instance}")).collect()
            }
        };
        hosts.iter().flat_map(of_host).collect()
    }

    fn ring(&self, members: &[String]) -> Ring {
        let (relay, tagged_names) = bucky_ring::resolve(self.algorithm, self.relay, None).unwrap();
        Ring::new(RingSpec {
            nodes: members.iter().map(|member| member.parse().unwrap()).collect(),
            algorithm: self.algorithm,
            relay,
            replication_factor: self.replication_factor,
            diverse_replicas: false,
            tagged_names,
        })
        .unwrap()
    }

    fn args(&self, members: &[String]) -> Vec<String> {
        let own = [
            ("-hash", self.algorithm.to_string()),
            ("-replicas", self.replication_factor.to_string()),
            ("--tombstone-grace", "0.2".to_owned()),
            ("--lock-timeout", "2".to_owned()),
        ];
        let relay = self.relay.map(|relay| ("--relay", relay.to_string()));
        let own = own.into_iter().chain(relay);
        let own = own.flat_map(|(flag, value)| [flag.to_owned(), value]);
        // If a flag is given twice, the last one wins.
        own.chain(self.flags.iter().cloned()).chain(members.iter().cloned()).collect()
    }
}

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
        bucky.arg(command).arg("-h").arg(addr);
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

fn addr(network: Network, node: usize) -> std::net::SocketAddr {
    network.addr(host_number(node))
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
