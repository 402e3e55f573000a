//! The ring of a cluster: its kind, its copies and its servers.

use bucky_ring::{Algorithm, Relay, RingSpec, TaggedNames};

use super::address::{self, Server};
use super::syntax::{Cluster, Kind};
use crate::{FoundRing, Origins, Refusal, RefusalKind, SourceFile, Warning, WarningKind};

/// The most servers of a ring (`CONN_DESTS_SIZE`), from 3.8 on.
const SERVERS_MOST: usize = 128;
/// The most servers of a ring before 3.8.
const SERVERS_MOST_BEFORE: usize = 64;
/// The most copies (an `unsigned char`).
const COPIES_MOST: usize = 255;

/// The kind of ring; `None` if the kind of cluster has none.
pub(super) fn algorithm(kind: Kind) -> Option<Algorithm> {
    match kind {
        Kind::CarbonCh => Some(Algorithm::Carbon),
        Kind::Fnv1aCh => Some(Algorithm::Fnv1a),
        Kind::JumpFnv1aCh => Some(Algorithm::JumpFnv1a),
        Kind::Forward | Kind::AnyOf | Kind::Failover | Kind::File => None,
    }
}

/// What a kind of cluster without a ring does.
pub(super) fn purpose(kind: Kind) -> &'static str {
    match kind {
        Kind::Forward => "forward sends every metric to every server",
        Kind::AnyOf => "any_of sends a metric to any server that is up",
        Kind::Failover => "failover sends every metric to the first server that is up",
        Kind::File => "file writes metrics to a file",
        Kind::CarbonCh | Kind::Fnv1aCh | Kind::JumpFnv1aCh => "it is one",
    }
}

/// The replication factor.
pub(super) fn copies(file: &SourceFile, cluster: &Cluster) -> Result<usize, Refusal> {
    let Some((digits, offset)) = &cluster.replication else { return Ok(1) };
    let copies = digits.parse().ok().filter(|copies| (1..=COPIES_MOST).contains(copies));
    copies.ok_or_else(|| Refusal {
        kind: RefusalKind::BadReplicationFactor,
        place: file.place(*offset),
        message: format!("replication {digits} is not a number from 1 to {COPIES_MOST}"),
    })
}

/// Refuses a cluster with more servers than the relay takes, or fewer than its copies.
pub(super) fn check_size(
    file: &SourceFile,
    cluster: &Cluster,
    copies: usize,
) -> Result<(), Refusal> {
    let servers = cluster.hosts.len();
    if let Some(one_too_many) = cluster.hosts.get(SERVERS_MOST) {
        return Err(Refusal {
            kind: RefusalKind::TooManyServers,
            place: file.place(one_too_many.address.offset),
            message: format!(
                "cluster {:?} has {servers} servers; carbon-c-relay takes {SERVERS_MOST}, and {SERVERS_MOST_BEFORE} \
                 before 3.8",
                cluster.name.text
            ),
        });
    }
    if copies > servers {
        let offset = cluster.replication.as_ref().map_or(cluster.offset, |(_, offset)| *offset);
        return Err(Refusal {
            kind: RefusalKind::BadReplicationFactor,
            place: file.place(offset),
            message: format!(
                "replication {copies} is more than the {servers} servers of the cluster"
            ),
        });
    }
    Ok(())
}

/// The ring of `cluster` over `servers`, which are as many as its hosts.
pub(super) fn ring(
    file: &SourceFile,
    cluster: &Cluster,
    servers: &[Server],
    algorithm: Algorithm,
    copies: usize,
) -> Result<FoundRing, Refusal> {
    let both = cluster.hosts.iter().zip(servers);
    let nodes = both.map(|(host, server)| address::node(file, host, server));
    let mut warnings: Vec<Warning> =
        cluster.hosts.iter().flat_map(|host| address::warnings(file, host)).collect();
    if let Some(offset) = cluster.dynamic {
        warnings.push(Warning {
            kind: WarningKind::Dynamic,
            place: file.place(offset),
            message: "dynamic: metrics of a server that is down go to other servers, and stay there; and \
                      carbon-c-relay before 3.6 takes the word for a server"
                .to_owned(),
        });
    }
    if servers.len() > SERVERS_MOST_BEFORE {
        warnings.push(Warning {
            kind: WarningKind::MoreThan64,
            place: file.place(cluster.offset),
            message: format!(
                "{} servers; carbon-c-relay before 3.8 takes only {SERVERS_MOST_BEFORE}",
                servers.len()
            ),
        });
    }
    let relay = Relay::CarbonCRelay;
    Ok(FoundRing {
        spec: RingSpec {
            nodes: nodes.collect::<Result<_, _>>()?,
            algorithm,
            relay,
            replication_factor: copies,
            diverse_replicas: false,
            tagged_names: TaggedNames::BeforeSemicolon,
            aggregation: None,
            routes: None,
        },
        origins: Origins {
            nodes: cluster.hosts.iter().map(|host| file.place(host.address.offset)).collect(),
            algorithm: Some(file.place(cluster.kind_offset)),
            replication_factor: cluster.replication.as_ref().map(|(_, offset)| file.place(*offset)),
            diverse_replicas: None,
        },
        warnings,
        needs: Vec::new(),
    })
}
