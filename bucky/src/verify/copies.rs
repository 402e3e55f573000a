//! What the copies of one metric are, held against each other.
//!
//! Pure: contents and a time in, findings out. What a copy lacks is what a fill would bring it (`docs/fill.md`), so
//! that a finding says exactly what a move would do about it. Contents go as soon as they are looked at.

use bucky_api::{Problem, chain};
use bucky_whisper::{AggregationSix, Clocks, FillOptions, Image, ImageError, fill};

use super::finding::{Kind, LackingArchive};
use crate::holders::Place;

/// What was found of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A whole Whisper file.
    Sound,
    /// In go-carbon's compressed format: whole as far as can be told.
    Compressed,
    /// No whole Whisper file: what is wrong with it.
    Corrupt(String),
    /// The node did not send it: why.
    Absent(Problem, String),
}

/// A copy as it came from a node.
pub(crate) struct Copy {
    /// The node, by its place among the members.
    pub(crate) node: usize,
    /// The whole file; or why it did not come, where that is known by now.
    pub(crate) content: Option<Vec<u8>>,
}

/// What the copies of one metric are. Reasons why copies did not come are added later.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Examined {
    /// By node, in their order.
    pub(crate) states: Vec<(usize, State)>,
    /// What some copy has and an owner's lacks.
    pub(crate) lacking: Vec<Lacking>,
    /// Points in all copies together.
    pub(crate) points: u64,
    /// The length of all copies together.
    pub(crate) bytes: u64,
    /// How many copies were read.
    pub(crate) copies: u64,
}

/// What the copy on one node has and that of an owner lacks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lacking {
    /// The owner that lacks it.
    pub(crate) owner: usize,
    /// The node that has it.
    pub(crate) other: usize,
    /// None where the two cannot be compared, one of them being compressed.
    pub(crate) archives: Option<Vec<LackingArchive>>,
    /// Points that have no place at the owner, where newer timestamps stand.
    pub(crate) without_place: u64,
}

/// Which points are compared between the owners of one metric: those before this time. Writers bring the newest to each
/// of them at another moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The time, Unix seconds.
    pub(crate) now: u32,
    /// Between owners, points from here on are not compared.
    pub(crate) settled: u32,
}

/// Looks at the copies of a metric that belongs at `place`, and compares those that are to hold the same.
pub(crate) fn examine(place: &Place, copies: &[Copy], clock: Clock) -> Examined {
    let mut examined = Examined::default();
    let mut images: Vec<(usize, Result<Image<'_>, ImageError>)> = Vec::with_capacity(copies.len());
    for copy in copies {
        let Some(content) = &copy.content else { continue };
        let image = Image::parse(content);
        examined.copies += 1;
        examined.bytes += content.len() as u64;
        examined.points += image.as_ref().map_or(0, |image| points(image, clock.now));
        let state = match &image {
            Ok(_) => State::Sound,
            Err(ImageError::Compressed) => State::Compressed,
            Err(error) => State::Corrupt(chain(error)),
        };
        examined.states.push((copy.node, state));
        images.push((copy.node, image));
    }
    for owner in (0..images.len()).filter(|at| place.is_owner(images[*at].0)) {
        for other in (0..images.len()).filter(|at| *at != owner) {
            if content(copies, images[owner].0) == content(copies, images[other].0) {
                continue;
            }
            let until = place.is_owner(images[other].0).then_some(clock.settled);
            examined.lacking.extend(compare(&images[owner], &images[other], clock.now, until));
        }
    }
    examined
}

fn content(copies: &[Copy], node: usize) -> Option<&[u8]> {
    copies.iter().find(|copy| copy.node == node)?.content.as_deref()
}

fn points(image: &Image<'_>, now: u32) -> u64 {
    image.archives().map(|archive| archive.points_valid(now).count() as u64).sum()
}

/// What `owner` lacks of what `other` has; points from `until` on do not count.
fn compare(
    owner: &(usize, Result<Image<'_>, ImageError>),
    other: &(usize, Result<Image<'_>, ImageError>),
    now: u32,
    until: Option<u32>,
) -> Option<Lacking> {
    let (archives, without_place) = match (&owner.1, &other.1) {
        (Ok(owner), Ok(other)) => {
            let (archives, without_place) = lacking(other, owner, now, until);
            if archives.is_empty() && without_place == 0 {
                return None;
            }
            (Some(archives), without_place)
        }
        // What is corrupt is said of that copy.
        (Err(ImageError::Header(_)), _) | (_, Err(ImageError::Header(_))) => return None,
        (Err(ImageError::Compressed), _) | (_, Err(ImageError::Compressed)) => (None, 0),
    };
    Some(Lacking { owner: owner.0, other: other.0, archives, without_place })
}

/// What a fill of `owner` from `other` would bring, by archive, and how many points have no place there.
fn lacking(
    other: &Image<'_>,
    owner: &Image<'_>,
    now: u32,
    until: Option<u32>,
) -> (Vec<LackingArchive>, u64) {
    let plan = fill(
        other,
        owner,
        FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::default() },
    );
    let mut archives = Vec::new();
    for filled in plan.archives().iter().filter(|filled| filled.points_filled > 0) {
        let Some(view) = owner.archive(filled.archive) else { continue };
        let bytes = u64::from(view.archive().offset)..view.archive().end();
        let runs = plan.runs().filter(|run| bytes.contains(&run.offset));
        let slots = runs.flat_map(|run| run.bytes.as_chunks::<12>().0);
        // Beside what the owner lacks, roll-ups that are made anew are written.
        let times = slots.map(|slot| bucky_whisper::Point::decode(slot).timestamp);
        let times = times.filter(|t| view.valid(*t, now).is_none());
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

impl Examined {
    /// What there is to report, by node.
    pub(crate) fn findings(&self, place: &Place) -> Vec<(usize, Kind)> {
        let is_there = |state: &State| !matches!(state, State::Absent(Problem::SourceMissing, _));
        let there = self.states.iter().filter(|(_, state)| is_there(state)).count();
        if there == 0 {
            return self.states.first().map(|(node, _)| (*node, Kind::Gone)).into_iter().collect();
        }
        let mut findings = Vec::new();
        for (node, state) in &self.states {
            if is_there(state) && !place.owns(*node) {
                findings.push((*node, Kind::Misplaced));
            }
            match state {
                State::Sound | State::Compressed => {}
                State::Corrupt(reason) => {
                    findings.push((*node, Kind::Corrupt { reason: reason.clone() }));
                }
                State::Absent(Problem::SourceMissing, _) => {
                    if place.is_owner(*node) {
                        findings.push((*node, Kind::Missing));
                    }
                }
                State::Absent(_, reason) => {
                    findings.push((*node, Kind::Unreadable { reason: reason.clone() }));
                }
            }
        }
        findings.extend(self.lacking.iter().map(|lacking| (lacking.owner, lacking.kind(place))));
        findings
    }

    /// How many of the copies are compressed.
    pub(crate) fn compressed(&self) -> u64 {
        self.states.iter().filter(|(_, state)| *state == State::Compressed).count() as u64
    }
}

impl Lacking {
    fn kind(&self, place: &Place) -> Kind {
        let other = self.other;
        match &self.archives {
            None => Kind::Incomparable { other },
            Some(archives) if place.is_owner(other) => {
                Kind::ReplicasDiffer { other, archives: archives.clone() }
            }
            Some(archives) => {
                Kind::Lacks { other, archives: archives.clone(), without_place: self.without_place }
            }
        }
    }
}

#[cfg(test)]
mod tests;
