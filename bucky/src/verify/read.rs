//! Compares the copies of many metrics. Their nodes' digests come first, then their contents if the digests
//! do not decide, and the times of their points (`long`) if the files are too long.

use std::sync::Arc;

use bucky_api::{Encoding, PointsRequest, Problem};

use super::copies::{Clock, ComparedCopy, Comparison, CopyState, examine};
use super::digests::{DigestNodes, DigestVerdict, NodeDigests};
use super::long::examine_long;
use super::subject::VerifySubject;
use crate::cluster::Member;
use crate::copy_streams::{CopyNodes, LeftOuts, ReadError};
use crate::output::Output;
use crate::spool::Content;

/// Reads copies from the nodes of a cluster.
pub(crate) struct CopyReader {
    digests: DigestNodes,
    nodes: CopyNodes,
}

impl CopyReader {
    /// A reader for these members, which have answered.
    pub(crate) fn new(members: &[Member], encoding: Encoding, output: Arc<Output>) -> Self {
        let digests = DigestNodes::new(members);
        Self { digests, nodes: CopyNodes::new(members, encoding, output) }
    }

    /// Compares the copies of `subjects`, in their order, which is that of the names. Tries again where that
    /// may help.
    ///
    /// # Errors
    /// [`ReadError`] of the node that could not be read in the end.
    pub(crate) async fn examine(
        &self,
        subjects: &[VerifySubject],
        clock: Clock,
    ) -> Result<Vec<Comparison>, ReadError> {
        let verdict = self.nodes.patiently(|| self.digests.examine(subjects, clock)).await?;
        let undecided = subjects
            .iter()
            .zip(&verdict)
            .filter(|(_, verdict)| !matches!(verdict, DigestVerdict::Decided(_)));
        let undecided: Vec<VerifySubject> = undecided.map(|(subject, _)| subject.clone()).collect();
        let read = self.nodes.patiently(|| self.examine_contents(&undecided, clock)).await?;
        let mut read = read.into_iter();
        let mut all = Vec::with_capacity(subjects.len());
        for (subject, verdict) in subjects.iter().zip(verdict) {
            // Every undecided subject was read, in the same order.
            let (by_contents, found) = match verdict {
                DigestVerdict::Decided(examined) => {
                    all.push(examined);
                    continue;
                }
                DigestVerdict::Undecided(found) => (read.next(), Some(found)),
                DigestVerdict::Nothing => (read.next(), None),
            };
            let Some(by_contents) = by_contents else { continue };
            let by_points = match found.filter(|_| is_too_long(&by_contents)) {
                Some(found) => self.examine_points(subject, &found, clock).await?,
                None => None,
            };
            all.push(by_points.unwrap_or(by_contents));
        }
        Ok(all)
    }

    /// Compares the copies of a metric with copies that are too long to be sent, or `None` if a node does not
    /// know the route.
    async fn examine_points(
        &self,
        subject: &VerifySubject,
        found: &NodeDigests,
        clock: Clock,
    ) -> Result<Option<Comparison>, ReadError> {
        let ask = |node, request: PointsRequest| async move {
            let asked = || async { Ok(self.digests.points(node, &request).await?) };
            self.nodes.patiently(asked).await
        };
        examine_long(subject, found, clock, ask).await
    }

    async fn examine_contents(
        &self,
        subjects: &[VerifySubject],
        clock: Clock,
    ) -> Result<Vec<Comparison>, ReadError> {
        let wanted = subjects.iter().map(|subject| (&subject.metric, subject.nodes.as_slice()));
        let mut streams = self.nodes.open(wanted).await?;
        let mut examined = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let copies = streams.next(&subject.metric, &subject.nodes).await?;
            let copy = |(node, copy): (usize, Option<crate::copy_streams::NodeCopy>)| {
                let content = copy.and_then(|copy| match copy.content {
                    Content::Held(content) => Some(content),
                    // A spooled file only comes if it was asked for.
                    Content::Spooled(_) => None,
                });
                ComparedCopy { node, content }
            };
            let copies: Vec<ComparedCopy> = copies.into_iter().map(copy).collect();
            examined.push(examine(&subject.place, &copies, clock));
        }
        for (node, mut left_out) in streams.finish().await? {
            for (subject, examined) in subjects.iter().zip(&mut examined) {
                add_absent(subject, node, &mut left_out, examined);
            }
        }
        Ok(examined)
    }
}

/// Whether a copy did not come because it is too long for memory.
fn is_too_long(examined: &Comparison) -> bool {
    let is_one = |state: &CopyState| matches!(state, CopyState::Absent(Problem::TooLarge, _));
    examined.states.iter().any(|(_, state)| is_one(state))
}

/// Notes why a copy of a subject did not come.
fn add_absent(
    subject: &VerifySubject,
    node: usize,
    left_out: &mut LeftOuts,
    examined: &mut Comparison,
) {
    let at = match examined.states.binary_search_by_key(&node, |(node, _)| *node) {
        Err(at) if subject.nodes.contains(&node) => at,
        _ => return,
    };
    let (problem, reason) = left_out.remove(&subject.metric).unwrap_or_else(|| {
        (Problem::Storage, "the node's answer does not mention it and gives no reason".into())
    });
    examined.states.insert(at, (node, CopyState::Absent(problem, reason)));
}
