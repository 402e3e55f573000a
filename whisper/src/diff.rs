//! The differences between two Whisper files.
//!
//! Compares the valid slots of [`ArchiveView`] at a given time, for each pair of archives of the same
//! resolution. Unlike `whisper.diff` this accepts files of different layouts. It also compares everything
//! that a coarser archive holds, not only the part that is older than the finer archives.

use std::cmp::Ordering;

use crate::image::{ArchiveView, Image, Point};

/// A slot whose values differ, or that only one file has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The time of the slot, Unix seconds.
    pub timestamp: u32,
    /// The left file's value; `None` if its slot is not valid.
    pub left: Option<f64>,
    /// The right file's value; `None` if its slot is not valid.
    pub right: Option<f64>,
}

/// The differences between two archives of one resolution.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchiveDiff {
    /// The resolution.
    pub seconds_per_point: u32,
    /// How many points the left file's archive keeps; `None` if it has no archive of this resolution.
    pub left_points: Option<u32>,
    /// How many points the right file's archive keeps; `None` if it has no archive of this resolution.
    pub right_points: Option<u32>,
    /// How many slots are valid in at least one of the files.
    pub slots_compared: u64,
    /// The slots that differ, oldest first.
    pub differences: Vec<Difference>,
}

/// Compares two files as they are at `now`, finest archives first. There is an entry for each resolution that
/// either file has, even if nothing differs. Values are compared as numbers: `0.0` and `-0.0` are equal.
pub fn diff(left: &Image<'_>, right: &Image<'_>, now: u32) -> Vec<ArchiveDiff> {
    let (left, right) = (finest_first(left), finest_first(right));
    let mut steps: Vec<u32> =
        left.iter().chain(&right).map(|view| view.archive().seconds_per_point).collect();
    steps.sort_unstable();
    steps.dedup();
    steps
        .into_iter()
        .map(|step| diff_archive(step, with_step(&left, step), with_step(&right, step), now))
        .collect()
}

fn finest_first<'a>(image: &Image<'a>) -> Vec<ArchiveView<'a>> {
    image.header().finest_first().into_iter().filter_map(|number| image.archive(number)).collect()
}

/// The archive that readers use for this resolution: the first one.
fn with_step<'a>(views: &[ArchiveView<'a>], step: u32) -> Option<ArchiveView<'a>> {
    views.iter().find(|view| view.archive().seconds_per_point == step).copied()
}

fn diff_archive(
    seconds_per_point: u32,
    left: Option<ArchiveView<'_>>,
    right: Option<ArchiveView<'_>>,
    now: u32,
) -> ArchiveDiff {
    let points = |view: Option<ArchiveView<'_>>| -> Vec<Point> {
        view.map(|view| view.points_valid(now).collect()).unwrap_or_default()
    };
    let mut slots_compared = 0;
    let mut differences = Vec::new();
    for slot in side_by_side(&points(left), &points(right)) {
        slots_compared += 1;
        if slot.left != slot.right {
            differences.push(slot);
        }
    }
    ArchiveDiff {
        seconds_per_point,
        left_points: left.map(|view| view.archive().points),
        right_points: right.map(|view| view.archive().points),
        slots_compared,
        differences,
    }
}

/// Merges both lists, which are sorted by time, into one list of slots.
fn side_by_side(left: &[Point], right: &[Point]) -> Vec<Difference> {
    let mut slots = Vec::with_capacity(left.len().max(right.len()));
    let (mut lefts, mut rights) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let order = match (lefts.peek(), rights.peek()) {
            (None, None) => return slots,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.timestamp.cmp(&right.timestamp),
        };
        let left = if order.is_le() { lefts.next() } else { None };
        let right = if order.is_ge() { rights.next() } else { None };
        let Some(point) = left.or(right) else { return slots };
        let value = |point: &Point| point.value;
        slots.push(Difference {
            timestamp: point.timestamp,
            left: left.map(value),
            right: right.map(value),
        });
    }
}
