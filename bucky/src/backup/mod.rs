//! `bucky tar`: writes the metrics of all nodes to standard output, as one tar.
//!
//! The nodes' lists are read twice. The first time they are read to their ends, so that nothing is written if
//! one of them cannot be read. The second time they are read metric by metric, in the order of the names.
//! `read` fetches copies, some at a time. `merge` (pure) merges the copies of one metric, so that no point is
//! missing. `packer` and `tar_writer` write the archive. Memory grows neither with the number of metrics nor
//! with the length of files. Files that are too long for memory go into temporary files, for one metric at a
//! time. They are written once all copies have arrived and match the digests that their nodes sent.

mod copies;
mod merge;
mod merge_long;
mod packer;
mod read;
mod subjects;
mod tar_writer;

use std::sync::Arc;

use bucky_api::{Client, DaemonAddr, Encoding, NotServed};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{Semaphore, mpsc};

use self::packer::{ArchiveCounts, ArchivePiece, Packing};
use self::read::{ReadWindow, WindowPace};
use self::subjects::ArchiveSubjects;
pub(crate) use self::tar_writer::TarForm;
#[cfg(test)]
pub(crate) use self::tar_writer::TarWriter;
use crate::chain;
use crate::cluster::{Cluster, ClusterFinding, Scope};
use crate::copy_streams::{CopyNodes, ReadError};
use crate::counted::{self, counted};
use crate::holders::{Holders, Placer};
use crate::inventory::{UnfoundNames, refresh};
use crate::names::Selection;
use crate::outcome::{Outcome, UnhealthyError};
use crate::output::{Output, human_bytes};
use crate::patience::Trouble;

/// The arguments of `bucky tar`.
pub(crate) struct BackupOrder {
    /// The daemon to ask first.
    pub(crate) seed: DaemonAddr,
    /// That node alone, or all nodes.
    pub(crate) scope: Scope,
    /// Which metrics are archived.
    pub(crate) selection: Selection,
    /// Whether the nodes scan again first.
    pub(crate) fresh: bool,
    /// How many windows of metrics are read at once.
    pub(crate) workers: usize,
    /// How contents are stored.
    pub(crate) form: TarForm,
    /// How the archive is compressed.
    pub(crate) encoding: Encoding,
    /// Whether every metric is named.
    pub(crate) verbose: bool,
}

/// Carries out `order`.
///
/// # Errors
/// If a node cannot be read, or standard output does not take everything. What was written is not usable
/// then.
pub(crate) async fn run(
    client: Client,
    order: BackupOrder,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let cluster = Cluster::discover(client, order.seed.clone(), order.scope).await?;
    if order.verbose {
        cluster.print_members(output);
    }
    refuse_missing_nodes(&cluster)?;
    if !cluster.is_healthy() {
        output.say("Warning: Cluster is not optimal.");
        cluster.print_findings(output);
    }
    if order.fresh {
        refresh(cluster.present(), output).await?;
    }
    let survey = survey(&cluster, &order, output).await?;
    output.say(format_args!("Total metrics selected for tar: {}", survey.metrics));
    let counts = write(&cluster, &order, survey.metrics, output).await?;
    report_end(&counts, output);
    let failed = if counts.failed > 0 { Outcome::SomeFailed } else { Outcome::Done };
    let outcome = failed.and(survey.outcome).and(survey.unfound.report(output));
    output.say(match outcome {
        Outcome::Done => "Archive complete.",
        _ => "Archive ended, but it is not complete: see the errors above.",
    });
    Ok(outcome.and(cluster.outcome()))
}

/// Refuses the cluster unless all nodes answered: the archive would lack copies and look complete.
fn refuse_missing_nodes(cluster: &Cluster) -> anyhow::Result<()> {
    let unasked = |finding: &&ClusterFinding| matches!(finding, ClusterFinding::NoAddress { .. });
    if let Some(finding) = cluster.findings.iter().find(unasked) {
        return Err(UnhealthyError::because(format!("nothing was archived: {finding}")));
    }
    for member in &cluster.members {
        if let Some(finding) = ClusterFinding::away(member) {
            return Err(UnhealthyError::because(format!(
                "nothing was archived, because metrics would be missing: {finding} (-s archives only the node at -h)"
            )));
        }
    }
    Ok(())
}

/// What there is to archive.
struct BackupSurvey {
    metrics: u64,
    unfound: UnfoundNames,
    outcome: Outcome,
}

/// Reads all lists to their ends.
async fn survey(
    cluster: &Cluster,
    order: &BackupOrder,
    output: &Arc<Output>,
) -> anyhow::Result<BackupSurvey> {
    let broken =
        |error| UnhealthyError::because(format!("nothing was archived: {}", chain(&error)));
    let mut outcome = Outcome::Done;
    for member in cluster.members.iter() {
        // The Go tool passes over folders that it cannot read (D42).
        let Some(inventory) = member.status().map(|status| &status.inventory) else { continue };
        if inventory.unreadable_folders > 0 {
            let (addr, problem) = (member.addr(), &inventory.problem);
            output
                .say(format_args!("bucky: {addr}: {problem}; the files in them are not archived"));
            outcome = Outcome::SomeFailed;
        }
        // The other kinds are reported. Unplaceable metrics are archived like all others.
        let found =
            NotServed { unreadable_folders: 0, unplaceable: 0, ..inventory.all_not_served() };
        let text = found.text();
        if !text.is_empty() {
            output.say(format_args!("bucky: {}: not archived: {text}", member.addr()));
        }
    }
    let mut holders = Holders::begin(cluster, &order.selection, output).await?;
    let mut metrics = 0;
    while let Some(listed) = holders.next().await.map_err(broken)? {
        match listed.metric() {
            Ok(_) => metrics += 1,
            Err(reason) => {
                let name = &listed.name;
                output.say(format_args!("bucky: {name:?} is not archived: {reason}"));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    Ok(BackupSurvey { metrics, unfound: holders.into_unfound(), outcome })
}

async fn write(
    cluster: &Cluster,
    order: &BackupOrder,
    planned: u64,
    output: &Arc<Output>,
) -> anyhow::Result<ArchiveCounts> {
    let packing = Packing {
        form: order.form,
        encoding: order.encoding,
        verbose: order.verbose,
        planned,
        addrs: cluster.members.iter().map(|member| member.addr().to_string()).collect(),
    };
    let (sender, end) = packer::start(packing, Arc::clone(output));
    let handed = send_windows(cluster, order, &sender, output).await;
    // Without the end piece, the packer gives the archive up.
    drop(sender);
    let written = end.await.map_err(|_| anyhow::anyhow!("the archive is not complete"))?;
    let counts = written.map_err(|error| {
        anyhow::Error::new(error).context(
            "cannot write the archive to standard output; what was written is not complete",
        )
    })?;
    handed.map(|()| counts)
}

/// Reads several windows at once, and sends them to the packer in order.
async fn send_windows(
    cluster: &Cluster,
    order: &BackupOrder,
    sender: &mpsc::Sender<ArchivePiece>,
    output: &Arc<Output>,
) -> anyhow::Result<()> {
    let holders = Holders::begin(cluster, &order.selection, output).await?;
    // If the ring cannot be used, only the nodes that list a metric are asked for it.
    let placer = Placer::of(cluster, None).ok().map(Arc::new);
    let mut subjects = ArchiveSubjects::new(holders, placer);
    let nodes = CopyNodes::new(&cluster.members, Encoding::Identity, Arc::clone(output));
    let nodes = Arc::new(nodes);
    let mut pace = WindowPace::default();
    let mut reading = FuturesOrdered::new();
    let mut is_last = false;
    // Only one long metric at a time has its copies in temporary files.
    let long_permits = Arc::new(Semaphore::new(1));
    loop {
        while !is_last && reading.len() < pace.windows(order.workers) {
            let next = subjects.next(pace.metrics()).await;
            match next.map_err(|error| given_up(Trouble::of(&error), &chain(&error)))? {
                Some(window) => {
                    let nodes = Arc::clone(&nodes);
                    // On a task of its own, so that it continues while the reader of the archive is slow.
                    reading
                        .push_back(tokio::spawn(async move { read::read(&nodes, window).await }));
                }
                None => is_last = true,
            }
        }
        let Some(read) = reading.next().await else { break };
        let mut window = read?.map_err(|error| unreadable(&error))?;
        loop {
            pace.note(&window);
            let ReadWindow { mut taken, long, rest } = window;
            if let Some(long) = long {
                if sender.send(ArchivePiece::Window(std::mem::take(&mut taken))).await.is_err() {
                    return Ok(());
                }
                // The semaphore is never closed. If the packer has ended, it has released its permit.
                let permit = Arc::clone(&long_permits).acquire_owned().await.ok();
                let long = read::read_long(&nodes, long, permit).await;
                taken.push(long.map_err(|error| unreadable(&error))?);
            }
            if sender.send(ArchivePiece::Window(taken)).await.is_err() {
                // Standard output failed; the packer reports the reason.
                return Ok(());
            }
            if rest.is_empty() {
                break;
            }
            window = read::read(&nodes, rest).await.map_err(|error| unreadable(&error))?;
        }
    }
    // If the packer has ended, standard output failed.
    let _ = sender.send(ArchivePiece::End).await;
    Ok(())
}

fn unreadable(error: &ReadError) -> anyhow::Error {
    given_up(error.trouble(), &chain(error))
}

/// The error of an archive that was already begun.
fn given_up(trouble: Trouble, reason: &str) -> anyhow::Error {
    let text = format!("{reason}; the archive is not complete");
    match trouble {
        Trouble::Away | Trouble::Busy => UnhealthyError::because(text),
        Trouble::Passing | Trouble::Lasting => anyhow::anyhow!(text),
    }
}

fn report_end(counts: &ArchiveCounts, output: &Output) {
    let ArchiveCounts { metrics, files, bytes, merged, apart, failed } = counts;
    output.say(format_args!(
        "{} in {}, {}.",
        counted::metrics(*metrics),
        counted(*files, "file", "files"),
        human_bytes(*bytes)
    ));
    if *merged > 0 {
        output.say(format_args!(
            "{} on several nodes: the archive has one file with the points of all copies.",
            counted::metrics_are(*merged)
        ));
    }
    if *apart > 0 {
        output.say(format_args!(
            "{} several files, because the copies cannot be merged.",
            counted(*apart, "metric has", "metrics have")
        ));
    }
    if *failed > 0 {
        output.say(format_args!(
            "{} not archived, or not with all {} copies.",
            counted(*failed, "metric was", "metrics were"),
            if *failed == 1 { "its" } else { "their" }
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::{document, member, v1};
    use crate::cluster::{Absence, Answer};

    #[test]
    fn nothing_is_archived_where_a_node_cannot_be_asked() {
        let ring = document(&["a", "b"]);
        let cluster = |b: Answer| {
            let members = vec![member("a", v1(&ring, "a", "s1")), member("b", b)];
            Cluster::from_answers(ring.clone(), members)
        };
        refuse_missing_nodes(&cluster(v1(&ring, "b", "s2"))).unwrap();
        // A ring that differs is only reported.
        let other = document(&["a", "b", "c"]);
        refuse_missing_nodes(&cluster(v1(&other, "b", "s2"))).unwrap();
        let away = refuse_missing_nodes(&cluster(Answer::Away {
            state: Absence::Down,
            reason: "refused".into(),
        }));
        assert!(away.unwrap_err().to_string().contains("b:4242 is down: refused"));
        let mut nameless = cluster(v1(&ring, "b", "s2"));
        let (host, reason) = ("x y".to_owned(), "a blank".to_owned());
        nameless.findings.push(ClusterFinding::NoAddress { host, reason });
        let error = refuse_missing_nodes(&nameless).unwrap_err();
        assert!(error.downcast_ref::<UnhealthyError>().is_some(), "{error}");
    }
}
