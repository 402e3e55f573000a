//! Writes an archive to standard output, on a thread of its own: whatever reads it may be slow.
//!
//! Windows arrive in the order of their names. The copies of each metric are merged here. If something is
//! wrong with a metric, it is reported and the archive continues. An archive that cannot be finished ends
//! with a block that is not valid in a tar, so that every reader complains: GNU tar takes an archive that
//! only stops for complete.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bucky_api::Encoding;
use bucky_api::clock::unix_now;
use bucky_api::encoding::Encoder;
use tokio::sync::{mpsc, oneshot};

use super::copies::MergedCopies;
use super::merge::merge;
use super::read::MetricCopies;
use super::tar_writer::{TarForm, TarWriter};
use crate::output::{Output, human_bytes, human_count, human_duration};
use crate::spool::Content;
use crate::tar_records::BLOCK;

/// How often progress is printed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// How many metrics with a problem are named.
const NAMED: u64 = 1_000;
/// The block that ends an archive that was given up.
const GIVEN_UP: &[u8] = b"bucky: this archive is not complete: it was cut off here\n";

/// What the packer writes next.
pub(crate) enum ArchivePiece {
    /// Metrics.
    Window(Vec<MetricCopies>),
    /// The end of the archive.
    End,
}

/// How an archive is written.
pub(crate) struct Packing {
    /// How contents are stored.
    pub(crate) form: TarForm,
    /// How the archive is compressed.
    pub(crate) encoding: Encoding,
    /// Whether every metric is named.
    pub(crate) verbose: bool,
    /// How many metrics are planned, for the progress.
    pub(crate) planned: u64,
    /// The addresses of the nodes, by index.
    pub(crate) addrs: Vec<String>,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ArchiveCounts {
    /// Metrics with at least one file in the archive.
    pub(crate) metrics: u64,
    /// Files in the archive.
    pub(crate) files: u64,
    /// Their total length.
    pub(crate) bytes: u64,
    /// Metrics whose copies were merged into one file.
    pub(crate) merged: u64,
    /// Metrics with copies that could not be merged.
    pub(crate) apart: u64,
    /// Metrics with a copy that could not be archived.
    pub(crate) failed: u64,
}

/// Starts the thread. The first channel takes what is to be written; the second returns the result.
pub(crate) fn start(
    packing: Packing,
    output: Arc<Output>,
) -> (mpsc::Sender<ArchivePiece>, oneshot::Receiver<io::Result<ArchiveCounts>>) {
    let (sender, pieces) = mpsc::channel(1);
    let (end_sender, end) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        // If nothing waits for the result, nothing needs it.
        let _ = end_sender.send(pack(packing, &output, pieces));
    });
    (sender, end)
}

fn pack(
    packing: Packing,
    output: &Arc<Output>,
    mut pieces: mpsc::Receiver<ArchivePiece>,
) -> io::Result<ArchiveCounts> {
    let encoder = packing.encoding.encoder(Data(Arc::clone(output)))?;
    let tar = TarWriter::new(encoder, packing.form);
    let mut packer = Packer {
        tar,
        output,
        packing,
        counts: ArchiveCounts::default(),
        reported_at: Instant::now(),
    };
    let begun = Instant::now();
    while let Some(piece) = pieces.blocking_recv() {
        let ArchivePiece::Window(window) = piece else {
            packer.tar.finish()?.finish()?.flush()?;
            return Ok(packer.counts);
        };
        for taken in window {
            packer.metric(taken)?;
        }
        packer.print_progress(begun);
    }
    packer.tar.give_up(GIVEN_UP)?.finish()?.flush()?;
    Ok(packer.counts)
}

struct Packer<'o> {
    tar: TarWriter<Encoder<Data>>,
    output: &'o Arc<Output>,
    packing: Packing,
    counts: ArchiveCounts,
    reported_at: Instant,
}

impl Packer<'_> {
    fn metric(&mut self, taken: MetricCopies) -> io::Result<()> {
        // The permit of a long metric is released when its files are written.
        let MetricCopies { metric, copies, problems, permit: _permit } = taken;
        let nodes: Vec<usize> = copies.iter().map(|copy| copy.node).collect();
        let MergedCopies { files, failed, copies, .. } = merge(copies, unix_now());
        self.counts.failed += u64::from(!(problems.is_empty() && failed.is_empty()));
        for (node, reason) in problems.iter().chain(&failed) {
            self.report_problem(&metric, *node, reason);
        }
        if files.is_empty() {
            return Ok(());
        }
        self.counts.metrics += 1;
        self.counts.merged += u64::from(copies > 1 && files.len() == 1);
        if files.len() > 1 {
            self.counts.apart += 1;
            let nodes = nodes.iter().filter_map(|node| self.packing.addrs.get(*node));
            let nodes: Vec<&str> = nodes.map(String::as_str).collect();
            let note = format_args!(
                "bucky: {metric}: the copies of {} are compressed or have different retentions and cannot be \
                 merged; the archive has {} files of that name, the most recently written one last",
                nodes.join(", "),
                files.len()
            );
            self.say_up_to(self.counts.apart, note);
        }
        if self.packing.verbose {
            self.output.say(format_args!("Writing {metric}..."));
        }
        let path = metric.relative_path();
        for (meta, content) in files {
            let path = path.to_string_lossy();
            self.counts.bytes += match &content {
                Content::Held(content) => {
                    self.tar.append(&path, meta, content)?;
                    content.len() as u64
                }
                Content::Spooled(spool) => {
                    self.tar.append_spooled(&path, meta, spool)?;
                    spool.len_bytes()
                }
            };
            self.counts.files += 1;
        }
        Ok(())
    }

    fn report_problem(&self, metric: &bucky_whisper::MetricName, node: usize, reason: &str) {
        let addr = self.packing.addrs.get(node).map_or("a node", String::as_str);
        self.say_up_to(self.counts.failed, format_args!("bucky: {metric}: {addr}: {reason}"));
    }

    /// Reports the `number`th problem, unless there were too many already.
    fn say_up_to(&self, number: u64, note: impl fmt::Display) {
        if number <= NAMED {
            self.output.say(note);
        } else if number == NAMED + 1 {
            self.output.say("bucky: more metrics of this kind are counted, but not named");
        }
    }

    fn print_progress(&mut self, begun: Instant) {
        if self.reported_at.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        self.reported_at = Instant::now();
        let (done, planned) = (self.counts.metrics + self.counts.failed, self.packing.planned);
        let left = u32::try_from(planned.saturating_sub(done)).unwrap_or(u32::MAX);
        let each = begun.elapsed() / u32::try_from(done).unwrap_or(u32::MAX).max(1);
        self.output.say(format_args!(
            "Progress: {} of {} metrics, {}, {} left",
            human_count(done),
            human_count(planned),
            human_bytes(self.counts.bytes),
            human_duration(each.saturating_mul(left))
        ));
    }
}

/// Standard output.
struct Data(Arc<Output>);

impl Write for Data {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.data_bytes(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.data_flush()
    }
}

impl<W: Write> TarWriter<W> {
    /// Writes `why` where the next member would be, so that readers fail there, and returns the inner writer.
    fn give_up(mut self, why: &[u8]) -> io::Result<W> {
        let mut block = why.to_vec();
        block.resize(BLOCK, b' ');
        self.raw(&block)?;
        Ok(self.into_writer())
    }
}
