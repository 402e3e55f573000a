//! Carries over points that a writer puts into an old file while a new file replaces it.
//!
//! Such a point belongs into the archive of the resolution that it was written with. The new file may have a
//! finer archive that reaches back as far. In that archive the point would look like a finer point, and could
//! displace one.

use crate::file::WhisperFile;
use crate::header::{Archive, Header};
use crate::image::{Image, Point};
use crate::update::UpdateError;

/// A point, and the archive that it was written to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatePoint {
    /// The archive's resolution.
    pub seconds_per_point: u32,
    /// The point, at the beginning of its slot.
    pub point: Point,
}

impl LatePoint {
    /// The archive of the same resolution in another file, if it reaches back to the point at the time `now`.
    pub fn own_archive(&self, header: &Header, now: u32) -> Option<Archive> {
        let age = u64::from(now.saturating_sub(self.point.timestamp));
        let is_own = |archive: &&Archive| archive.seconds_per_point == self.seconds_per_point;
        header.archives.iter().find(is_own).filter(|archive| archive.retention() > age).copied()
    }

    /// The archive that [`WhisperFile::update_late`] writes the point to.
    pub(crate) fn archive(&self, header: &Header, now: u32) -> Option<Archive> {
        let age = u64::from(now.saturating_sub(self.point.timestamp));
        let covers = |archive: &&Archive| archive.retention() >= age;
        let own = self.own_archive(header, now);
        own.or_else(|| header.archives.iter().find(covers).copied())
    }
}

/// The points that were added to a file, or got another value, between `before` and `after`. For a point
/// inside the retention of a finer archive, only that archive counts: the point was written there, and the
/// coarser archives follow.
pub fn points_that_came(before: &Image<'_>, after: &Image<'_>, now: u32) -> Vec<LatePoint> {
    let mut points = Vec::new();
    let mut covered: u64 = 0;
    for number in after.header().finest_first() {
        let Some(view) = after.archive(number) else { continue };
        let was = before.archive(number).filter(|was| was.archive() == view.archive());
        let is_own = |point: &Point| {
            covered == 0 || u64::from(now.saturating_sub(point.timestamp)) > covered
        };
        let is_new = |point: &Point| {
            let value = was.and_then(|was| was.valid(point.timestamp, now));
            value.map(f64::to_bits) != Some(point.value.to_bits())
        };
        let seconds_per_point = view.archive().seconds_per_point;
        let came = view.points_valid(now).filter(is_own).filter(is_new);
        points.extend(came.map(|point| LatePoint { seconds_per_point, point }));
        covered = covered.max(view.archive().retention());
    }
    points
}

impl WhisperFile {
    /// Writes points that were written to another file of the same metric, each into the archive of its own
    /// resolution. If this file has no such archive that reaches back to a point, the point goes to the
    /// archive that [`Self::update_many`] would choose.
    ///
    /// # Errors
    /// [`UpdateError::Access`].
    pub fn update_late(&mut self, points: &[LatePoint], now: u32) -> Result<(), UpdateError> {
        for archive in self.header().archives.clone() {
            let is_here = |late: &&LatePoint| late.archive(self.header(), now) == Some(archive);
            let mut here: Vec<Point> =
                points.iter().filter(is_here).map(|late| late.point).collect();
            here.sort_by_key(|point| std::cmp::Reverse(point.timestamp));
            if !here.is_empty() {
                self.update_archive(archive, &here)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregation::Aggregation;
    use crate::file::OpenMode;
    use crate::modify::empty_file;
    use crate::retention::XFilesFactor;

    const NOW: u32 = 1_700_000_000;
    /// The beginning of a slot of ten minutes, two hours ago.
    const SLOT: u32 = NOW / 600 * 600 - 7_200;

    /// A file of these retentions in `folder`, with these points.
    fn file(folder: &tempfile::TempDir, retentions: &str, points: &[(u32, f64)]) -> WhisperFile {
        let retentions: Vec<_> = retentions.split(',').map(|text| text.parse().unwrap()).collect();
        let factor = XFilesFactor::new(0.5).unwrap();
        let header = Header::for_retentions(&retentions, Aggregation::Average, factor).unwrap();
        let path = folder.path().join("m.wsp");
        std::fs::write(&path, empty_file(&header).unwrap()).unwrap();
        let mut file = WhisperFile::open(&path, OpenMode::Update, Duration::ZERO).unwrap();
        let points: Vec<Point> =
            points.iter().map(|&(timestamp, value)| Point { timestamp, value }).collect();
        file.update_many(&points, NOW).unwrap();
        file
    }

    fn value(bytes: &[u8], archive: usize, timestamp: u32) -> Option<f64> {
        Image::parse(bytes).unwrap().archive(archive).unwrap().valid(timestamp, NOW)
    }

    /// The content of `new` after a late point of `old` was carried over to it.
    fn carried(old: &str, new: &str, points: &[(u32, f64)]) -> Vec<u8> {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut old = file(&folders[0], old, &[]);
        let before = old.read().unwrap();
        old.update(5.0, SLOT + 60, NOW).unwrap();
        let after = old.read().unwrap();
        let late =
            points_that_came(&Image::parse(&before).unwrap(), &Image::parse(&after).unwrap(), NOW);
        let mut new = file(&folders[1], new, points);
        new.update_late(&late, NOW).unwrap();
        new.read().unwrap()
    }

    /// Found by the soak test: carbon wrote to the owner's coarse file while it was given the source's
    /// minutes.
    #[test]
    fn a_point_that_came_late_takes_no_finer_points_place() {
        let minutes = [(SLOT, 1.0), (SLOT + 60, 2.0)];
        for old in ["10m:4d", "1m:1h,10m:4d"] {
            let new = carried(old, "1m:1d,10m:4d", &minutes);
            let found = [SLOT, SLOT + 60].map(|time| value(&new, 0, time));
            assert_eq!(found, [Some(1.0), Some(2.0)], "{old}");
            assert_eq!(value(&new, 1, SLOT), Some(5.0), "{old}");
        }
    }

    #[test]
    fn a_point_that_came_late_goes_where_an_update_would_put_it_without_an_archive_of_its_own() {
        assert_eq!(value(&carried("10m:4d", "1m:1d", &[]), 0, SLOT), Some(5.0));
        // The archive of the same resolution is too short.
        assert_eq!(value(&carried("1m:1d", "1m:1h,10m:4d", &[]), 1, SLOT), Some(5.0));
    }
}
