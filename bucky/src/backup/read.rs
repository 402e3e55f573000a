//! Reads the copies of metrics, some at a time, in the order of their names.
//!
//! A window of metrics is read as a whole before it is handed on. So a slow reader of the archive keeps no
//! daemon waiting, and what fails can be read again. The number of metrics in a window follows from the
//! length of earlier files. If a window is too large all the same, the rest is left for the next one. If a
//! node leaves out a copy because it is too long for memory, that metric is read alone, into temporary files.

use std::time::Duration;

use bucky_api::{Problem, chain};
use bucky_whisper::MetricName;
use tokio::sync::OwnedSemaphorePermit;

use super::copies::HeldCopy;
use super::subjects::ArchiveSubject;
use crate::copy_streams::{CopyNodes, LeftOuts, NodeCopy, ReadError};

/// About how many bytes the files of a window have together.
const WINDOW_BYTES: u64 = 4 << 20;
/// About how many bytes all windows that are read at the same time hold together.
const HELD_BYTES: u64 = 32 << 20;
/// The most metrics in a window; and the number in the first one, when no lengths are known.
const WINDOW_METRICS: u64 = 500;
const FIRST_METRICS: u64 = 16;
/// How long after the first look a missing copy is asked for again.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// A metric with the copies that were read.
pub(crate) struct MetricCopies {
    /// The metric.
    pub(crate) metric: MetricName,
    /// Its copies, those of owners first.
    pub(crate) copies: Vec<HeldCopy>,
    /// Copies that could not be read: the node, and the reason.
    pub(crate) problems: Vec<(usize, String)>,
    /// The permit for its temporary files.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// The result of reading a window.
pub(crate) struct ReadWindow {
    /// The metrics that were read, in the order of their names.
    pub(crate) taken: Vec<MetricCopies>,
    /// The metric after those, if one of its copies is too long for memory: [`read_long`] reads it.
    pub(crate) long: Option<ArchiveSubject>,
    /// What did not fit, to be read next.
    pub(crate) rest: Vec<ArchiveSubject>,
}

/// How much is read at once, by the lengths of the metrics so far.
#[derive(Debug, Default)]
pub(crate) struct WindowPace {
    metrics: u64,
    bytes: u64,
    largest_window: u64,
}

impl WindowPace {
    /// Notes a window that was read.
    pub(crate) fn note(&mut self, window: &ReadWindow) {
        let bytes = window.taken.iter().map(MetricCopies::bytes).sum();
        self.metrics += window.taken.len() as u64;
        self.bytes += bytes;
        self.largest_window = self.largest_window.max(bytes);
    }

    /// How many metrics go into the next window.
    pub(crate) fn metrics(&self) -> u64 {
        if self.metrics == 0 {
            return FIRST_METRICS;
        }
        let average = self.bytes.div_ceil(self.metrics).max(1);
        (WINDOW_BYTES / average).clamp(1, WINDOW_METRICS)
    }

    /// How many windows are read at once, at most `workers`.
    pub(crate) fn windows(&self, workers: usize) -> usize {
        if self.metrics == 0 {
            return 1;
        }
        let fitting = HELD_BYTES / self.largest_window.max(1);
        usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, workers)
    }
}

impl MetricCopies {
    fn bytes(&self) -> u64 {
        self.copies.iter().map(|copy| copy.content.held_bytes()).sum()
    }
}

/// What is known of a metric so far.
struct SeenCopies {
    copies: Vec<HeldCopy>,
    /// Nodes that sent no copy; the reasons follow at the end of their streams.
    absent: Vec<usize>,
    problems: Vec<(usize, Problem, String)>,
}

/// Reads a window.
///
/// # Errors
/// [`ReadError`] if a node does not answer. Problems with single metrics are in the result.
pub(crate) async fn read(
    nodes: &CopyNodes,
    mut subjects: Vec<ArchiveSubject>,
) -> Result<ReadWindow, ReadError> {
    let mut seen = match some(nodes, &subjects).await {
        Ok(seen) => seen,
        Err(error @ ReadError::Client(_)) => return Err(error),
        Err(error) if subjects.len() <= 1 => {
            return Ok(unread(subjects, &chain(&error)));
        }
        // One of them is to blame; each is read alone, and the others succeed.
        Err(_) => {
            let second = subjects.split_off(subjects.len() / 2);
            let mut window = Box::pin(read(nodes, subjects)).await?;
            window.rest.extend(second);
            return Ok(window);
        }
    };
    let mut rest = subjects.split_off(seen.len());
    look_again(nodes, &subjects, &mut seen).await?;
    let long = seen.iter().position(SeenCopies::is_too_long).map(|at| {
        let mut behind = subjects.split_off(at + 1);
        behind.append(&mut rest);
        rest = behind;
        subjects.pop()
    });
    let taken = subjects.into_iter().zip(seen).map(|(subject, seen)| seen.taken(subject));
    Ok(ReadWindow { taken: taken.collect(), long: long.flatten(), rest })
}

/// Reads the copies of one metric, of any length. `permit` is released once its files are no longer needed.
///
/// # Errors
/// The errors of [`read`].
pub(crate) async fn read_long(
    nodes: &CopyNodes,
    subject: ArchiveSubject,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<MetricCopies, ReadError> {
    let seen = match nodes.patiently(|| look_long(nodes, &subject)).await {
        Ok(seen) if seen.is_worth_a_second_look(&subject) => {
            // The first look's temporary files are removed before the second look needs the room.
            drop(seen);
            tokio::time::sleep(SECOND_LOOK).await;
            nodes.patiently(|| look_long(nodes, &subject)).await
        }
        seen => seen,
    };
    match seen {
        Ok(seen) => Ok(MetricCopies { permit, ..seen.taken(subject) }),
        Err(error @ ReadError::Client(_)) => Err(error),
        Err(error) => Ok(untaken(subject, &chain(&error))),
    }
}

async fn look_long(nodes: &CopyNodes, subject: &ArchiveSubject) -> Result<SeenCopies, ReadError> {
    let mut streams = nodes.of_any_length(&subject.metric, &subject.nodes).await?;
    let mut seen = SeenCopies::of(streams.next(&subject.metric, &subject.nodes).await?);
    for (node, mut left_out) in streams.finish().await? {
        seen.note(subject, node, &mut left_out);
    }
    Ok(seen)
}

/// Reads the first of `subjects`, as many as make a window.
async fn some(
    nodes: &CopyNodes,
    subjects: &[ArchiveSubject],
) -> Result<Vec<SeenCopies>, ReadError> {
    let seen = nodes.patiently(|| look(nodes, subjects)).await?;
    if !seen.is_empty() {
        return Ok(seen);
    }
    // A metric that is asked for alone reaches the end of the streams, which has the reasons for missing
    // copies.
    let first = subjects.get(..1).unwrap_or_default();
    nodes.patiently(|| look(nodes, first)).await
}

/// Looks again at metrics that seemed to move, or were locked.
async fn look_again(
    nodes: &CopyNodes,
    subjects: &[ArchiveSubject],
    seen: &mut [SeenCopies],
) -> Result<(), ReadError> {
    let pairs = subjects.iter().zip(seen);
    let mut pairs: Vec<(&ArchiveSubject, &mut SeenCopies)> =
        pairs.filter(|(subject, seen)| seen.is_worth_a_second_look(subject)).collect();
    if pairs.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(SECOND_LOOK).await;
    let subjects: Vec<ArchiveSubject> =
        pairs.iter().map(|(subject, _)| (*subject).clone()).collect();
    let mut done = 0;
    while let Some(rest) = subjects.get(done..).filter(|rest| !rest.is_empty()) {
        let again = some(nodes, rest).await?;
        for (again, (_, seen)) in again.into_iter().zip(pairs.iter_mut().skip(done)) {
            **seen = again;
            done += 1;
        }
    }
    Ok(())
}

fn unread(subjects: Vec<ArchiveSubject>, reason: &str) -> ReadWindow {
    let taken = subjects.into_iter().map(|subject| untaken(subject, reason));
    ReadWindow { taken: taken.collect(), long: None, rest: Vec::new() }
}

fn untaken(subject: ArchiveSubject, reason: &str) -> MetricCopies {
    MetricCopies {
        problems: subject.listed_by.iter().map(|node| (*node, reason.to_owned())).collect(),
        metric: subject.metric,
        copies: Vec::new(),
        permit: None,
    }
}

/// Reads `subjects` from the first on, until there is enough for a window.
async fn look(
    nodes: &CopyNodes,
    subjects: &[ArchiveSubject],
) -> Result<Vec<SeenCopies>, ReadError> {
    let wanted = subjects.iter().map(|subject| (&subject.metric, subject.nodes.as_slice()));
    let mut streams = nodes.open(wanted).await?;
    let mut seen: Vec<SeenCopies> = Vec::with_capacity(subjects.len());
    let mut bytes = 0;
    for subject in subjects {
        if bytes > 2 * WINDOW_BYTES {
            // The reasons for missing copies come at the ends of the streams, which are not read in this
            // case.
            let whole = seen.iter().take_while(|seen| seen.absent.is_empty()).count();
            seen.truncate(whole);
            return Ok(seen);
        }
        let copies = streams.next(&subject.metric, &subject.nodes).await?;
        let next = SeenCopies::of(copies);
        bytes += next.copies.iter().map(|copy| copy.content.held_bytes()).sum::<u64>();
        seen.push(next);
    }
    for (node, mut left_out) in streams.finish().await? {
        for (subject, seen) in subjects.iter().zip(&mut seen) {
            seen.note(subject, node, &mut left_out);
        }
    }
    Ok(seen)
}

impl SeenCopies {
    fn of(copies: Vec<(usize, Option<NodeCopy>)>) -> Self {
        let mut seen = Self { copies: Vec::new(), absent: Vec::new(), problems: Vec::new() };
        for (node, copy) in copies {
            match copy {
                Some(NodeCopy { meta, content }) => {
                    seen.copies.push(HeldCopy { node, meta, content })
                }
                None => seen.absent.push(node),
            }
        }
        seen
    }

    fn note(&mut self, subject: &ArchiveSubject, node: usize, left_out: &mut LeftOuts) {
        if !self.absent.contains(&node) {
            return;
        }
        let (problem, reason) = left_out.remove(&subject.metric).unwrap_or_else(|| {
            (Problem::Storage, "the answer does not contain it and gives no reason".into())
        });
        self.problems.push((node, problem, reason));
    }

    /// Whether a node left its copy out because it is too long for memory.
    fn is_too_long(&self) -> bool {
        self.problems.iter().any(|(_, problem, _)| *problem == Problem::TooLarge)
    }

    /// Whether the metric may be moving: both nodes may have answered without it while it was in transit. A
    /// locked file is worth a second look too.
    fn is_worth_a_second_look(&self, subject: &ArchiveSubject) -> bool {
        self.problems.iter().any(|(node, problem, _)| match problem {
            Problem::SourceMissing => subject.listed_by.contains(node),
            problem => problem.may_pass(),
        })
    }

    fn taken(self, subject: ArchiveSubject) -> MetricCopies {
        let is_there = !self.copies.is_empty();
        // A copy that has moved away, or an owner without a copy, is not a problem if another node has one.
        let is_problem = |node: &usize, problem: &Problem| match problem {
            Problem::SourceMissing => !is_there && subject.listed_by.contains(node),
            _ => true,
        };
        let problems = self.problems.into_iter();
        let problems = problems.filter(|(node, problem, _)| is_problem(node, problem));
        MetricCopies {
            problems: problems.map(|(node, _, reason)| (node, reason)).collect(),
            metric: subject.metric,
            copies: self.copies,
            permit: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_api::archive::FileMeta;

    use crate::spool::Content;

    fn subject(name: &str, listed_by: &[usize], nodes: &[usize]) -> ArchiveSubject {
        let (listed_by, nodes) = (listed_by.to_vec(), nodes.to_vec());
        ArchiveSubject { metric: name.parse().unwrap(), listed_by, nodes }
    }

    fn window(bytes: &[usize]) -> ReadWindow {
        let held = |bytes: &usize| HeldCopy {
            node: 0,
            meta: FileMeta { mode: 0, mtime: 0 },
            content: Content::Held(vec![0; *bytes]),
        };
        let taken = bytes.iter().map(|bytes| MetricCopies {
            metric: "a".parse().unwrap(),
            copies: vec![held(bytes)],
            problems: Vec::new(),
            permit: None,
        });
        ReadWindow { taken: taken.collect(), long: None, rest: Vec::new() }
    }

    #[test]
    fn windows_are_sized_by_the_files_before() {
        let mut pace = WindowPace::default();
        assert_eq!((pace.metrics(), pace.windows(5)), (FIRST_METRICS, 1));
        pace.note(&window(&[148; 16]));
        assert_eq!((pace.metrics(), pace.windows(5)), (WINDOW_METRICS, 5));
        pace.note(&window(&[16 << 20]));
        assert_eq!((pace.metrics(), pace.windows(5)), (4, 2));
        pace.note(&window(&[100 << 20]));
        assert_eq!((pace.metrics(), pace.windows(5)), (1, 1));
    }

    #[test]
    fn a_copy_that_is_gone_is_a_problem_only_where_no_other_is_there() {
        let problem = |node, problem| (node, problem, "so it is".to_owned());
        let seen = |is_there: bool, problems: Vec<(usize, Problem, String)>| SeenCopies {
            copies: if is_there { window(&[1]).taken.remove(0).copies } else { Vec::new() },
            absent: Vec::new(),
            problems,
        };
        let subject = || subject("a", &[1, 2], &[0, 1, 2]);
        for (is_there, problems, problem_count, second_look) in [
            // An owner that was asked although it does not list the metric.
            (true, vec![problem(0, Problem::SourceMissing)], 0, false),
            (true, vec![problem(1, Problem::SourceMissing)], 0, true),
            (
                false,
                vec![problem(0, Problem::SourceMissing), problem(1, Problem::SourceMissing)],
                1,
                true,
            ),
            (true, vec![problem(2, Problem::TooLarge)], 1, false),
            (true, vec![problem(2, Problem::Busy)], 1, true),
        ] {
            let seen = seen(is_there, problems);
            assert_eq!(seen.is_worth_a_second_look(&subject()), second_look);
            assert_eq!(seen.taken(subject()).problems.len(), problem_count);
        }
    }
}
