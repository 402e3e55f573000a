//! Has the nodes read their own files, and compares what they answer: `POST /v1/digests`.
//!
//! Copies whose contents have the same digest are equal. If digests differ, the nodes are asked for the
//! digests of each archive, because writers bring new points to each copy at another moment. What these do
//! not decide is left to the comparison of contents. If a node does not know the route, nothing is decided.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bucky_api::{
    ClientError, Daemon, DigestFound, DigestLine, DigestRequest, PointsFound, PointsRequest,
};
use bucky_whisper::MetricName;
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use super::copies::{Clock, Comparison};
use super::judge::judge;
use super::subject::VerifySubject;
use crate::cluster::{DaemonKind, Member};
use crate::copy_streams::ReadError;

/// Asks nodes what their files hold.
pub(crate) struct DigestNodes {
    nodes: Vec<DigestNode>,
    /// Whether so many copies differ that the digests of the archives are asked for at once.
    most_differ: AtomicBool,
}

struct DigestNode {
    daemon: Daemon,
    knows_route: AtomicBool,
    /// A quarter of the archives that the node sends at once: half is for contents, and moves must get
    /// through too.
    requests: Semaphore,
}

/// What each node found for one metric, by node.
pub(crate) type NodeDigests = Vec<(usize, DigestFound)>;

/// What the digests show about the copies of a metric.
pub(crate) enum DigestVerdict {
    /// This result.
    Decided(Comparison),
    /// These digests, which do not decide it.
    Undecided(NodeDigests),
    /// Nothing: one of the nodes does not know the route.
    Nothing,
}

impl DigestNodes {
    /// For these members.
    pub(crate) fn new(members: &[Member]) -> Self {
        let node = |member: &Member| {
            let limit = member.status().map_or(0, |status| status.transfers.limit / 4);
            DigestNode {
                daemon: member.daemon.clone(),
                knows_route: AtomicBool::new(member.can(DaemonKind::exchanges_archives)),
                requests: Semaphore::new(usize::try_from(limit).unwrap_or(1).max(1)),
            }
        };
        Self { nodes: members.iter().map(node).collect(), most_differ: AtomicBool::new(false) }
    }

    /// What the digests show about the copies of `subjects`, in their order.
    ///
    /// # Errors
    /// [`ReadError`] of a node whose answer is not usable.
    pub(crate) async fn examine(
        &self,
        subjects: &[VerifySubject],
        clock: Clock,
    ) -> Result<Vec<DigestVerdict>, ReadError> {
        let most_differ = self.most_differ.load(Ordering::Relaxed);
        let all: Vec<&VerifySubject> = subjects.iter().collect();
        let found = self.ask(&all, clock, most_differ).await?;
        let mut examined: Vec<DigestVerdict> = subjects.iter().zip(found).map(judged).collect();
        if most_differ {
            return Ok(examined);
        }
        let differ = |(at, verdict): (usize, &DigestVerdict)| {
            (!matches!(verdict, DigestVerdict::Decided(_)) && self.know_route(&subjects[at]))
                .then_some(at)
        };
        let differ: Vec<usize> = examined.iter().enumerate().filter_map(differ).collect();
        if differ.len() > subjects.len() / 4 {
            self.most_differ.store(true, Ordering::Relaxed);
        }
        let again: Vec<&VerifySubject> = differ.iter().map(|at| &subjects[*at]).collect();
        let found = self.ask(&again, clock, true).await?;
        for (at, found) in differ.into_iter().zip(found) {
            examined[at] = judged((&subjects[at], found));
        }
        Ok(examined)
    }

    /// The slots with points in a part of a node's file, or `None` if the node does not know the route.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) async fn points(
        &self,
        node: usize,
        request: &PointsRequest,
    ) -> Result<Option<PointsFound>, ClientError> {
        let Some(node) = self.nodes.get(node) else { return Ok(None) };
        // The semaphore is never closed.
        let _permit = node.requests.acquire().await.ok();
        node.daemon.points(request).await
    }

    fn know_route(&self, subject: &VerifySubject) -> bool {
        let knows = |node: &usize| {
            self.nodes.get(*node).is_some_and(|node| node.knows_route.load(Ordering::Relaxed))
        };
        subject.nodes.iter().all(knows)
    }

    /// What the nodes found for `subjects`, in their order. `None` for a subject with a node that does not
    /// know the route.
    async fn ask(
        &self,
        subjects: &[&VerifySubject],
        clock: Clock,
        archives: bool,
    ) -> Result<Vec<Option<NodeDigests>>, ReadError> {
        let mut of_node: BTreeMap<usize, Vec<MetricName>> = BTreeMap::new();
        let asked: Vec<bool> = subjects.iter().map(|subject| self.know_route(subject)).collect();
        for (subject, _) in subjects.iter().zip(&asked).filter(|(_, asked)| **asked) {
            for node in &subject.nodes {
                of_node.entry(*node).or_default().push(subject.metric.clone());
            }
        }
        let requests = of_node.into_iter().map(|(node, metrics)| async move {
            let Clock { now, settled, .. } = clock;
            let request = DigestRequest { metrics, now, settled, archives };
            let found = self.nodes[node].digests(request).await?;
            Ok::<_, ReadError>((node, found.map(Vec::into_iter)))
        });
        let mut answers: BTreeMap<usize, _> = try_join_all(requests).await?.into_iter().collect();
        let mut found_of = |subject: &VerifySubject| {
            let mut found = Vec::with_capacity(subject.nodes.len());
            // Takes the next answer of each node of the subject, whatever the others answered.
            for node in &subject.nodes {
                let next = answers.get_mut(node).and_then(|lines| lines.as_mut()?.next());
                found.extend(next.map(|next| (*node, next)));
            }
            (found.len() == subject.nodes.len()).then_some(found)
        };
        let found = subjects.iter().zip(asked);
        Ok(found.map(|(subject, asked)| if asked { found_of(subject) } else { None }).collect())
    }
}

fn judged((subject, found): (&VerifySubject, Option<NodeDigests>)) -> DigestVerdict {
    let Some(found) = found else { return DigestVerdict::Nothing };
    match judge(&subject.place, &found) {
        Some(examined) => DigestVerdict::Decided(examined),
        None => DigestVerdict::Undecided(found),
    }
}

impl DigestNode {
    /// What the node found for each of these metrics, in their order, or `None` if it does not know the
    /// route.
    async fn digests(&self, request: DigestRequest) -> Result<Option<Vec<DigestFound>>, ReadError> {
        // The semaphore is never closed.
        let _permit = self.requests.acquire().await.ok();
        let Some(mut lines) = self.daemon.digests(&request).await? else {
            self.knows_route.store(false, Ordering::Relaxed);
            return Ok(None);
        };
        let addr = || self.daemon.addr().clone();
        let mut found = Vec::with_capacity(request.metrics.len());
        for metric in &request.metrics {
            match lines.next::<DigestLine>().await? {
                Some(line) if line.metric == *metric => found.push(line.found),
                Some(line) => {
                    return Err(ReadError::Disordered { addr: addr(), metric: line.metric });
                }
                None => return Err(ReadError::Unanswered { addr: addr(), metric: metric.clone() }),
            }
        }
        match lines.next::<DigestLine>().await? {
            None => Ok(Some(found)),
            Some(line) => Err(ReadError::Disordered { addr: addr(), metric: line.metric }),
        }
    }
}
