//! `bucky restore`: brings the metrics of a tar to all their owners.
//!
//! The archive is read on a thread of its own (`input`, `tar_reader`, `sparse`). Each member becomes a metric
//! or is refused (`names`, pure). It goes to its owners (`destinations`, `delivery`), which create what they
//! lack and fill what they have. No existing point is ever changed. If a member fails, the rest continues,
//! and all failures are named.

mod batch_body;
mod delivery;
mod destinations;
mod extensions;
mod input;
mod long_body;
mod names;
mod sparse;
mod tar_reader;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bucky_api::archive::REPORT_NAME;
use bucky_api::{ArchiveReport, Client, DaemonAddr, OnSchemaDifference};
use bucky_whisper::{Image, ImageError, MetricName};
use tokio::sync::mpsc;

use self::delivery::{Delivery, Restored};
use self::destinations::Destinations;
pub(crate) use self::input::ArchiveSource;
pub(crate) use self::names::prefix;
use self::tar_reader::{MemberKind, TarError, TarMember, TarReader};
use crate::chain;
use crate::cluster::{Cluster, Scope};
use crate::counted;
use crate::outcome::Outcome;
use crate::output::{Output, human_count};
use crate::placement::Series;
use crate::run::failure_files::FailureFiles;
use crate::run::stop::Stop;
use crate::run::tally::{RunCounts, Tally};
use crate::spool::Content;

/// How many members that are not restored are named.
const NAMED: u64 = 1_000;
/// How often progress is printed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// The arguments of a restore.
pub(crate) struct RestoreOrder {
    /// The daemon to ask first.
    pub(crate) seed: DaemonAddr,
    /// That node alone, or all nodes.
    pub(crate) scope: Scope,
    /// Where the archive is read from.
    pub(crate) source: ArchiveSource,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    /// What is added before all names.
    pub(crate) prefix: Option<MetricName>,
    /// How many batches are sent at once.
    pub(crate) workers: usize,
    /// What happens to points that have no place in an owner's file.
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// The file for all failures at nodes.
    pub(crate) errors: Option<PathBuf>,
    /// Whether every metric is named.
    pub(crate) verbose: bool,
}

/// Carries out `order`.
///
/// # Errors
/// If the archive cannot be opened, or the cluster is not healthy. Nothing was done then.
pub(crate) async fn run(
    client: Client,
    order: RestoreOrder,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let cluster =
        Cluster::discover_healthy(client, order.seed.clone(), order.scope, order.verbose, output)
            .await?
            .with_series(&order.series);
    let destinations = match order.scope {
        Scope::All => Destinations::all(&cluster)?,
        Scope::Single => Destinations::only_seed(&cluster)?,
    };
    let members = read(order.source.clone())?;
    // Before the run handles signals: opening a pipe without a reader blocks, and Ctrl-C must still work.
    let files = FailureFiles::open(order.errors.as_deref(), None)?;
    let stop = Stop::announced_on_signals(output)?;
    let tally = Tally::begin(files, Arc::clone(output));
    let delivery = Delivery::new(
        destinations.nodes(),
        (order.workers, order.on_schema_difference),
        stop.clone(),
        tally,
    );
    let sorter =
        MemberSorter { order: &order, destinations, output, refused: 0, elsewhere: 0, files: 0 };
    let mut restore = Restore { sorter, delivery, stop: stop.clone() };
    let ended = tokio::select! {
        ended = restore.run(members) => ended,
        () = stop.asked_twice() => {
            output.say("bucky: stopped at once; run the same command again to continue: what is restored stays");
            return Ok(Outcome::Interrupted);
        }
    };
    Ok(restore.report_end(&ended))
}

/// A member of the archive, or `None` at its end.
type NextMember = Result<Option<TarMember>, TarError>;

/// Opens an archive, and reads it on a thread of its own. The end is sent explicitly: a thread that panics
/// sends none.
fn read(source: ArchiveSource) -> anyhow::Result<mpsc::Receiver<NextMember>> {
    let (sender, members) = mpsc::channel(1);
    let mut reader = TarReader::new(source.open()?);
    tokio::task::spawn_blocking(move || {
        loop {
            let next = reader.next();
            let is_last = !matches!(next, Ok(Some(_)));
            if sender.blocking_send(next).is_err() || is_last {
                break;
            }
        }
    });
    Ok(members)
}

/// The next member; an error if the thread has stopped without sending the end.
async fn next_of(members: &mut mpsc::Receiver<NextMember>) -> NextMember {
    members.recv().await.unwrap_or(Err(TarError::Unfinished))
}

/// How reading the archive ended.
enum ReadEnd {
    /// At its end.
    Whole,
    /// Too early: the reason, and the last member before it.
    Broken { error: TarError, after: Option<String> },
    /// The operator stopped it.
    Stopped,
}

struct Restore<'a> {
    sorter: MemberSorter<'a>,
    delivery: Delivery,
    stop: Stop,
}

impl Restore<'_> {
    async fn run(&mut self, mut members: mpsc::Receiver<NextMember>) -> ReadEnd {
        let mut after = None;
        let mut reported_at = Instant::now();
        let ended = loop {
            let next = tokio::select! {
                next = next_of(&mut members) => next,
                () = self.stop.asked() => break ReadEnd::Stopped,
            };
            let member = match next {
                Ok(Some(member)) => member,
                Ok(None) => break ReadEnd::Whole,
                Err(error) => break ReadEnd::Broken { error, after },
            };
            after = Some(String::from_utf8_lossy(&member.path).into_owned());
            if let Some(MemberToRestore { file, owners }) = self.sorter.sort(member) {
                self.delivery.push(file, owners).await;
            }
            if reported_at.elapsed() >= PROGRESS_INTERVAL {
                reported_at = Instant::now();
                let finished = human_count(self.delivery.tally().counts().finished);
                self.sorter.output.say(format_args!("Progress: {finished} metrics"));
            }
        };
        self.delivery.finish().await;
        self.delivery.tally().flush();
        ended
    }

    fn report_end(&self, ended: &ReadEnd) -> Outcome {
        let MemberSorter { order, output, refused, elsewhere, files, .. } = &self.sorter;
        let tally = self.delivery.tally();
        let counts = tally.counts();
        let source = match &self.sorter.order.source {
            ArchiveSource::Stdin => "standard input".to_owned(),
            ArchiveSource::File(path) => path.display().to_string(),
        };
        match ended {
            ReadEnd::Whole => {}
            ReadEnd::Stopped => output.say("bucky: stopped; run the same command again to continue"),
            ReadEnd::Broken { error, after: None } => {
                output.say(format_args!("bucky: {source}: {}", chain(error)));
            }
            ReadEnd::Broken { error, after: Some(after) } => output.say(format_args!(
                "bucky: {source}: {}; the last member that was read is {after}, and everything up to it is \
                 counted below",
                chain(error)
            )),
        }
        // A batch that failed because of a bug in this program has no result for its files.
        let silent = files.saturating_sub(counts.finished);
        let summary = RestoreSummary {
            counts: &counts,
            elapsed: tally.elapsed(),
            refused: *refused,
            elsewhere: *elsewhere,
            silent,
        };
        tally.print_schemas(order.on_schema_difference);
        output.say(summary);
        let is_good = *refused == 0 && counts.failures() == 0 && silent == 0;
        if is_good && matches!(ended, ReadEnd::Whole) {
            output.say("Restore complete.");
            return Outcome::Done;
        }
        output.say("Errors are present in restore.");
        Outcome::SomeFailed
    }
}

/// A file to restore.
struct MemberToRestore {
    file: Restored,
    owners: Vec<usize>,
}

/// Decides what is done with each member.
struct MemberSorter<'a> {
    order: &'a RestoreOrder,
    destinations: Destinations,
    output: &'a Arc<Output>,
    /// Members that are not restored.
    refused: u64,
    /// Metrics of other nodes, if only one node is restored to.
    elsewhere: u64,
    /// Files that were handed to the delivery.
    files: u64,
}

impl MemberSorter<'_> {
    /// What to restore of `member`. Members that are not restored are reported.
    fn sort(&mut self, member: TarMember) -> Option<MemberToRestore> {
        let TarMember { path, meta, kind } = member;
        let (content, digest, is_sparse) = match kind {
            MemberKind::Folder => return None,
            MemberKind::File { content: Content::Held(content), .. } if is_report(&path) => {
                self.print_report(&content);
                return None;
            }
            MemberKind::File { content, digest, is_sparse } => (content, digest, is_sparse),
            MemberKind::Other(what) => return self.refuse(&path, format_args!("it is {what}")),
            MemberKind::Unusable(reason) => return self.refuse(&path, reason),
        };
        let metric = match names::metric_at(&path, self.order.prefix.as_ref()) {
            Ok(metric) => metric,
            Err(reason) => return self.refuse(&path, reason),
        };
        // Checked here too: a Go daemon accepts anything (D45).
        let kind = match &content {
            Content::Held(content) => Ok(Image::parse(content).map(drop)),
            Content::Spooled(spool) => spool.kind().map(|kind| kind.map(drop)),
        };
        match kind {
            Ok(Ok(()) | Err(ImageError::Compressed)) => {}
            Ok(Err(error @ ImageError::Header(_))) => {
                let reason = format!("not a complete Whisper file: {}", chain(&error));
                return self.refuse(&path, reason);
            }
            Err(error) => return self.refuse(&path, error),
        }
        let owners = match self.destinations.owners(&metric) {
            Ok(owners) => owners,
            Err(error) => return self.refuse(&path, chain(&error)),
        };
        if owners.is_empty() {
            self.elsewhere += 1;
            return None;
        }
        if self.order.verbose {
            let nodes = owners.iter().filter_map(|owner| self.destinations.nodes().get(*owner));
            let nodes: Vec<String> = nodes.map(|node| node.addr().to_string()).collect();
            self.output.say(format_args!("Uploading {metric} => {}", nodes.join(", ")));
        }
        self.files += 1;
        let file = Restored { metric, meta, content, digest, is_sparse };
        Some(MemberToRestore { file, owners })
    }

    fn refuse(&mut self, path: &[u8], reason: impl fmt::Display) -> Option<MemberToRestore> {
        self.refused += 1;
        if self.refused <= NAMED {
            let path = String::from_utf8_lossy(path);
            self.output.say(format_args!("bucky: {path:?} is not restored: {reason}"));
        } else if self.refused == NAMED + 1 {
            self.output.say("bucky: more members that are not restored are counted, but not named");
        }
        None
    }

    /// Prints the report of the daemon that created the archive.
    fn print_report(&self, content: &[u8]) {
        let Ok(report) = serde_json::from_slice::<ArchiveReport>(content) else {
            self.output.say(format_args!("bucky: cannot read {REPORT_NAME}, skipped"));
            return;
        };
        for left_out in report.left_out.iter().take(usize::try_from(NAMED).unwrap_or(usize::MAX)) {
            let (metric, reason) = (&left_out.metric, &left_out.reason);
            self.output.say(format_args!("bucky: {metric} is not in the archive: {reason}"));
        }
    }
}

fn is_report(path: &[u8]) -> bool {
    path.strip_prefix(b"./").unwrap_or(path) == REPORT_NAME.as_bytes()
}

/// The summary of a run.
struct RestoreSummary<'a> {
    counts: &'a RunCounts,
    elapsed: Duration,
    refused: u64,
    elsewhere: u64,
    silent: u64,
}

impl fmt::Display for RestoreSummary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts;
        write!(
            f,
            "{} restored: {} created, {}. {} refused.",
            counted::metrics(counts.moved),
            human_count(counts.created),
            counts.rest_of_line(self.elapsed),
            human_count(self.refused)
        )?;
        if counts.failures() > 0 {
            let (failures, kinds) = (human_count(counts.failures()), counts.kinds(|_| true));
            write!(f, "\n{failures} did not reach all their owners: {kinds}.")?;
        }
        if self.silent > 0 {
            write!(
                f,
                "\n{} have an unknown result; run the command again.",
                human_count(self.silent)
            )?;
        }
        if self.elsewhere > 0 {
            write!(f, "\n{} skipped, because other nodes own them.", human_count(self.elsewhere))?;
        }
        Ok(())
    }
}
