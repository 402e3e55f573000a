//! Reading the copies of metrics, some at a time, in the order of their names.
//!
//! A window of metrics is read whole before it is handed on, so that a slow reader of the archive keeps no daemon waiting
//! and what fails can be read again. How many make a window goes by the length of those before; what turns out to be too
//! much all the same is left for the next. A metric with a copy that its node does not send so, being too long to be held in
//! memory, is read for itself, into temporary files.

use std::sync::Arc;
use std::time::Duration;

use bucky_api::{ClientError, Problem, chain};
use bucky_whisper::MetricName;
use tokio::sync::OwnedSemaphorePermit;

use super::copies::Held;
use crate::copy_streams::{Copy, CopyNodes, LeftOuts, ReadError};
use crate::holders::{Holders, Listed, Place, Placer};

/// What the files of a window have together, about.
const WINDOW_BYTES: u64 = 4 << 20;
/// What all windows that are read at the same time hold together, about.
const HELD_BYTES: u64 = 32 << 20;
/// The most metrics of a window, and those of the first one, whose lengths nobody knows.
const WINDOW_METRICS: u64 = 500;
const FIRST_METRICS: u64 = 16;
/// How long after the first look what was not to be had is asked for again.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// A metric to be archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The metric.
    pub(crate) metric: MetricName,
    /// The nodes that list it.
    listed_by: Vec<usize>,
    /// The nodes that are asked for it: its owners, and then the others that list it.
    nodes: Vec<usize>,
}

/// What came of a metric.
pub(crate) struct Taken {
    /// The metric.
    pub(crate) metric: MetricName,
    /// Its copies, the owners' first.
    pub(crate) copies: Vec<Held>,
    /// Copies that could not be had: the node, and why.
    pub(crate) problems: Vec<(usize, String)>,
    /// The place that its temporary files take.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// What came of a window.
pub(crate) struct Window {
    /// In the order of the names.
    pub(crate) taken: Vec<Taken>,
    /// The metric after those, where a copy of it is too long to be held: to be read by [`read_long`].
    pub(crate) long: Option<Subject>,
    /// What was too much, to be read next.
    pub(crate) rest: Vec<Subject>,
}

/// The metrics that are to be archived, in the order of their names.
pub(crate) struct Subjects {
    holders: Holders,
    placer: Option<Arc<Placer>>,
}

impl Subjects {
    /// Those of `holders`. Owners that do not list a metric are asked for it too, where `placer` knows them: it may just be
    /// on its way there.
    pub(crate) fn new(holders: Holders, placer: Option<Arc<Placer>>) -> Self {
        Self { holders, placer }
    }

    /// The next so many; none at the end. What no metric is called is passed over.
    ///
    /// # Errors
    /// [`ClientError`] where a node's list breaks off.
    pub(crate) async fn next(&mut self, metrics: u64) -> Result<Option<Vec<Subject>>, ClientError> {
        let mut subjects = Vec::new();
        while (subjects.len() as u64) < metrics {
            let Some(listed) = self.holders.next().await? else { break };
            let Ok(metric) = listed.metric() else { continue };
            let nodes = self.nodes(&listed);
            subjects.push(Subject { metric, listed_by: listed.nodes, nodes });
        }
        Ok((!subjects.is_empty()).then_some(subjects))
    }

    fn nodes(&self, listed: &Listed) -> Vec<usize> {
        let mut nodes = match self.placer.as_ref().map(|placer| placer.place(listed)) {
            Some(Place::Owners(owners)) => owners,
            Some(Place::Local | Place::Unplaceable) | None => Vec::new(),
        };
        nodes.extend(listed.nodes.iter().filter(|node| !nodes.contains(node)).collect::<Vec<_>>());
        nodes
    }
}

/// How much is read at once: by what the metrics so far had.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    metrics: u64,
    bytes: u64,
    largest_window: u64,
}

impl Pace {
    /// Notes a window that came.
    pub(crate) fn saw(&mut self, window: &Window) {
        let bytes = window.taken.iter().map(Taken::bytes).sum();
        self.metrics += window.taken.len() as u64;
        self.bytes += bytes;
        self.largest_window = self.largest_window.max(bytes);
    }

    /// How many metrics make the next window.
    pub(crate) fn metrics(&self) -> u64 {
        if self.metrics == 0 {
            return FIRST_METRICS;
        }
        let average = self.bytes.div_ceil(self.metrics).max(1);
        (WINDOW_BYTES / average).clamp(1, WINDOW_METRICS)
    }

    /// How many windows are read at once, `workers` at most.
    pub(crate) fn windows(&self, workers: usize) -> usize {
        if self.metrics == 0 {
            return 1;
        }
        let fitting = HELD_BYTES / self.largest_window.max(1);
        usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, workers)
    }
}

impl Taken {
    fn bytes(&self) -> u64 {
        self.copies.iter().map(|copy| copy.content.held_bytes()).sum()
    }
}

/// What came of a metric by now.
struct Seen {
    copies: Vec<Held>,
    /// Nodes that sent none; why, is told at the end.
    absent: Vec<usize>,
    problems: Vec<(usize, Problem, String)>,
}

/// Reads a window.
///
/// # Errors
/// [`ReadError`] where a node does not answer; what is wrong with single metrics is told with them.
pub(crate) async fn read(
    nodes: &CopyNodes,
    mut subjects: Vec<Subject>,
) -> Result<Window, ReadError> {
    let mut seen = match some(nodes, &subjects).await {
        Ok(seen) => seen,
        Err(error @ ReadError::Client(_)) => return Err(error),
        Err(error) if subjects.len() <= 1 => {
            return Ok(unread(subjects, &chain(&error)));
        }
        // Whichever is to blame, the others come through.
        Err(_) => {
            let second = subjects.split_off(subjects.len() / 2);
            let mut window = Box::pin(read(nodes, subjects)).await?;
            window.rest.extend(second);
            return Ok(window);
        }
    };
    let mut rest = subjects.split_off(seen.len());
    look_again(nodes, &subjects, &mut seen).await?;
    let long = seen.iter().position(Seen::is_too_long).map(|at| {
        let mut behind = subjects.split_off(at + 1);
        behind.append(&mut rest);
        rest = behind;
        subjects.pop()
    });
    let taken = subjects.into_iter().zip(seen).map(|(subject, seen)| seen.taken(subject));
    Ok(Window { taken: taken.collect(), long: long.flatten(), rest })
}

/// Reads the copies of one metric, of whatever length. `place` is given back once nobody needs them any more.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_long(
    nodes: &CopyNodes,
    subject: Subject,
    place: Option<OwnedSemaphorePermit>,
) -> Result<Taken, ReadError> {
    let seen = match nodes.patiently(|| look_long(nodes, &subject)).await {
        Ok(seen) if seen.is_worth_a_second_look(&subject) => {
            // Its room on the disk first.
            drop(seen);
            tokio::time::sleep(SECOND_LOOK).await;
            nodes.patiently(|| look_long(nodes, &subject)).await
        }
        seen => seen,
    };
    match seen {
        Ok(seen) => Ok(Taken { place, ..seen.taken(subject) }),
        Err(error @ ReadError::Client(_)) => Err(error),
        Err(error) => Ok(untaken(subject, &chain(&error))),
    }
}

async fn look_long(nodes: &CopyNodes, subject: &Subject) -> Result<Seen, ReadError> {
    let mut streams = nodes.of_any_length(&subject.metric, &subject.nodes).await?;
    let mut seen = Seen::of(streams.next(&subject.metric, &subject.nodes).await?);
    for (node, mut left_out) in streams.finish().await? {
        seen.note(subject, node, &mut left_out);
    }
    Ok(seen)
}

/// The first of `subjects`, as many as are enough at a time.
async fn some(nodes: &CopyNodes, subjects: &[Subject]) -> Result<Vec<Seen>, ReadError> {
    let seen = nodes.patiently(|| look(nodes, subjects)).await?;
    if !seen.is_empty() {
        return Ok(seen);
    }
    // One that is asked for alone comes to its end, and with it why copies are missing.
    let first = subjects.get(..1).unwrap_or_default();
    nodes.patiently(|| look(nodes, first)).await
}

/// Looks a second time at what seemed to move, or was locked.
async fn look_again(
    nodes: &CopyNodes,
    subjects: &[Subject],
    seen: &mut [Seen],
) -> Result<(), ReadError> {
    let pairs = subjects.iter().zip(seen);
    let mut pairs: Vec<(&Subject, &mut Seen)> =
        pairs.filter(|(subject, seen)| seen.is_worth_a_second_look(subject)).collect();
    if pairs.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(SECOND_LOOK).await;
    let subjects: Vec<Subject> = pairs.iter().map(|(subject, _)| (*subject).clone()).collect();
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

fn unread(subjects: Vec<Subject>, reason: &str) -> Window {
    let taken = subjects.into_iter().map(|subject| untaken(subject, reason));
    Window { taken: taken.collect(), long: None, rest: Vec::new() }
}

fn untaken(subject: Subject, reason: &str) -> Taken {
    Taken {
        problems: subject.listed_by.iter().map(|node| (*node, reason.to_owned())).collect(),
        metric: subject.metric,
        copies: Vec::new(),
        place: None,
    }
}

/// Looks at `subjects` from the first on, until it is enough.
async fn look(nodes: &CopyNodes, subjects: &[Subject]) -> Result<Vec<Seen>, ReadError> {
    let wanted = subjects.iter().map(|subject| (&subject.metric, subject.nodes.as_slice()));
    let mut streams = nodes.open(wanted).await?;
    let mut seen: Vec<Seen> = Vec::with_capacity(subjects.len());
    let mut bytes = 0;
    for subject in subjects {
        if bytes > 2 * WINDOW_BYTES {
            // Why copies are missing stands at the ends of the streams, which are not read now.
            let whole = seen.iter().take_while(|seen| seen.absent.is_empty()).count();
            seen.truncate(whole);
            return Ok(seen);
        }
        let copies = streams.next(&subject.metric, &subject.nodes).await?;
        let next = Seen::of(copies);
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

impl Seen {
    fn of(copies: Vec<(usize, Option<Copy>)>) -> Self {
        let mut seen = Self { copies: Vec::new(), absent: Vec::new(), problems: Vec::new() };
        for (node, copy) in copies {
            match copy {
                Some(Copy { meta, content }) => seen.copies.push(Held { node, meta, content }),
                None => seen.absent.push(node),
            }
        }
        seen
    }

    fn note(&mut self, subject: &Subject, node: usize, left_out: &mut LeftOuts) {
        if !self.absent.contains(&node) {
            return;
        }
        let (problem, reason) = left_out.remove(&subject.metric).unwrap_or_else(|| {
            (Problem::Storage, "the answer does not contain it and gives no reason".into())
        });
        self.problems.push((node, problem, reason));
    }

    /// Whether a node has left its copy out because it is too long to be held.
    fn is_too_long(&self) -> bool {
        self.problems.iter().any(|(_, problem, _)| *problem == Problem::TooLarge)
    }

    /// Whether it seems to move just now: what was on the way from one node to the other may be missing in both answers.
    /// So is what somebody had locked.
    fn is_worth_a_second_look(&self, subject: &Subject) -> bool {
        self.problems.iter().any(|(node, problem, _)| match problem {
            Problem::SourceMissing => subject.listed_by.contains(node),
            problem => problem.may_pass(),
        })
    }

    fn taken(self, subject: Subject) -> Taken {
        let is_there = !self.copies.is_empty();
        // That a copy has moved away, or that an owner has none, is no problem where another has one.
        let is_problem = |node: &usize, problem: &Problem| match problem {
            Problem::SourceMissing => !is_there && subject.listed_by.contains(node),
            _ => true,
        };
        let problems = self.problems.into_iter();
        let problems = problems.filter(|(node, problem, _)| is_problem(node, problem));
        Taken {
            problems: problems.map(|(node, _, reason)| (node, reason)).collect(),
            metric: subject.metric,
            copies: self.copies,
            place: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_api::archive::FileMeta;

    use crate::spool::Content;

    fn subject(name: &str, listed_by: &[usize], nodes: &[usize]) -> Subject {
        let (listed_by, nodes) = (listed_by.to_vec(), nodes.to_vec());
        Subject { metric: name.parse().unwrap(), listed_by, nodes }
    }

    fn window(bytes: &[usize]) -> Window {
        let held = |bytes: &usize| Held {
            node: 0,
            meta: FileMeta { mode: 0, mtime: 0 },
            content: Content::Held(vec![0; *bytes]),
        };
        let taken = bytes.iter().map(|bytes| Taken {
            metric: "a".parse().unwrap(),
            copies: vec![held(bytes)],
            problems: Vec::new(),
            place: None,
        });
        Window { taken: taken.collect(), long: None, rest: Vec::new() }
    }

    #[test]
    fn what_is_read_at_once_goes_by_what_was_read_before() {
        let mut pace = Pace::default();
        assert_eq!((pace.metrics(), pace.windows(5)), (FIRST_METRICS, 1));
        pace.saw(&window(&[148; 16]));
        assert_eq!((pace.metrics(), pace.windows(5)), (WINDOW_METRICS, 5));
        pace.saw(&window(&[16 << 20]));
        assert_eq!((pace.metrics(), pace.windows(5)), (4, 2));
        pace.saw(&window(&[100 << 20]));
        assert_eq!((pace.metrics(), pace.windows(5)), (1, 1));
    }

    #[test]
    fn a_copy_that_is_gone_is_a_problem_only_where_no_other_is_there() {
        let problem = |node, problem| (node, problem, "so it is".to_owned());
        let seen = |is_there: bool, problems: Vec<(usize, Problem, String)>| Seen {
            copies: if is_there { window(&[1]).taken.remove(0).copies } else { Vec::new() },
            absent: Vec::new(),
            problems,
        };
        let subject = || subject("a", &[1, 2], &[0, 1, 2]);
        for (is_there, problems, told, second_look) in [
            // An owner that was asked although it does not list it.
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
            assert_eq!(seen.taken(subject()).problems.len(), told);
        }
    }
}
