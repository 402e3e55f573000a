//! What a fill of the Go daemon does to a file, including its losses (D8).
//!
//! It works archive by archive, finest first, each for the time that the finer ones do not reach. It leaves a
//! gap of one slot, unless it is the newest. After a longer gap it also overwrites the good point that
//! follows. Points are written as an update writes them, so coarser archives are rolled up again from the
//! points that the finer archive has at that time.

use std::path::Path;
use std::time::Duration;

use bucky_whisper::{ArchiveView, Image, OpenMode, Point, WhisperFile};

/// How long to wait for the file's lock; the real daemon waits forever.
const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// Fills the gaps of the file at `path` from `source`.
///
/// # Errors
/// If one of them is not a Whisper file.
pub(super) fn fill(source: &[u8], path: &Path, now: u32) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let source = Image::parse(source).map_err(|error| text(&error))?;
    let mut file =
        WhisperFile::open(path, OpenMode::Update, LOCK_LIMIT).map_err(|error| text(&error))?;
    let content = file.read().map_err(|error| text(&error))?;
    let destination = Image::parse(&content).map_err(|error| text(&error))?;
    let mut points = Vec::new();
    let mut newest = now;
    for view in destination.archives() {
        let retention = u32::try_from(view.archive().retention()).unwrap();
        let oldest = now.saturating_sub(retention);
        points.extend(points_for(&source, &view, oldest, newest, now));
        newest = newest.min(oldest);
    }
    if points.is_empty() {
        return Ok(());
    }
    file.update_many(&points, now).map_err(|error| text(&error))
}

/// The source's points for the gaps of one archive, after `oldest` up to `newest`.
fn points_for(
    source: &Image<'_>,
    destination: &ArchiveView<'_>,
    oldest: u32,
    newest: u32,
    now: u32,
) -> Vec<Point> {
    let step = destination.archive().seconds_per_point;
    let first = oldest - oldest % step + step;
    let slots: Vec<u32> = (first..=newest).step_by(step as usize).collect();
    let known: Vec<bool> =
        slots.iter().map(|slot| destination.valid(*slot, now).is_some()).collect();
    let wanted = wanted(&known).into_iter().zip(slots).filter(|(wanted, _)| *wanted);
    wanted.filter_map(|(_, slot)| value_of(source, slot, step, now)).collect()
}

/// Which slots are filled, given which of them are known.
fn wanted(known: &[bool]) -> Vec<bool> {
    let mut wanted = vec![false; known.len()];
    let mut index = 0;
    while index < known.len() {
        let gap = known[index..].iter().take_while(|known| !**known).count();
        let end = index + gap;
        if gap > 1 || (gap == 1 && end == known.len()) {
            // One more than the gap: the good point that follows it.
            wanted.iter_mut().take(end + 1).skip(index).for_each(|wanted| *wanted = true);
        }
        index = end + 1;
    }
    wanted
}

/// The source's value for a slot, from the finest of its archives that has one.
fn value_of(source: &Image<'_>, slot: u32, step: u32, now: u32) -> Option<Point> {
    source.archives().find_map(|view| {
        let own = view.archive().seconds_per_point;
        let time = if own > step { slot - slot % own } else { slot };
        view.valid(time, now).map(|value| Point { timestamp: slot, value })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{self, Layout};
    use bucky_whisper::Aggregation;

    const SLOTS: Layout =
        Layout { retentions: "60s:20", aggregation: Aggregation::Average, x_files_factor: 0.5 };

    /// Fills a file with values in the slots marked `d` from a source with all values, and returns the
    /// result.
    fn filled(before: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let now = metrics::newest_minute();
        let slot = |index: usize| now - 60 * (19 - u32::try_from(index).unwrap());
        let write = |name: &str, has: &dyn Fn(usize) -> bool, value: f64| {
            let points = (0..20).filter(|index| has(*index));
            let points: Vec<Point> =
                points.map(|index| Point { timestamp: slot(index), value }).collect();
            // Uses the same time for all: if the minute ended here, the oldest slot would be left out.
            metrics::write_at(folder.path(), &name.parse().unwrap(), &SLOTS, &points, now);
        };
        write("d", &|index| before.as_bytes()[index] == b'd', 1.0);
        write("s", &|_| true, 2.0);
        let source = std::fs::read(folder.path().join("s.wsp")).unwrap();
        let path = folder.path().join("d.wsp");
        fill(&source, &path, now).unwrap();
        let content = std::fs::read(path).unwrap();
        let image = Image::parse(&content).unwrap();
        let view = image.archive(0).unwrap();
        let text = |index| match view.valid(slot(index), now) {
            Some(1.0) => 'd',
            Some(2.0) => 's',
            Some(other) => panic!("{other}"),
            None => '.',
        };
        (0..20).map(text).collect()
    }

    /// D8, as it was seen on the real daemon.
    #[test]
    fn the_go_fill_leaves_single_gaps_and_overwrites_the_point_behind_a_longer_one() {
        for (before, after) in [
            ("dddddddddd.ddddddddd", "dddddddddd.ddddddddd"),
            ("ddddddddd..ddddddddd", "dddddddddsssdddddddd"),
            (".d.d.d.d.d.d.d.d.d.d", ".d.d.d.d.d.d.d.d.d.d"),
            ("ddddddddddddddddddd.", "ddddddddddddddddddds"),
            ("......dddddddddddddd", "sssssssddddddddddddd"),
            ("....................", "ssssssssssssssssssss"),
        ] {
            assert_eq!(filled(before), after, "{before}");
        }
    }
}
