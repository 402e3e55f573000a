//! The cluster as its nodes describe it: which nodes there are, with which ring, over which store.
//!
//! The ring of the daemon at `-h` is the reference. Its `Server` hosts, each once, are the members, all on
//! the port of `-h`; every member is asked. What does not agree is a [`ClusterFinding`]; each command decides
//! what to do about it.

mod absence;
mod health;
mod kind;
#[cfg(test)]
pub(crate) mod test_cluster;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bucky_api::{Client, ClientError, ClockReading, Daemon, DaemonAddr, NotServed, Status};
use bucky_ring::{Ring, RingDocument};
use futures_util::{StreamExt, stream};

pub(crate) use self::absence::Absence;
pub(crate) use self::health::{ClusterFinding, completed, judge, notes, read_only, store_of};
pub(crate) use self::kind::DaemonKind;
use crate::outcome::{Outcome, UnhealthyError};
use crate::output::Output;
use crate::placement::Series;
use crate::{chain, clocks};

/// How many nodes are asked at once.
const ASKED_AT_ONCE: usize = 32;

/// Which nodes a command works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All members of the ring.
    All,
    /// The daemon at `-h` and no other (`-s`).
    Single,
}

/// A node's answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A daemon with `/v1`.
    V1 { document: RingDocument, status: Box<Status> },
    /// A daemon that has only the Go tool's routes.
    Go { document: RingDocument },
    /// No answer, or one that cannot be used.
    Away { state: Absence, reason: String },
}

/// A node of the cluster.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its daemon.
    pub(crate) daemon: Daemon,
    /// Its `Server` in the ring; `None` for a node that the ring does not have (`-s`, or drained).
    pub(crate) host: Option<String>,
    /// What it answered.
    pub(crate) answer: Answer,
}

impl Member {
    /// Its address.
    pub(crate) fn addr(&self) -> &DaemonAddr {
        self.daemon.addr()
    }

    /// Whether it answered.
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self.answer, Answer::Away { .. })
    }

    /// What kind of daemon answered; `None` if none did.
    pub(crate) fn kind(&self) -> Option<DaemonKind> {
        match &self.answer {
            Answer::V1 { .. } => Some(DaemonKind::V1),
            Answer::Go { .. } => Some(DaemonKind::Go),
            Answer::Away { .. } => None,
        }
    }

    /// Whether it answered, and can do what `ability` asks for.
    pub(crate) fn can(&self, ability: fn(DaemonKind) -> bool) -> bool {
        self.kind().is_some_and(ability)
    }

    /// Its status, if it has `/v1`.
    pub(crate) fn status(&self) -> Option<&Status> {
        match &self.answer {
            Answer::V1 { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The ring that its daemon was given.
    pub(crate) fn document(&self) -> Option<&RingDocument> {
        match &self.answer {
            Answer::V1 { document, .. } | Answer::Go { document } => Some(document),
            Answer::Away { .. } => None,
        }
    }
}

/// The cluster.
pub(crate) struct Cluster {
    /// The daemon that was asked first.
    pub(crate) seed: DaemonAddr,
    /// The ring of the daemon at `-h`. What a Go daemon's ring leaves open is taken from a member's ring.
    pub(crate) document: RingDocument,
    /// The nodes, in the order of the ring.
    pub(crate) members: Vec<Member>,
    /// What does not agree.
    pub(crate) findings: Vec<ClusterFinding>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    client: Client,
    /// The ring of `document`, built once, or the reason why it cannot be built.
    ring: OnceLock<Result<Arc<Ring>, String>>,
}

/// Builds the ring of `document`; the error is the reason why it cannot be built.
fn built(document: &RingDocument) -> Result<Arc<Ring>, String> {
    let spec = document.to_spec().map_err(|error| chain(&error))?;
    Ring::new(spec).map(Arc::new).map_err(|error| chain(&error))
}

impl Cluster {
    /// Asks the daemon at `seed` for the ring, and every member for its own.
    ///
    /// # Errors
    /// [`UnhealthyError`] if `seed` gives no ring.
    pub(crate) async fn discover(
        client: Client,
        seed: DaemonAddr,
        scope: Scope,
    ) -> anyhow::Result<Self> {
        let reference = client.daemon(seed.clone()).hashring().await.map_err(|error| {
            UnhealthyError::because(format!("cannot get the ring from {seed}: {}", chain(&error)))
        })?;
        let (members, mut findings) = match scope {
            Scope::All => ask_members(&client, &reference, seed.port()).await,
            Scope::Single => (vec![ask_member(&client, seed.clone(), None).await], Vec::new()),
        };
        let document = members
            .iter()
            .filter_map(Member::document)
            .fold(reference, |document, other| completed(&document, other));
        findings.extend(judge(&document, &members));
        Ok(Self::of(client, seed, document, members, findings))
    }

    fn of(
        client: Client,
        seed: DaemonAddr,
        document: RingDocument,
        members: Vec<Member>,
        findings: Vec<ClusterFinding>,
    ) -> Self {
        let (series, ring) = (Series::default(), OnceLock::new());
        Self { seed, document, members, findings, series, client, ring }
    }

    /// Does what [`Self::discover`] does, and refuses the cluster unless all nodes answer and agree. Warns of
    /// what is risky about their ring. With `prints_members`, it also prints the members.
    ///
    /// # Errors
    /// [`UnhealthyError`].
    pub(crate) async fn discover_healthy(
        client: Client,
        seed: DaemonAddr,
        scope: Scope,
        prints_members: bool,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let cluster = Self::discover(client, seed, scope).await?;
        cluster.require_healthy()?;
        if prints_members {
            cluster.print_members(output);
        }
        for warning in cluster.ring()?.warnings() {
            output.say(format_args!("bucky: the ring of {}: {warning}", cluster.seed));
        }
        Ok(cluster)
    }

    /// Adds the series that are known by their hash.
    pub(crate) fn with_series(self, series: &Series) -> Self {
        Self { series: series.clone(), ..self }
    }

    /// Makes the cluster from the nodes' answers.
    #[cfg(test)]
    pub(crate) fn from_answers(document: RingDocument, members: Vec<Member>) -> Self {
        let findings = judge(&document, &members);
        let client = Client::new(bucky_api::Timeouts::default()).unwrap();
        let seed = members[0].addr().clone();
        Self::of(client, seed, document, members, findings)
    }

    /// The ring, ready to place metrics.
    ///
    /// # Errors
    /// [`UnhealthyError`] if the ring of `-h` cannot be built.
    pub(crate) fn ring(&self) -> anyhow::Result<Arc<Ring>> {
        self.ring.get_or_init(|| built(&self.document)).clone().map_err(|reason| {
            UnhealthyError::because(format!("cannot use the ring of {}: {reason}", self.seed))
        })
    }

    /// The client that speaks to its nodes.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The members that answered.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_there())
    }

    /// Whether all nodes answered and agree.
    pub(crate) fn is_healthy(&self) -> bool {
        self.findings.is_empty()
    }

    /// Done, or unhealthy.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.is_healthy() { Outcome::Done } else { Outcome::Unhealthy }
    }

    /// Adds a finding for each clock that differs by more than `limit`.
    pub(crate) fn judge_clocks(&mut self, now: ClockReading, limit: Duration) {
        let of = |member: &Member| (member.addr().clone(), member.daemon.clock_offset());
        let findings = clocks::judge(self.present().map(of), now, limit);
        self.findings.extend(findings.into_iter().map(ClusterFinding::Clock));
    }

    /// Prints the findings, one a line.
    pub(crate) fn print_findings(&self, output: &Output) {
        for finding in &self.findings {
            output.say(format_args!("bucky: {finding}"));
        }
    }

    /// Warns of what each node has and does not list: folders that it cannot read (D42), links, paths that
    /// are not a metric's name.
    pub(crate) fn report_not_served(&self, output: &Output) {
        for member in &self.members {
            let Some(status) = member.status() else { continue };
            // Unplaceable files are in the lists.
            let unlisted = NotServed { unplaceable: 0, ..status.inventory.all_not_served() };
            let text = unlisted.text();
            if !text.is_empty() {
                output.say(format_args!("{}: not listed: {text}", member.addr()));
            }
        }
    }

    /// Prints which nodes were asked, what they are, and the notes about them.
    pub(crate) fn print_members(&self, output: &Output) {
        output.say(format_args!(
            "the ring of {} has {} nodes",
            self.seed,
            self.document.nodes.len()
        ));
        for member in &self.members {
            let what = match &member.answer {
                Answer::V1 { status, .. } => {
                    format!("buckyd {}, store {}", status.version, status.store_id)
                }
                Answer::Go { .. } => "Go daemon".to_owned(),
                Answer::Away { state, .. } => state.word().to_owned(),
            };
            output.say(format_args!("{}: {what}", member.addr()));
            for note in notes(&self.document, member) {
                output.say(format_args!("{}: {note}", member.addr()));
            }
        }
    }

    /// Refuses to continue unless all nodes answered, whether they agree or not.
    ///
    /// # Errors
    /// [`UnhealthyError`] with the nodes that did not answer, and `why` that matters.
    pub(crate) fn require_all_there(&self, why: &str) -> anyhow::Result<()> {
        let away = |finding: &&ClusterFinding| {
            matches!(finding, ClusterFinding::Away { .. } | ClusterFinding::NoAddress { .. })
        };
        let findings: Vec<String> =
            self.findings.iter().filter(away).map(|finding| format!("\n  {finding}")).collect();
        if findings.is_empty() {
            return Ok(());
        }
        Err(UnhealthyError::because(format!("{why}:{}", findings.concat())))
    }

    /// Refuses to continue unless all nodes answered and agree.
    ///
    /// # Errors
    /// [`UnhealthyError`] with all findings.
    pub(crate) fn require_healthy(&self) -> anyhow::Result<()> {
        if self.is_healthy() {
            return Ok(());
        }
        let findings: Vec<String> =
            self.findings.iter().map(|finding| format!("\n  {finding}")).collect();
        Err(UnhealthyError::because(format!(
            "the cluster is not healthy (details: bucky servers -h {}):{}",
            self.seed,
            findings.concat()
        )))
    }
}

/// Asks the node at `addr`; `host` is its name in the ring.
pub(crate) async fn ask_member(client: &Client, addr: DaemonAddr, host: Option<String>) -> Member {
    let daemon = client.daemon(addr);
    let answer = answer(&daemon)
        .await
        .unwrap_or_else(|error| Answer::Away { state: Absence::of(&error), reason: chain(&error) });
    Member { daemon, host, answer }
}

async fn answer(daemon: &Daemon) -> Result<Answer, ClientError> {
    let document = daemon.hashring().await?;
    Ok(match daemon.status().await? {
        Some(status) => Answer::V1 { document, status: Box::new(status) },
        None => Answer::Go { document },
    })
}

/// Asks all hosts of the ring, each once. A host whose name cannot be a daemon's address is a finding.
async fn ask_members(
    client: &Client,
    document: &RingDocument,
    port: u16,
) -> (Vec<Member>, Vec<ClusterFinding>) {
    let mut seen = HashSet::new();
    let hosts = document.nodes.iter().map(|node| node.server.as_str());
    let (mut addresses, mut findings) = (Vec::new(), Vec::new());
    for host in hosts.filter(|host| seen.insert(*host)) {
        match DaemonAddr::new(host, port) {
            Ok(addr) => addresses.push((addr, host.to_owned())),
            Err(error) => {
                let (host, reason) = (host.to_owned(), chain(&error));
                findings.push(ClusterFinding::NoAddress { host, reason });
            }
        }
    }
    let asked = addresses.into_iter().map(|(addr, host)| ask_member(client, addr, Some(host)));
    (stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await, findings)
}
