//! `bucky verify`: has every copy of each metric read by its node, and reports what is not where it belongs.
//!
//! The nodes' lists are read side by side in the order of the names (`batches`). Each node reads its own
//! files and reports their digests (`digests`, judged by `judge`). Only copies that may lack something
//! travel. They are read side by side (`read`) and compared point by point (`copies`): valid or corrupt, in
//! place or not, and what an owner lacks that another copy has, which is what a fill would bring it. For
//! files that are too long to be sent, the nodes report at which times they have points (`long`). Everything
//! that is found is checked again before it is reported, because metrics move and are written while this
//! runs. Nothing is changed on any node. Memory does not grow with the number of metrics.

mod batches;
mod checker;
mod clock;
mod copies;
mod digests;
mod finding;
mod judge;
mod layout;
mod long;
mod read;
mod remarks;
mod report;
mod sample;
mod subject;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bucky_api::{Client, DaemonAddr, Encoding};
use futures_util::{StreamExt, stream};

use self::batches::{Batches, VerifyBatch};
use self::checker::{CheckedBatch, Checker};
use self::finding::MetricFinding;
use self::read::CopyReader;
use self::report::{Ending, Report, VerifyCounts};
pub(crate) use self::sample::{Sample, Size};
use crate::cluster::{Cluster, Member, Scope, ask_member, store_of};
use crate::fleet::require_writable;
use crate::holders::{Holders, Placer};
use crate::inventory::refresh;
use crate::names::Selection;
use crate::outcome::{Outcome, UnhealthyError, UsageError};
use crate::output::{Output, human_count};
use crate::placement::Series;
use crate::{chain, former};

/// The most batches at once; more would only wait for the threads that read.
const WORKERS_MAX: usize = 64;
/// How many nodes are asked for their status at once.
const ASKED_AT_ONCE: usize = 32;
/// How often progress is printed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// The arguments of a verification.
pub(crate) struct VerifyOrder {
    /// The daemon to ask first.
    pub(crate) seed: DaemonAddr,
    /// Which metrics of which nodes.
    pub(crate) selected: VerifySelection,
    /// Whether the nodes scan again first.
    pub(crate) fresh: bool,
    /// Whether a difference between owners is a failure.
    pub(crate) strict: bool,
    /// How many batches are read at once.
    pub(crate) workers: usize,
    /// How files travel.
    pub(crate) encoding: Encoding,
    /// Whether the report is JSON.
    pub(crate) json: bool,
    /// The file for all findings.
    pub(crate) errors: Option<PathBuf>,
    /// Whether the nodes that are asked are printed.
    pub(crate) verbose: bool,
}

/// Which metrics are checked.
pub(crate) struct VerifySelection {
    /// All metrics, or those that are selected.
    pub(crate) selection: Selection,
    /// The sample of them, if not all.
    pub(crate) sample: Option<Sample>,
    /// Drained nodes, which must not have any metrics.
    pub(crate) drained: Vec<DaemonAddr>,
    /// The prefix of Go daemons' local metrics.
    pub(crate) local_prefix: Option<String>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
}

/// Carries out `order`.
///
/// # Errors
/// If the cluster is not healthy, or a node cannot be read to the end. What was found until then is reported.
pub(crate) async fn run(
    client: Client,
    order: VerifyOrder,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let mut cluster = Cluster::discover(client, order.seed.clone(), Scope::All).await?;
    cluster.series = order.selected.series.clone();
    cluster.require_healthy()?;
    add_drained(&mut cluster, &order.selected.drained).await?;
    former::report_former_members(&cluster, &order.selected.drained, output).await;
    if order.verbose {
        cluster.print_members(output);
    }
    let placer = Arc::new(Placer::of(&cluster, order.selected.local_prefix.as_deref())?);
    let mut report = Report::begin(order.json, order.strict, order.errors.as_deref(), output)?;
    let mut counts = VerifyCounts::default();
    let ended = look_at_all(&cluster, &order, &placer, &mut report, &mut counts, output).await;
    let broken_off = match ended {
        Ok(()) => None,
        Err(error) if error.is::<UnhealthyError>() => Some(format!("{error:#}")),
        Err(error) => return Err(error),
    };
    let mut remarks = remarks::of_nodes(&cluster).await;
    remarks.extend(remarks::of_unplaceable(&counts, &order.selected.series));
    let is_clean = !report.has_findings() && !remarks.iter().any(|remark| remark.is_finding);
    let ending = Ending {
        counts,
        nodes: cluster.members.len(),
        sample: order.selected.sample.map(|sample| sample_text(&sample)),
        remarks,
        broken_off: broken_off.clone(),
        seed: &order.seed.to_string(),
        drained: &order.selected.drained,
    };
    report.end(&ending, output)?;
    if let Some(reason) = broken_off {
        return Err(UnhealthyError::because(reason));
    }
    Ok(if is_clean { Outcome::Done } else { Outcome::SomeFailed })
}

fn sample_text(sample: &Sample) -> String {
    match sample.size {
        Size::Metrics(_) => format!("a sample, --seed {}", sample.seed),
        Size::Share(steps) => {
            format!("a sample of {}%, --seed {}", f64::from(steps) / 1000.0, sample.seed)
        }
    }
}

/// Adds the nodes that must be empty. A node that is a member under another name is refused: it would be read
/// twice.
async fn add_drained(cluster: &mut Cluster, drained: &[DaemonAddr]) -> anyhow::Result<()> {
    for addr in drained {
        let member = ask_member(cluster.client(), addr.clone(), None).await;
        let Some(store) = store_of(&member.answer) else {
            return Err(UnhealthyError::because(format!(
                "--drained {addr}: it does not answer as a daemon should"
            )));
        };
        require_writable(&member)?;
        let is_store = |other: &&Member| store_of(&other.answer).as_ref() == Some(&store);
        if let Some(known) = cluster.members.iter().find(is_store) {
            return Err(UsageError::because(format!(
                "--drained {addr} is the member {}, which is checked anyway; leave it out",
                known.addr()
            )));
        }
        cluster.members.push(member);
    }
    Ok(())
}

/// Reads everything that was ordered. A node that cannot be read to the end is an [`UnhealthyError`].
async fn look_at_all(
    cluster: &Cluster,
    order: &VerifyOrder,
    placer: &Arc<Placer>,
    report: &mut Report,
    counts: &mut VerifyCounts,
    output: &Arc<Output>,
) -> anyhow::Result<()> {
    if order.fresh {
        refresh(cluster.present(), output).await?;
    }
    let holders = Holders::begin(cluster, &order.selected.selection, output).await?;
    let broken = |error| UnhealthyError::because(chain(&error));
    let mut batches =
        Batches::begin(holders, order.selected.sample, Arc::clone(placer)).await.map_err(broken)?;
    let checker = Arc::new(Checker {
        reader: CopyReader::new(&cluster.members, order.encoding, Arc::clone(output)),
        placer: Arc::clone(placer),
        daemons: cluster.members.iter().map(|member| member.daemon.clone()).collect(),
        gone_counts: order.fresh,
    });
    let mut window = FindingWindow::default();
    let mut progress = VerifyProgress::new();
    {
        let batches = stream::unfold(&mut batches, |batches| async {
            let batch = batches.next().await.transpose()?;
            Some((batch, batches))
        });
        let checked = batches.map(|batch| look_at(Arc::clone(&checker), batch));
        let mut checked = Box::pin(checked.buffered(order.workers.min(WORKERS_MAX)));
        while let Some(checked) = checked.next().await {
            let checked = checked.map_err(|error| UnhealthyError::because(format!("{error:#}")))?;
            counts.add(&checked.counts);
            window.add(checked, report, output)?;
            progress.print(counts, output);
        }
    }
    window.end(report, output)?;
    for name in batches.not_found() {
        let what = finding::What::NotFound;
        report
            .add(&MetricFinding { metric: name.to_owned(), node: String::new(), what }, output)?;
    }
    Ok(())
}

/// Reads a batch on a task of its own.
async fn look_at(
    checker: Arc<Checker>,
    batch: Result<VerifyBatch, bucky_api::ClientError>,
) -> anyhow::Result<CheckedBatch> {
    let batch = batch.map_err(|error| anyhow::anyhow!(chain(&error)))?;
    let checked = tokio::spawn(async move { checker.batch(batch).await }).await?;
    checked.map_err(|error| anyhow::anyhow!(chain(&error)))
}

/// The findings of the current window: reported by name when it is complete.
#[derive(Default)]
struct FindingWindow {
    number: u64,
    findings: Vec<MetricFinding>,
}

impl FindingWindow {
    fn add(
        &mut self,
        checked: CheckedBatch,
        report: &mut Report,
        output: &Output,
    ) -> anyhow::Result<()> {
        if checked.window != self.number {
            self.end(report, output)?;
            self.number = checked.window;
        }
        self.findings.extend(checked.findings);
        Ok(())
    }

    fn end(&mut self, report: &mut Report, output: &Output) -> anyhow::Result<()> {
        // The findings about one metric keep their order.
        self.findings.sort_by(|one, other| one.metric.cmp(&other.metric));
        self.findings.drain(..).try_for_each(|finding| report.add(&finding, output))
    }
}

/// Prints a line now and then.
struct VerifyProgress {
    begun: Instant,
    reported_at: Instant,
}

impl VerifyProgress {
    fn new() -> Self {
        let now = Instant::now();
        Self { begun: now, reported_at: now }
    }

    fn print(&mut self, counts: &VerifyCounts, output: &Output) {
        if self.reported_at.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        self.reported_at = Instant::now();
        let rate = u128::from(counts.metrics) * 1000 / self.begun.elapsed().as_millis().max(1);
        output.say(format_args!(
            "{} metrics checked, {}/s",
            human_count(counts.metrics),
            human_count(u64::try_from(rate).unwrap_or(u64::MAX))
        ));
    }
}
