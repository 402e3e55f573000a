//! Compares copies that are too long to be sent: by the times of their points, window by window.
//!
//! An owner lacks what a fill would bring it from the other copy's archive of the same resolution. If the
//! owner has no archive for some points, the roll-ups that a fill would make of them are not counted: those
//! points are reported as having no place.

use std::collections::{BTreeMap, BTreeSet};

use bucky_api::{
    DigestFound, LayoutDigest, POINTS_SLOTS_MOST, PointsFound, PointsRequest, Problem,
};
use bucky_whisper::WindowPoints;
use futures_util::future::try_join_all;

use super::copies::{Clock, Comparison, CopyState, Lacking};
use super::digests::NodeDigests;
use super::finding::{LackingArchive, UnplacedArchive};
use super::judge::look;
use super::subject::VerifySubject;
use crate::copy_streams::ReadError;
use crate::holders::MetricPlace;

/// Compares the copies of `subject`; `found` is what its nodes reported. `None` if a node does not know the
/// route. `ask` asks a node for the points in a part of its file.
///
/// # Errors
/// Those of `ask`.
pub(super) async fn examine_long<A, F>(
    subject: &VerifySubject,
    found: &NodeDigests,
    clock: Clock,
    ask: A,
) -> Result<Option<Comparison>, ReadError>
where
    A: Fn(usize, PointsRequest) -> F,
    F: Future<Output = Result<Option<PointsFound>, ReadError>>,
{
    examine_by(subject, found, (clock, POINTS_SLOTS_MOST), ask).await
}

async fn examine_by<A, F>(
    subject: &VerifySubject,
    found: &NodeDigests,
    (clock, window_slots): (Clock, u32),
    ask: A,
) -> Result<Option<Comparison>, ReadError>
where
    A: Fn(usize, PointsRequest) -> F,
    F: Future<Output = Result<Option<PointsFound>, ReadError>>,
{
    let (mut examined, undecided) = look(&subject.place, found);
    let Some(mut pairs) = pairs(&subject.place, found, &undecided) else { return Ok(None) };
    for step in pairs.iter().flat_map(ComparedPair::steps).collect::<BTreeSet<u32>>() {
        for (first, slots) in windows(step, &pairs, (clock, window_slots)) {
            let request = |node| {
                let Clock { now, latest, .. } = clock;
                let metric = subject.metric.clone();
                let request =
                    PointsRequest { metric, seconds_per_point: step, first, slots, now, latest };
                let answer = ask(node, request);
                async move { Ok::<_, ReadError>((node, answer.await?)) }
            };
            let nodes: BTreeSet<usize> =
                pairs.iter().flat_map(|pair| pair.nodes_with(step)).collect();
            let mut points = BTreeMap::new();
            for (node, answer) in try_join_all(nodes.into_iter().map(request)).await? {
                let Some(answer) = answer else { return Ok(None) };
                match looked_at(&answer) {
                    Ok(found) => points.insert(node, found),
                    Err(state) => {
                        set_state(&mut examined, node, state);
                        return Ok(Some(examined));
                    }
                };
            }
            for pair in &mut pairs {
                pair.add(step, first, &points, clock);
            }
        }
        pairs.iter_mut().for_each(|pair| pair.end_archive(step));
    }
    examined.lacking.extend(pairs.into_iter().filter_map(ComparedPair::lacking));
    Ok(Some(examined))
}

fn looked_at(answer: &PointsFound) -> Result<WindowPoints, CopyState> {
    if let Some(points) = answer.to_points() {
        return Ok(points);
    }
    Err(match answer {
        PointsFound::Unread { problem, reason } => CopyState::Absent(*problem, reason.clone()),
        PointsFound::NoArchive => CopyState::Absent(
            Problem::Busy,
            "its archives changed while it was checked; verify it again".into(),
        ),
        PointsFound::Points { .. } => {
            CopyState::Absent(Problem::Storage, "its node's answer cannot be read".into())
        }
    })
}

fn set_state(examined: &mut Comparison, node: usize, state: CopyState) {
    if let Some((_, known)) = examined.states.iter_mut().find(|(of, _)| *of == node) {
        *known = state;
    }
}

/// The windows of an archive, each as its first slot and the number of slots. They begin at the oldest point
/// that another copy can have.
fn windows(
    step: u32,
    pairs: &[ComparedPair],
    (clock, most): (Clock, u32),
) -> impl Iterator<Item = (u32, u32)> + use<> {
    let others = pairs.iter().filter(|pair| pair.compares(step));
    let slots = others.filter_map(|pair| pair.others.get(&step)).max().copied().unwrap_or(0);
    let retention = u64::from(step) * u64::from(slots);
    let expired = u32::try_from(u64::from(clock.now).saturating_sub(retention)).unwrap_or(0);
    let mut first = (slots > 0).then(|| (expired / step).saturating_add(1).saturating_mul(step));
    let last = clock.latest - clock.latest % step;
    std::iter::from_fn(move || {
        let from = first.filter(|first| *first <= last)?;
        let slots = ((last - from) / step + 1).min(most);
        first = slots.checked_mul(step).and_then(|seconds| from.checked_add(seconds));
        Some((from, slots))
    })
}

/// An owner and another node whose copies are compared.
struct ComparedPair {
    owner: usize,
    other: usize,
    are_owners: bool,
    /// By resolution, the number of slots of the owner's archives.
    owners: BTreeMap<u32, u32>,
    /// By resolution, the number of slots of the other copy's archives.
    others: BTreeMap<u32, u32>,
    /// What is missing in the current archive.
    missing: Missing,
    lacking: Vec<LackingArchive>,
    without_place: u64,
    unplaced: Vec<UnplacedArchive>,
}

/// What an owner's archive lacks.
#[derive(Default)]
struct Missing {
    lacking: Times,
    unplaced: Times,
    without_place: u64,
    /// Points in the future, of the owner and of the other copy.
    ahead: (BTreeSet<u32>, BTreeSet<u32>),
}

/// A count of times, with the first and the last.
#[derive(Default)]
struct Times {
    points: u64,
    span: Option<(u32, u32)>,
}

impl Times {
    fn add(&mut self, t: u32) {
        self.points += 1;
        let (first, last) = self.span.unwrap_or((t, t));
        self.span = Some((first.min(t), last.max(t)));
    }
}

/// `None` if a node did not report its archives.
fn pairs(
    place: &MetricPlace,
    found: &NodeDigests,
    undecided: &[(usize, usize)],
) -> Option<Vec<ComparedPair>> {
    let layout = |node: usize| match found.iter().find(|(of, _)| *of == node) {
        Some((_, DigestFound::Whole { layout: Some(layout), .. })) => Some(archives(layout)),
        _ => None,
    };
    let pair = |(owner, other): &(usize, usize)| {
        Some(ComparedPair {
            owner: *owner,
            other: *other,
            are_owners: place.is_owner(*other),
            owners: layout(*owner)?,
            others: layout(*other)?,
            missing: Missing::default(),
            lacking: Vec::new(),
            without_place: 0,
            unplaced: Vec::new(),
        })
    };
    undecided.iter().map(pair).collect()
}

/// By resolution, the number of slots. Of several archives with one resolution the first counts.
fn archives(layout: &LayoutDigest) -> BTreeMap<u32, u32> {
    let mut archives = BTreeMap::new();
    for archive in layout.archives.iter().filter(|archive| archive.seconds_per_point > 0) {
        archives.entry(archive.seconds_per_point).or_insert(archive.slots);
    }
    archives
}

impl ComparedPair {
    /// The resolutions of the archives that are compared.
    fn steps(&self) -> impl Iterator<Item = u32> {
        self.others.keys().copied().filter(|step| self.compares(*step))
    }

    /// Between owners, an archive that only one of them has is not compared. It is reported that their
    /// headers differ.
    fn compares(&self, step: u32) -> bool {
        self.others.contains_key(&step) && (!self.are_owners || self.owners.contains_key(&step))
    }

    fn nodes_with(&self, step: u32) -> impl Iterator<Item = usize> {
        let owner = self.owners.contains_key(&step).then_some(self.owner);
        let both = owner.into_iter().chain([self.other]);
        both.filter(move |_| self.compares(step))
    }

    /// Counts what is missing in a window that begins at `first`; `points` are the points that the nodes have
    /// in it.
    fn add(&mut self, step: u32, first: u32, points: &BTreeMap<usize, WindowPoints>, clock: Clock) {
        let Some(other) = points.get(&self.other).filter(|_| self.compares(step)) else { return };
        let own = points.get(&self.owner);
        let (valid, taken) = own.map_or((&[][..], &[][..]), |own| (&own.valid, &own.taken));
        let reach = self.owners.get(&step).map(|slots| u64::from(step) * u64::from(*slots));
        let missing = &mut self.missing;
        for number in WindowPoints::only_in(&other.valid, valid) {
            let Some(t) = number.checked_mul(step).and_then(|past| past.checked_add(first)) else {
                break;
            };
            let has_place = reach.is_some_and(|reach| u64::from(t) + reach > u64::from(clock.now));
            if self.are_owners {
                if t < clock.settled && has_place && !WindowPoints::has(taken, number) {
                    missing.lacking.add(t);
                }
            } else if !has_place {
                missing.unplaced.add(t);
            } else if WindowPoints::has(taken, number) {
                missing.without_place += 1;
            } else {
                missing.lacking.add(t);
            }
        }
        // Points in the future are not settled, so they do not count between owners.
        if !self.are_owners {
            missing.ahead.0.extend(own.into_iter().flat_map(|own| &own.ahead));
            missing.ahead.1.extend(&other.ahead);
        }
    }

    /// Completes an archive, when all its windows have been added.
    fn end_archive(&mut self, step: u32) {
        let Missing { mut lacking, mut unplaced, without_place, ahead } =
            std::mem::take(&mut self.missing);
        let has_archive = self.owners.contains_key(&step);
        for t in ahead.1.difference(&ahead.0) {
            if has_archive { lacking.add(*t) } else { unplaced.add(*t) }
        }
        self.without_place += without_place;
        if let Times { points, span: Some((first, last)) } = lacking {
            let seconds_per_point = step;
            self.lacking.push(LackingArchive { seconds_per_point, points, first, last });
        }
        if let Times { points, span: Some((first, last)) } = unplaced {
            let seconds_per_point = step;
            self.unplaced.push(UnplacedArchive {
                seconds_per_point,
                points,
                first,
                last,
                has_archive,
            });
        }
    }

    /// What the owner lacks, or `None` if it lacks nothing.
    fn lacking(self) -> Option<Lacking> {
        let Self { owner, other, lacking, without_place, unplaced, .. } = self;
        let is_nothing = lacking.is_empty() && without_place == 0 && unplaced.is_empty();
        (!is_nothing).then_some(Lacking {
            owner,
            other,
            archives: Some(lacking),
            without_place,
            unplaced,
        })
    }
}

#[cfg(test)]
mod tests;
