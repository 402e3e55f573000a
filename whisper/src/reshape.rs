//! A file with the archives of two: the new file of an owner in which the points of a source have no place.
//!
//! Pure: takes two images, returns the bytes of a new file. Nothing shrinks: a resolution that both files
//! have gets the longer retention. Every point of either file is in the new file, or the reshape is refused.
//! Aggregation method and x-files factor stay those of the owner, because carbon uses them for new points.

use std::collections::BTreeMap;

use crate::fill::{Coverage, FillOptions, fill};
use crate::header::Header;
use crate::image::{Image, Point, position_of};
use crate::modify::{ModifyError, empty_file};
use crate::retention::{Retention, RetentionError};

/// Why the two files cannot be combined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReshapeError {
    /// The archives of both do not fit into one file, and the source's archives have no place for all points
    /// of the owner's.
    #[error(
        "the archives {owner} and {source_layout} do not fit into one file ({why}), and in the source's layout {points} points of the \
         owner's file would have no place"
    )]
    NoLayout {
        /// The owner's layout.
        owner: String,
        /// The source's layout.
        source_layout: String,
        /// Which rule the archives of both would break.
        why: RetentionError,
        /// How many points of the owner's file would have no place.
        points: u64,
    },
    /// The archives of both do not fit into one file, and those of the source alone break today's rules.
    #[error("the archives {owner} and {source_layout} do not fit into one file ({why})")]
    NeitherLayout {
        /// The owner's layout.
        owner: String,
        /// The source's layout.
        source_layout: String,
        /// Which rule the archives of both would break.
        why: RetentionError,
    },
    /// The file would be larger than the available memory.
    #[error("the file with both archives would be too large: {len_bytes} bytes")]
    TooLarge {
        /// Its length.
        len_bytes: u64,
    },
    /// The new file would lack a point of the owner's file: it has two archives of one resolution, or is
    /// damaged.
    #[error(
        "{points} points of the owner's file would not be in the new one; look at the file with `bucky info`"
    )]
    WouldLose {
        /// How many points.
        points: u64,
    },
}

/// The layout of a file that combines the archives of two.
#[derive(Clone, Debug)]
pub struct Layout {
    header: Header,
    owner: String,
    source: String,
    /// Which rule the archives of both would break, if only those of the source are used.
    why_not_both: Option<RetentionError>,
}

impl Layout {
    /// The layout for two files with these headers.
    ///
    /// # Errors
    /// [`ReshapeError::NeitherLayout`].
    pub fn of(owner: &Header, source: &Header) -> Result<Self, ReshapeError> {
        let (owner_layout, source_layout) = (owner.layout(), source.layout());
        let of = |retentions: &[Retention]| {
            Header::for_retentions(retentions, owner.aggregation, owner.x_files_factor)
        };
        let (header, why_not_both) = match of(&retentions(&[owner, source])) {
            Ok(header) => (header, None),
            Err(why) => match of(&retentions(&[source])) {
                Ok(header) => (header, Some(why)),
                Err(_) => {
                    let (owner, source_layout) = (owner_layout, source_layout);
                    return Err(ReshapeError::NeitherLayout { owner, source_layout, why });
                }
            },
        };
        Ok(Self { header, owner: owner_layout, source: source_layout, why_not_both })
    }

    /// The new file's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The error for `points` points of the owner's file that the new file would lack.
    pub fn would_lose(&self, points: u64) -> ReshapeError {
        match &self.why_not_both {
            None => ReshapeError::WouldLose { points },
            Some(why) => ReshapeError::NoLayout {
                owner: self.owner.clone(),
                source_layout: self.source.clone(),
                why: why.clone(),
                points,
            },
        }
    }
}

/// A new file that holds the points of `owner` and `source`; if both have a value, that of `owner` is kept.
///
/// # Errors
/// [`ReshapeError`].
pub fn reshape(
    owner: &Image<'_>,
    source: &Image<'_>,
    options: FillOptions,
) -> Result<Vec<u8>, ReshapeError> {
    let layout = Layout::of(owner.header(), source.header())?;
    let bytes = filled(&layout.header, owner, source, options)?;
    check(owner, &bytes, options).map_err(|points| layout.would_lose(points))?;
    Ok(bytes)
}

/// The length of the longest file that [`reshape`] can create from these two.
pub fn reshaped_len_bytes(owner: &Header, source: &Header) -> u64 {
    let both = owner.archives.iter().chain(&source.archives);
    let slots: u64 = both.map(|archive| u64::from(archive.points)).sum();
    let archives = (owner.archives.len() + source.archives.len()) as u64;
    // A coarser archive may be lengthened to the reach of a finer one, which has more slots than that.
    16 + 12 * archives + 12 * slots.saturating_mul(2)
}

/// The archives of all `headers`; for each resolution, the longest one. whisper.py requires that a coarser
/// archive reaches farther back than the finer one before it, so a shorter one is lengthened.
fn retentions(headers: &[&Header]) -> Vec<Retention> {
    let mut longest: BTreeMap<u32, u32> = BTreeMap::new();
    for archive in headers.iter().flat_map(|header| &header.archives) {
        let points = longest.entry(archive.seconds_per_point).or_default();
        *points = (*points).max(archive.points);
    }
    let mut reach = 0;
    let lengthened = longest.into_iter().map(|(step, points)| {
        let least = u32::try_from(reach / u64::from(step) + 1).unwrap_or(u32::MAX);
        let points = points.max(least);
        reach = u64::from(step) * u64::from(points);
        (step, points)
    });
    lengthened.filter_map(|(step, points)| Retention::new(step, points).ok()).collect()
}

/// A file with this header and the points of `owner`, then those of `source`.
fn filled(
    header: &Header,
    owner: &Image<'_>,
    source: &Image<'_>,
    options: FillOptions,
) -> Result<Vec<u8>, ReshapeError> {
    let too_large = |error| match error {
        ModifyError::TooLarge { len_bytes } => ReshapeError::TooLarge { len_bytes },
        _ => ReshapeError::TooLarge { len_bytes: header.file_size_bytes() },
    };
    let mut bytes = empty_file(header).map_err(too_large)?;
    place_known(header, owner, &mut bytes, options);
    for from in [owner, source] {
        // These bytes were laid out by a checked header, so they parse.
        let plan = Image::parse(&bytes).map(|into| fill(from, &into, options));
        if let Ok(plan) = plan {
            plan.apply(&mut bytes);
        }
    }
    // A new archive in between may have changed roll-ups of coarser points. Restore the values that the owner
    // knew.
    place_known(header, owner, &mut bytes, options);
    Ok(bytes)
}

/// Copies every valid point of `owner` into the archive of the same resolution in `bytes`, a file of
/// `header`.
fn place_known(header: &Header, owner: &Image<'_>, bytes: &mut [u8], options: FillOptions) {
    let mut done = Vec::new();
    for view in owner.archives() {
        let step = view.archive().seconds_per_point;
        let into = header.archives.iter().find(|archive| archive.seconds_per_point == step);
        let Some(into) = into.filter(|_| !done.contains(&step)) else { continue };
        done.push(step);
        let points: Vec<Point> = view.points_valid(options.clocks.earliest).collect();
        let at = into.offset as usize;
        let base = bytes.get(at..).and_then(|rest| rest.first_chunk()).map(Point::decode);
        let base = base.map_or(0, |point| point.timestamp);
        let base = if base == 0 { points.first().map_or(0, |point| point.timestamp) } else { base };
        for point in points {
            let position = position_of(into, base, point.timestamp).unwrap_or(0) as usize;
            if let Some(slot) = bytes.get_mut(at + position * Point::SIZE_BYTES..)
                && let Some(slot) = slot.get_mut(..Point::SIZE_BYTES)
                && Point::decode(slot.first_chunk().unwrap_or(&[0; 12])).timestamp
                    <= point.timestamp
            {
                slot.copy_from_slice(&point.encode());
            }
        }
    }
}

/// Checks that all points of `owner` are in `bytes`; the error is how many are not.
fn check(owner: &Image<'_>, bytes: &[u8], options: FillOptions) -> Result<(), u64> {
    let Ok(new) = Image::parse(bytes) else { return Err(0) };
    let coverage = Coverage::of(owner, &new, options.clocks);
    let changed = changed_values(owner, &new, options);
    if coverage.is_whole() && changed == 0 {
        return Ok(());
    }
    Err(coverage.missing() + coverage.without_place() + coverage.displaced() + changed)
}

/// How many points of `owner` have another value in `new`. A point whose slot a newer turn of the ring has
/// taken does not count.
fn changed_values(owner: &Image<'_>, new: &Image<'_>, options: FillOptions) -> u64 {
    let (mut changed, mut done) = (0, Vec::new());
    for view in owner.archives() {
        let step = view.archive().seconds_per_point;
        let same = new.archives().find(|archive| archive.archive().seconds_per_point == step);
        let Some(same) = same.filter(|_| !done.contains(&step)) else { continue };
        done.push(step);
        for point in view.points_valid(options.clocks.earliest) {
            let there = same.valid(point.timestamp, options.clocks.earliest);
            changed +=
                u64::from(there.is_some_and(|value| value.to_bits() != point.value.to_bits()));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregation::AggregationSix;
    use crate::fill::Clocks;
    use crate::retention::XFilesFactor;
    use crate::{Aggregation, image};

    const NOW: u32 = 1_700_000_000;

    fn options() -> FillOptions {
        FillOptions { clocks: Clocks::at(NOW), aggregation_six: AggregationSix::AvgZero }
    }

    /// A file of these archives, each with a point in every one of its `filled` newest slots.
    fn file(archives: &[(u32, u32)], filled: u32, value: f64) -> Vec<u8> {
        let retentions: Vec<Retention> =
            archives.iter().map(|(step, points)| Retention::new(*step, *points).unwrap()).collect();
        let factor = XFilesFactor::new(0.5).unwrap();
        let header = Header::for_retentions(&retentions, Aggregation::Max, factor).unwrap();
        let mut bytes = empty_file(&header).unwrap();
        for archive in &header.archives {
            let newest = NOW - NOW % archive.seconds_per_point;
            for age in 0..filled.min(archive.points) {
                let timestamp = newest - age * archive.seconds_per_point;
                let first = newest - (filled.min(archive.points) - 1) * archive.seconds_per_point;
                let position = image::position_of(archive, first, timestamp).unwrap();
                let at = archive.offset as usize + 12 * position as usize;
                bytes[at..at + 12].copy_from_slice(&Point { timestamp, value }.encode());
            }
        }
        bytes
    }

    #[test]
    fn a_reshaped_file_has_the_archives_and_the_points_of_both() {
        let owner = file(&[(60, 1440)], 500, 1.0);
        let source = file(&[(60, 43_200), (3600, 43_800)], 9_000, 2.0);
        let (owner, source) = (Image::parse(&owner).unwrap(), Image::parse(&source).unwrap());
        let new = reshape(&owner, &source, options()).unwrap();
        let new = Image::parse(&new).unwrap();
        assert_eq!(new.header().layout(), "60s:30d,1h:5y");
        assert_eq!(new.header().aggregation, Aggregation::Max);
        for from in [&owner, &source] {
            assert!(Coverage::of(from, &new, options().clocks).is_whole());
        }
        let newest = NOW - NOW % 60;
        assert_eq!(
            new.archive(0).unwrap().valid(newest, NOW),
            Some(1.0),
            "the owner's value stands"
        );
        assert!(new.bytes().len() as u64 <= reshaped_len_bytes(owner.header(), source.header()));
    }

    #[test]
    fn of_a_resolution_that_both_have_the_longer_retention_stays() {
        let owner = file(&[(60, 2880), (300, 5000)], 100, 1.0);
        let source = file(&[(60, 1440), (300, 8000)], 100, 2.0);
        let (owner, source) = (Image::parse(&owner).unwrap(), Image::parse(&source).unwrap());
        let new = reshape(&owner, &source, options()).unwrap();
        let archives = Image::parse(&new).unwrap().header().archives.clone();
        let points: Vec<u32> = archives.iter().map(|archive| archive.points).collect();
        assert_eq!(points, [2880, 8000]);
    }

    #[test]
    fn a_coarser_archive_is_lengthened_where_the_finer_one_of_the_other_file_reaches_as_far() {
        let owner = file(&[(60, 1440), (3600, 720)], 100, 1.0);
        let source = file(&[(60, 43_200)], 100, 2.0);
        let new =
            reshape(&Image::parse(&owner).unwrap(), &Image::parse(&source).unwrap(), options());
        let new = new.unwrap();
        let archives = Image::parse(&new).unwrap().header().archives.clone();
        assert_eq!(
            archives.iter().map(|archive| archive.points).collect::<Vec<_>>(),
            [43_200, 721]
        );
    }

    /// The owner's hours are not the averages of its minutes, because its aggregation method was changed
    /// once.
    #[test]
    fn a_known_roll_up_of_the_owner_keeps_its_value_whatever_archives_come_in_between() {
        let mut owner = file(&[(60, 1440), (3600, 8760)], 1440, 2.0);
        let hours = Image::parse(&owner).unwrap().header().archives[1];
        for slot in owner[hours.offset as usize..].chunks_exact_mut(12) {
            if slot[..4] != [0; 4] {
                slot[4..].copy_from_slice(&9.0_f64.to_be_bytes());
            }
        }
        let source = file(&[(600, 4320)], 1200, 5.0);
        let owner = Image::parse(&owner).unwrap();
        let new = reshape(&owner, &Image::parse(&source).unwrap(), options()).unwrap();
        let new = Image::parse(&new).unwrap();
        assert_eq!(new.header().layout(), "60s:1d,10m:30d,1h:1y");
        let values: Vec<f64> = new.archive(2).unwrap().points_valid(NOW).map(|p| p.value).collect();
        let known = owner.archive(1).unwrap().points_valid(NOW).count();
        assert!(values.iter().filter(|value| **value == 9.0).count() == known, "{values:?}");
    }

    #[test]
    fn steps_that_do_not_divide_take_the_sources_layout_only_if_nothing_of_the_owner_is_without_place()
     {
        let source = file(&[(40, 1000)], 700, 2.0);
        let empty = file(&[(60, 1000)], 0, 1.0);
        let source = Image::parse(&source).unwrap();
        let new = reshape(&Image::parse(&empty).unwrap(), &source, options()).unwrap();
        assert_eq!(Image::parse(&new).unwrap().header().archives[0].seconds_per_point, 40);
        let with_points = file(&[(60, 1000)], 5, 1.0);
        let error = reshape(&Image::parse(&with_points).unwrap(), &source, options()).unwrap_err();
        let ReshapeError::NoLayout { points, .. } = error else { panic!("{error}") };
        assert_eq!(points, 5);
    }

    /// Layouts of one to three archives that are valid in one file.
    fn layout() -> impl Strategy<Value = Vec<(u32, u32)>> {
        let step = prop::sample::select(vec![1_u32, 2, 3, 10, 30, 40, 60, 120, 300]);
        prop::collection::vec((step, 1_u32..80), 1..4)
            .prop_map(|mut archives| {
                archives.sort_unstable();
                archives.dedup_by_key(|archive| archive.0);
                archives
            })
            .prop_filter("one file's", |archives| {
                let retentions: Vec<Retention> = archives
                    .iter()
                    .map(|(step, points)| Retention::new(*step, *points).unwrap())
                    .collect();
                crate::validate_retentions(&retentions).is_ok()
            })
    }

    proptest! {
        #[test]
        fn a_reshape_loses_nothing_of_either_or_is_refused(
            owner in layout(), source in layout(), owners_filled in 0_u32..90, sources_filled in 0_u32..90,
        ) {
            let owner = file(&owner, owners_filled, 1.0);
            let source = file(&source, sources_filled, 2.0);
            let (owner, source) = (Image::parse(&owner).unwrap(), Image::parse(&source).unwrap());
            if let Ok(new) = reshape(&owner, &source, options()) {
                let new = Image::parse(&new).unwrap();
                prop_assert!(Coverage::of(&owner, &new, options().clocks).is_whole());
                prop_assert!(Coverage::of(&source, &new, options().clocks).is_whole());
                prop_assert_eq!(changed_values(&owner, &new, options()), 0);
            }
        }
    }
}
