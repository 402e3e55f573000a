//! Changes the layout or the aggregation method of an existing file: takes values, returns a whole new file.
//!
//! One archive is resized at a time. Its points stay if the new archive has a slot for them; the other
//! archives are copied unchanged. An archive that now reaches farther back would hide the coarser archive,
//! which readers got for those times before. So its older slots take the coarser archive's values, unless the
//! caller wants them to stay empty. This is the only place where a finer slot is made from a coarser point: a
//! fill never does so (R2 of [`crate::fill()`]).

use std::collections::BTreeMap;

use crate::aggregation::{Aggregation, AggregationSix};
use crate::header::{AGGREGATION_AT, Archive, Header};
use crate::image::{ArchiveView, Image, Point, position_of};
use crate::reshape::ReshapeError;
use crate::retention::{Retention, RetentionError};

/// The changes to make in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modification {
    /// The new aggregation method. Between `average` and `sum` the coarser archives' values are corrected;
    /// the correction is exact if all points that they were made from were known. With other methods the
    /// roll-ups stay as they are.
    pub aggregation: Option<Aggregation>,
    /// The archive to resize.
    pub resize: Option<Resize>,
}

/// A new size for one archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// The number of the archive in the file, from 0.
    pub archive: usize,
    /// The retention that it gets.
    pub retention: Retention,
    /// What to do with slots that the archive did not reach back to before.
    pub older_slots: OlderSlots,
}

/// What to do with the older slots of an archive that has grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OlderSlots {
    /// Slots before the archive's oldest point take the values of the next coarser archive; a sum is split
    /// evenly.
    #[default]
    BeforeOldestPoint,
    /// Slots before the beginning of the archive's old window take those values.
    BeforeOldWindow,
    /// They stay empty.
    StayEmpty,
}

/// Why a file cannot be modified as requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModifyError {
    /// The file has no archive with that number.
    #[error("there is no archive {archive}; the file has {archives}, numbered from 0")]
    NoSuchArchive {
        /// The number that was asked for.
        archive: usize,
        /// How many archives the file has.
        archives: usize,
    },
    /// The archives would not be valid in one file.
    #[error("the archives would not be valid together")]
    Retentions(#[from] RetentionError),
    /// The archives of the two files cannot be combined in one file.
    #[error(transparent)]
    Reshape(#[from] ReshapeError),
    /// There is not enough memory for a file of that size.
    #[error("the file would have {len_bytes} bytes, which is more than the available memory")]
    TooLarge {
        /// The size that it would have.
        len_bytes: u64,
    },
}

/// A file after a modification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modified {
    /// The whole new file.
    pub bytes: Vec<u8>,
    /// The number of points of the resized archive that were inside its retention and no longer have a slot
    /// of their own.
    pub points_left_out: u64,
}

/// Applies `modification` to `image` at `now`, Unix seconds, and returns the new file.
///
/// # Errors
/// [`ModifyError`].
pub fn modify(
    image: &Image<'_>,
    modification: &Modification,
    now: u32,
) -> Result<Modified, ModifyError> {
    let from = image.header().aggregation;
    let bytes = match modification.aggregation {
        // A header from before whisper 0.9.9 gets the method in its first field.
        Some(to) if to != from || image.header().last_update.is_some() => {
            with_aggregation(image, to)
        }
        _ => image.bytes().to_vec(),
    };
    let Some(resize) = modification.resize else {
        return Ok(Modified { bytes, points_left_out: 0 });
    };
    let mut header = image.header().clone();
    if let Some(to) = modification.aggregation {
        (header.aggregation, header.last_update) = (to, None);
    }
    resized(&header, &bytes, resize, now)
}

/// The file with another aggregation method. The correction follows from the method: a coarser point of an
/// average of n finest points is their sum divided by n.
fn with_aggregation(image: &Image<'_>, to: Aggregation) -> Vec<u8> {
    let header = image.header();
    let mut bytes = image.bytes().to_vec();
    let at = usize::try_from(AGGREGATION_AT).unwrap_or(0);
    put(&mut bytes, at, &to.code().to_be_bytes());
    let correct: fn(f64, f64) -> f64 = match (header.aggregation, to) {
        (Aggregation::Average, Aggregation::Sum) => |value, points| value * points,
        (Aggregation::Sum, Aggregation::Average) => |value, points| value / points,
        _ => return bytes,
    };
    let steps = header.archives.iter().map(|archive| archive.seconds_per_point);
    let finest = steps.min().unwrap_or(1);
    for view in image.archives() {
        let Archive { seconds_per_point: step, points, .. } = view.archive();
        // An archive whose step does not divide is never rolled up.
        if step == finest || !step.is_multiple_of(finest) {
            continue;
        }
        let parts = f64::from(step / finest);
        for position in 0..points {
            if let Some(stored) = view.stored(position).filter(|stored| stored.timestamp != 0) {
                let corrected = Point { value: correct(stored.value, parts), ..stored };
                let offset = usize::try_from(view.slot_offset(position)).unwrap_or(usize::MAX);
                put(&mut bytes, offset, &corrected.encode());
            }
        }
    }
    bytes
}

/// The file `bytes`, with the header `header`, with one archive resized.
fn resized(
    header: &Header,
    bytes: &[u8],
    resize: Resize,
    now: u32,
) -> Result<Modified, ModifyError> {
    let archives = header.archives.len();
    let mut retentions: Vec<Retention> = header.archives.iter().filter_map(retention_of).collect();
    let Some(retention) = retentions.get_mut(resize.archive) else {
        return Err(ModifyError::NoSuchArchive { archive: resize.archive, archives });
    };
    *retention = resize.retention;
    let new = Header::for_retentions(&retentions, header.aggregation, header.x_files_factor)?;
    let new = Header { last_update: header.last_update, ..new };
    let mut out = empty_file(&new)?;
    let Ok(image) = Image::parse(bytes) else {
        // This cannot happen: the bytes were parsed before, and only the code of a known method has changed.
        return Ok(Modified { bytes: bytes.to_vec(), points_left_out: 0 });
    };
    let mut points_left_out = 0;
    for ((number, view), retention) in image.archives().enumerate().zip(&retentions) {
        let target = new
            .archives
            .iter()
            .find(|archive| archive.seconds_per_point == retention.seconds_per_point());
        let Some(target) = target else { continue };
        if number == resize.archive {
            let points = points_of_resized(&image, &view, target, resize.older_slots, now);
            points_left_out = left_out(&view, target, now);
            write_points(&mut out, target, &points, now);
        } else {
            let end = usize::try_from(view.archive().end()).unwrap_or(usize::MAX);
            let slots = bytes.get(view.archive().offset as usize..end).unwrap_or_default();
            put(&mut out, target.offset as usize, slots);
        }
    }
    Ok(Modified { bytes: out, points_left_out })
}

/// A file with this header and no points.
pub(crate) fn empty_file(header: &Header) -> Result<Vec<u8>, ModifyError> {
    let len_bytes = header.file_size_bytes();
    let too_large = || ModifyError::TooLarge { len_bytes };
    let len = usize::try_from(len_bytes).map_err(|_| too_large())?;
    let mut out = header.encode();
    out.try_reserve_exact(len.saturating_sub(out.len())).map_err(|_| too_large())?;
    out.resize(len, 0);
    Ok(out)
}

fn retention_of(archive: &Archive) -> Option<Retention> {
    Retention::new(archive.seconds_per_point, archive.points).ok()
}

/// How many points inside the old archive's retention are outside the new one's.
fn left_out(view: &ArchiveView<'_>, target: &Archive, now: u32) -> u64 {
    let is_outside = |point: &Point| !is_inside(point.timestamp, target, now);
    view.points_valid(now).filter(is_outside).count() as u64
}

fn is_inside(timestamp: u32, archive: &Archive, now: u32) -> bool {
    u64::from(timestamp) + archive.retention() > u64::from(now)
}

/// The points that the archive `view` has after it becomes `target`, by their times.
fn points_of_resized(
    image: &Image<'_>,
    view: &ArchiveView<'_>,
    target: &Archive,
    older_slots: OlderSlots,
    now: u32,
) -> BTreeMap<u32, f64> {
    let mut points = in_slots_of(view, target, image.header().aggregation);
    points.retain(|timestamp, _| is_inside(*timestamp, target, now));
    let old_window = u64::from(now).saturating_sub(view.archive().retention());
    let old_window = u32::try_from(old_window).unwrap_or(0);
    let end = match older_slots {
        OlderSlots::StayEmpty => return points,
        OlderSlots::BeforeOldWindow => old_window,
        OlderSlots::BeforeOldestPoint => {
            points.keys().next().copied().filter(|first| *first <= now).unwrap_or(old_window)
        }
    };
    let coarser = image
        .archives()
        .filter(|other| other.archive().seconds_per_point > target.seconds_per_point)
        .filter(|other| {
            other.archive().seconds_per_point.is_multiple_of(target.seconds_per_point)
                && other.archive() != view.archive()
        })
        .min_by_key(|other| other.archive().seconds_per_point);
    if let Some(coarser) = coarser {
        take_from_coarser(&mut points, &coarser, target, end, image.header().aggregation, now);
    }
    points
}

/// All points that an archive stores, in the slots of `target`. If several fall into one slot, the known ones
/// are rolled up; a slot with one point has its value.
fn in_slots_of(
    view: &ArchiveView<'_>,
    target: &Archive,
    aggregation: Aggregation,
) -> BTreeMap<u32, f64> {
    let (old, new) = (view.archive().seconds_per_point, target.seconds_per_point);
    // With the time 0 every stored point is valid, however old.
    let points: Vec<Point> = view.points_valid(0).collect();
    let slot = |point: &Point| point.timestamp - point.timestamp % new;
    let mut slots = BTreeMap::new();
    for group in points.chunk_by(|one, next| slot(one) == slot(next)) {
        let Some(timestamp) = group.first().map(slot).filter(|timestamp| *timestamp != 0) else {
            continue;
        };
        if let [point] = group
            && new <= old
        {
            slots.insert(timestamp, point.value);
            continue;
        }
        let mut values: Vec<Option<f64>> = group.iter().map(|point| Some(point.value)).collect();
        // Unknown points count in avg_zero.
        values.resize(values.len().max((new / old) as usize), None);
        if let Some(value) = aggregation.roll_up(AggregationSix::AvgZero, &values) {
            slots.insert(timestamp, value);
        }
    }
    slots
}

/// Gives each slot of `target` before `end` that has no point the value of the coarser slot that contains it.
fn take_from_coarser(
    points: &mut BTreeMap<u32, f64>,
    coarser: &ArchiveView<'_>,
    target: &Archive,
    end: u32,
    aggregation: Aggregation,
    now: u32,
) {
    let step = target.seconds_per_point;
    let coarser_step = coarser.archive().seconds_per_point;
    let parts = if aggregation == Aggregation::Sum { f64::from(coarser_step / step) } else { 1.0 };
    let window = u64::from(now).saturating_sub(target.retention());
    let first = u32::try_from(window / u64::from(step) * u64::from(step)).unwrap_or(u32::MAX);
    let slots = (first..end).step_by(step as usize).filter(|slot| is_inside(*slot, target, now));
    for slot in slots.filter(|slot| *slot != 0) {
        if let Some(value) = coarser.valid(slot - slot % coarser_step, now) {
            points.entry(slot).or_insert(value / parts);
        }
    }
}

/// Writes points into the empty archive `target`. A slot after `now` never displaces one before it.
fn write_points(bytes: &mut [u8], target: &Archive, points: &BTreeMap<u32, f64>, now: u32) {
    let Some(base) = points.keys().next().copied() else { return };
    let (past, future): (Vec<_>, Vec<_>) = points.iter().partition(|(time, _)| **time <= now);
    for (timestamp, value) in future.into_iter().chain(past) {
        let point = Point { timestamp: *timestamp, value: *value };
        let position = position_of(target, base, *timestamp).unwrap_or(0);
        let offset = target.offset as usize + position as usize * Point::SIZE_BYTES;
        put(bytes, offset, &point.encode());
    }
}

fn put(bytes: &mut [u8], offset: usize, part: &[u8]) {
    if let Some(place) = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..part.len())) {
        place.copy_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
