//! Looking at the copies of many metrics: by what the nodes tell of them, and where that does not decide, by their contents,
//! each metric's as they come.

use std::sync::Arc;

use bucky_api::{Encoding, Problem};
use bucky_whisper::MetricName;

use super::copies::{Clock, Copy, Examined, State, examine};
use super::digests::DigestNodes;
use crate::cluster::Member;
pub(crate) use crate::copy_streams::ReadError;
use crate::copy_streams::{CopyNodes, LeftOuts};
use crate::holders::Place;
use crate::output::Output;

/// A metric to be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The metric.
    pub(crate) metric: MetricName,
    /// Where it belongs.
    pub(crate) place: Place,
    /// The nodes that are asked for it: those that listed it, and its owners. Sorted.
    pub(crate) nodes: Vec<usize>,
}

/// Reads copies from the nodes of a cluster.
pub(crate) struct Reader {
    digests: DigestNodes,
    nodes: CopyNodes,
}

impl Reader {
    /// A reader of what these members have; `members` answered.
    pub(crate) fn new(members: &[Member], encoding: Encoding, output: Arc<Output>) -> Self {
        let digests = DigestNodes::new(members);
        Self { digests, nodes: CopyNodes::new(members, encoding, output) }
    }

    /// What the copies of `subjects` are, in their order, which is that of the names. Tried again where that may help.
    ///
    /// # Errors
    /// [`ReadError`] of the node that could not be read in the end.
    pub(crate) async fn examine(
        &self,
        subjects: &[Subject],
        clock: Clock,
    ) -> Result<Vec<Examined>, ReadError> {
        let told = self.nodes.patiently(|| self.digests.examine(subjects, clock)).await?;
        let undecided = subjects.iter().zip(&told).filter(|(_, examined)| examined.is_none());
        let undecided: Vec<Subject> = undecided.map(|(subject, _)| subject.clone()).collect();
        let read = self.nodes.patiently(|| self.examine_contents(&undecided, clock)).await?;
        let mut read = read.into_iter();
        // Each that is undecided has been read, in the same order.
        Ok(told.into_iter().filter_map(|examined| examined.or_else(|| read.next())).collect())
    }

    async fn examine_contents(
        &self,
        subjects: &[Subject],
        clock: Clock,
    ) -> Result<Vec<Examined>, ReadError> {
        let wanted = subjects.iter().map(|subject| (&subject.metric, subject.nodes.as_slice()));
        let mut streams = self.nodes.open(wanted).await?;
        let mut examined = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let copies = streams.next(&subject.metric, &subject.nodes).await?;
            let copy = |(node, copy): (usize, Option<crate::copy_streams::Copy>)| Copy {
                node,
                content: copy.map(|copy| copy.content),
            };
            let copies: Vec<Copy> = copies.into_iter().map(copy).collect();
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

/// Notes of a subject's copy that did not come why that is.
fn add_absent(subject: &Subject, node: usize, left_out: &mut LeftOuts, examined: &mut Examined) {
    let at = match examined.states.binary_search_by_key(&node, |(node, _)| *node) {
        Err(at) if subject.nodes.contains(&node) => at,
        _ => return,
    };
    let (problem, reason) = left_out.remove(&subject.metric).unwrap_or_else(|| {
        (Problem::Storage, "the node's answer does not mention it and gives no reason".into())
    });
    examined.states.insert(at, (node, State::Absent(problem, reason)));
}
