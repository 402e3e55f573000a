//! Compares the copies of one metric.
//!
//! Pure: takes contents and a time, returns findings. A copy lacks what a fill would bring it
//! (`docs/internals/fill.md`), so a finding says exactly what a move would do about it. Contents are dropped
//! as soon as they have been read.

use bucky_api::{Problem, chain};
use bucky_whisper::{AggregationSix, Clocks, Coverage, FillOptions, Image, ImageError, fill};

use super::finding::{FindingKind, LackingArchive, UnplacedArchive};
use super::layout::{self, LayoutDifference};
use crate::holders::MetricPlace;

/// The state of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CopyState {
    /// A valid Whisper file.
    Sound,
    /// A file in go-carbon's compressed format, valid as far as that can be checked.
    Compressed,
    /// Not a valid Whisper file: what is wrong with it.
    Corrupt(String),
    /// The node did not send it, and the reason.
    Absent(Problem, String),
}

/// A copy as it came from a node.
pub(crate) struct ComparedCopy {
    /// The index of the node among the members.
    pub(crate) node: usize,
    /// The whole file, or `None` if it did not come.
    pub(crate) content: Option<Vec<u8>>,
}

/// The result of comparing the copies of one metric. The reasons why copies did not come are added later.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Comparison {
    /// The state of the copy on each node, in the order of the nodes.
    pub(crate) states: Vec<(usize, CopyState)>,
    /// Points that one copy has and an owner's copy lacks.
    pub(crate) lacking: Vec<Lacking>,
    /// Copies whose headers differ from an owner's, each pair once.
    pub(crate) layouts: Vec<LayoutDifference>,
    /// Points of all copies together.
    pub(crate) points: u64,
    /// The total length of all copies, in bytes.
    pub(crate) bytes: u64,
    /// How many copies were read.
    pub(crate) copies: u64,
}

/// Points that the copy on one node has and an owner's copy lacks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lacking {
    /// The owner that lacks it.
    pub(crate) owner: usize,
    /// The node that has it.
    pub(crate) other: usize,
    /// The points by archive, or `None` if the two cannot be compared because one is compressed.
    pub(crate) archives: Option<Vec<LackingArchive>>,
    /// Points without a place at the owner, because newer timestamps are in their slots.
    pub(crate) without_place: u64,
    /// Points of a misplaced copy for which the owner's file has no slot at all.
    pub(crate) unplaced: Vec<UnplacedArchive>,
}

/// The times that decide which points count, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The earliest time that any of the clocks shows: points that are valid by any of them are compared.
    pub(crate) now: u32,
    /// The latest time that any of the clocks shows.
    pub(crate) latest: u32,
    /// Points from here on are not compared between owners: writers bring the newest points to each owner at
    /// another moment.
    pub(crate) settled: u32,
}

impl Clock {
    fn clocks(self) -> Clocks {
        Clocks::new(self.now, self.latest)
    }
}

/// Checks the copies of a metric that belongs at `place`, and compares those that should hold the same
/// points.
pub(crate) fn examine(place: &MetricPlace, copies: &[ComparedCopy], clock: Clock) -> Comparison {
    let mut examined = Comparison::default();
    let mut images: Vec<(usize, Result<Image<'_>, ImageError>)> = Vec::with_capacity(copies.len());
    for copy in copies {
        let Some(content) = &copy.content else { continue };
        let image = Image::parse(content);
        examined.copies += 1;
        examined.bytes += content.len() as u64;
        examined.points += image.as_ref().map_or(0, |image| points(image, clock.now));
        let state = match &image {
            Ok(_) => CopyState::Sound,
            Err(ImageError::Compressed) => CopyState::Compressed,
            Err(error) => CopyState::Corrupt(chain(error)),
        };
        examined.states.push((copy.node, state));
        images.push((copy.node, image));
    }
    for owner in (0..images.len()).filter(|at| place.is_owner(images[*at].0)) {
        for other in (0..images.len()).filter(|at| *at != owner) {
            if content(copies, images[owner].0) == content(copies, images[other].0) {
                continue;
            }
            let are_owners = place.is_owner(images[other].0);
            examined.lacking.extend(compare(&images[owner], &images[other], clock, are_owners));
            // Each pair of owners occurs twice.
            if let (Ok(owned), Ok(copy)) = (&images[owner].1, &images[other].1)
                && (!are_owners || owner < other)
            {
                let texts = [owned, copy].map(|image| layout::text(image.header()));
                let (owner, other) = (images[owner].0, images[other].0);
                examined
                    .layouts
                    .extend(LayoutDifference::of((owner, &texts[0]), (other, &texts[1])));
            }
        }
    }
    examined
}

fn content(copies: &[ComparedCopy], node: usize) -> Option<&[u8]> {
    copies.iter().find(|copy| copy.node == node)?.content.as_deref()
}

fn points(image: &Image<'_>, now: u32) -> u64 {
    image.archives().map(|archive| archive.points_valid(now).count() as u64).sum()
}

/// What `owner` lacks that `other` has.
fn compare(
    owner: &(usize, Result<Image<'_>, ImageError>),
    other: &(usize, Result<Image<'_>, ImageError>),
    clock: Clock,
    are_owners: bool,
) -> Option<Lacking> {
    let mut found = Lacking {
        owner: owner.0,
        other: other.0,
        archives: None,
        without_place: 0,
        unplaced: Vec::new(),
    };
    match (&owner.1, &other.1) {
        (Ok(owner), Ok(other)) => {
            let until = are_owners.then_some(clock.settled);
            let (archives, without_place) = lacking(other, owner, clock, until);
            if !are_owners {
                found.unplaced = unplaced(other, owner, clock);
            }
            if archives.is_empty() && without_place == 0 && found.unplaced.is_empty() {
                return None;
            }
            (found.archives, found.without_place) = (Some(archives), without_place);
        }
        // A corrupt copy has a finding of its own.
        (Err(ImageError::Header(_)), _) | (_, Err(ImageError::Header(_))) => return None,
        (Err(ImageError::Compressed), _) | (_, Err(ImageError::Compressed)) => {}
    }
    Some(found)
}

/// The points of `other` for which `owner` has no slot, by archive.
fn unplaced(other: &Image<'_>, owner: &Image<'_>, clock: Clock) -> Vec<UnplacedArchive> {
    let coverage = Coverage::of(other, owner, clock.clocks());
    let archives = coverage.archives.iter().filter(|archive| archive.without_place > 0);
    let unplaced = archives.map(|archive| {
        let (first, last) = archive.span_without_place.unwrap_or_default();
        UnplacedArchive {
            seconds_per_point: archive.seconds_per_point,
            points: archive.without_place,
            first,
            last,
            has_archive: archive.has_archive,
        }
    });
    unplaced.collect()
}

/// What a fill of `owner` from `other` would write, by archive, and how many points have no place there.
fn lacking(
    other: &Image<'_>,
    owner: &Image<'_>,
    clock: Clock,
    until: Option<u32>,
) -> (Vec<LackingArchive>, u64) {
    let options =
        FillOptions { clocks: clock.clocks(), aggregation_six: AggregationSix::default() };
    let plan = fill(other, owner, options);
    let mut archives = Vec::new();
    for filled in plan.archives().iter().filter(|filled| filled.points_filled > 0) {
        let Some(view) = owner.archive(filled.archive) else { continue };
        let bytes = u64::from(view.archive().offset)..view.archive().end();
        let runs = plan.runs().filter(|run| bytes.contains(&run.offset));
        let slots = runs.flat_map(|run| run.bytes.as_chunks::<12>().0);
        // The fill also writes roll-ups that it computes again; only the points that the owner lacks count.
        let times = slots.map(|slot| bucky_whisper::Point::decode(slot).timestamp);
        let times = times.filter(|t| view.valid(*t, clock.now).is_none());
        let times = times.filter(|t| until.is_none_or(|until| *t < until));
        let (mut count, mut first, mut last) = (0, u32::MAX, 0);
        for t in times {
            (count, first, last) = (count + 1, first.min(t), last.max(t));
        }
        if count > 0 {
            archives.push(LackingArchive {
                seconds_per_point: filled.seconds_per_point,
                points: if until.is_some() { count } else { filled.points_filled },
                first,
                last,
            });
        }
    }
    (archives, if until.is_some() { 0 } else { plan.points_left_out() })
}

impl Comparison {
    /// The findings, by node.
    pub(crate) fn findings(&self, place: &MetricPlace) -> Vec<(usize, FindingKind)> {
        let is_there =
            |state: &CopyState| !matches!(state, CopyState::Absent(Problem::SourceMissing, _));
        let there = self.states.iter().filter(|(_, state)| is_there(state)).count();
        if there == 0 {
            return self
                .states
                .first()
                .map(|(node, _)| (*node, FindingKind::Gone))
                .into_iter()
                .collect();
        }
        let mut findings = Vec::new();
        for (node, state) in &self.states {
            if is_there(state) && !place.owns(*node) {
                findings.push((*node, FindingKind::Misplaced));
            }
            match state {
                CopyState::Sound | CopyState::Compressed => {}
                CopyState::Corrupt(reason) => {
                    findings.push((*node, FindingKind::Corrupt { reason: reason.clone() }));
                }
                CopyState::Absent(Problem::SourceMissing, _) => {
                    if place.is_owner(*node) {
                        findings.push((*node, FindingKind::Missing));
                    }
                }
                CopyState::Absent(_, reason) => {
                    findings.push((*node, FindingKind::Unreadable { reason: reason.clone() }));
                }
            }
        }
        for lacking in &self.lacking {
            findings.extend(lacking.kinds(place).map(|kind| (lacking.owner, kind)));
        }
        findings.extend(self.layouts.iter().map(|one| {
            let (layout, others) = (one.owners.clone(), one.others.clone());
            (one.owner, FindingKind::LayoutsDiffer { other: one.other, layout, others })
        }));
        findings
    }

    /// How many of the copies are compressed.
    pub(crate) fn compressed(&self) -> u64 {
        self.states.iter().filter(|(_, state)| *state == CopyState::Compressed).count() as u64
    }
}

impl Lacking {
    /// The findings about these points.
    fn kinds(&self, place: &MetricPlace) -> impl Iterator<Item = FindingKind> {
        let other = self.other;
        let lacks = match &self.archives {
            None => Some(FindingKind::Incomparable { other }),
            Some(archives) if place.is_owner(other) => {
                Some(FindingKind::ReplicasDiffer { other, archives: archives.clone() })
            }
            Some(archives) => {
                let (archives, without_place) = (archives.clone(), self.without_place);
                let is_something = !archives.is_empty() || without_place > 0;
                is_something.then_some(FindingKind::Lacks { other, archives, without_place })
            }
        };
        let unplaced = (!self.unplaced.is_empty())
            .then(|| FindingKind::NoPlace { other, archives: self.unplaced.clone() });
        lacks.into_iter().chain(unplaced)
    }
}

#[cfg(test)]
mod tests;
