//! The plan of a cluster: the nodes, ring and flags that a test needs.

use std::path::Path;
use std::sync::Arc;

use bucky_relay_config::disk::RingFile;
use bucky_relay_config::{Selector, Wanted};
use bucky_ring::{AggregationRules, Algorithm, Relay, Ring, RingSpec};

use super::{TestCluster, host_number};
use crate::address::Network;
use crate::launch::Launch;
use crate::node::Node;
use crate::{Gate, Link, LinkSpec};

/// The port of a carbon in the rings; no process listens on it.
const CARBON_PORT: u16 = 2003;

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
    pub(super) programs: Programs,
    nodes: usize,
    in_ring: usize,
    instances: Vec<&'static str>,
    algorithm: Algorithm,
    relay: Option<Relay>,
    replication_factor: usize,
    rules: Option<&'static str>,
    relay_config: Option<RelayConfig>,
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
            rules: None,
            relay_config: None,
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

    /// The relay has these aggregation rules.
    #[must_use]
    pub fn aggregation_rules(mut self, rules: &'static str) -> Self {
        self.rules = Some(rules);
        self
    }

    /// The daemons read their ring from `relay.conf` in the cluster's folder: these clusters of this text, in
    /// which `{0}` is the first node's host and port.
    #[must_use]
    pub fn relay_config(mut self, text: &'static str, clusters: &'static str) -> Self {
        self.relay_config = Some(RelayConfig { text, clusters });
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
        let mut ring = self.ring(&members);
        let link = self.link.map(Link::new);
        let mut args = self.args(&members);
        if let Some(rules) = self.rules {
            let path = folder.path().join("aggregation-rules.conf");
            std::fs::write(&path, rules).unwrap();
            let path = path.to_str().unwrap().to_owned();
            args.splice(0..0, ["--aggregation-rules".to_owned(), path]);
        }
        if let Some(config) = self.relay_config {
            let file = config.write(folder.path(), &members);
            ring = Ring::new(file.load().unwrap().found.spec).unwrap();
            args = self.args(&[]);
            let path = file.path.to_str().unwrap().to_owned();
            args.splice(
                0..4,
                ["--ring-from", &path, "--cluster", config.clusters].map(String::from),
            );
        }
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
                args: args.clone(),
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
    pub(super) fn members(&self, hosts: &[String]) -> Vec<String> {
        let of_host = |host: &String| match self.instances.as_slice() {
            [] => vec![format!("{host}:{CARBON_PORT}")],
            instances => {
                let numbered = (CARBON_PORT..).step_by(100).zip(instances);
                numbered.map(|(port, instance)| format!("{host}:{port}={instance}")).collect()
            }
        };
        hosts.iter().flat_map(of_host).collect()
    }

    pub(super) fn ring(&self, members: &[String]) -> Ring {
        let (relay, tagged_names) = bucky_ring::resolve(self.algorithm, self.relay, None).unwrap();
        Ring::new(RingSpec {
            nodes: members.iter().map(|member| member.parse().unwrap()).collect(),
            algorithm: self.algorithm,
            relay,
            replication_factor: self.replication_factor,
            diverse_replicas: false,
            tagged_names,
            aggregation: self.rules.map(|rules| Arc::new(AggregationRules::parse(rules).unwrap())),
            routes: None,
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

/// A relay's configuration, and the clusters of it that are the ring.
#[derive(Clone, Copy, Debug)]
struct RelayConfig {
    text: &'static str,
    clusters: &'static str,
}

impl RelayConfig {
    fn write(self, folder: &Path, members: &[String]) -> RingFile {
        let numbered = members.iter().enumerate();
        let text = numbered.fold(self.text.to_owned(), |text, (number, member)| {
            text.replace(&format!("{{{number}}}"), member)
        });
        let path = folder.join("relay.conf");
        std::fs::write(&path, text).unwrap();
        let wanted = Wanted { selector: Selector::Cluster, name: self.clusters.to_owned() };
        RingFile { path, program: None, wanted: Some(wanted), aggregation_rules: None }
    }
}

fn addr(network: Network, node: usize) -> std::net::SocketAddr {
    network.addr(host_number(node))
}
