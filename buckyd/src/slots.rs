//! Which slots of a file stand for it when its owners are asked whether they hold its points.
//!
//! Pure: takes images and `now`. A sample is enough, because what it has to find out is whether a carbon that
//! created the owner's file at the same moment emptied it: then nearly nothing is left.

use bucky_api::Slot;
use bucky_whisper::Image;

/// How many slots of each archive are asked for, the oldest and the newest among them.
const SAMPLE: usize = 8;

/// Some filled slots of every archive: the oldest, the newest, and some between, evenly spread.
pub(crate) fn sample(image: &Image<'_>, now: u32) -> Vec<Slot> {
    let mut slots = Vec::new();
    for archive in image.archives() {
        let seconds_per_point = archive.archive().seconds_per_point;
        let points: Vec<u32> = archive.points_valid(now).map(|point| point.timestamp).collect();
        let last = points.len().saturating_sub(1);
        let mut before = None;
        for part in 0..SAMPLE.min(points.len()) {
            let at = if points.len() <= SAMPLE { part } else { last * part / (SAMPLE - 1) };
            if before != Some(at) {
                slots.push(Slot { seconds_per_point, timestamp: points[at] });
            }
            before = Some(at);
        }
    }
    slots
}

/// Which of `slots` are not filled in `image` though they could be.
///
/// A slot does not count as missing where the file has no archive of its step, where it has left the archive's
/// window by `now`, or where its position holds a newer point.
pub(crate) fn missing(image: &Image<'_>, slots: &[Slot], now: u32) -> Vec<Slot> {
    slots
        .iter()
        .filter(|slot| {
            image
                .archives()
                .find(|archive| archive.archive().seconds_per_point == slot.seconds_per_point)
                .is_some_and(|archive| {
                    let window_starts = i64::from(now)
                        - i64::try_from(archive.archive().retention()).unwrap_or(i64::MAX);
                    let in_window = i64::from(slot.timestamp) > window_starts;
                    let holds_newer = archive
                        .position_of(slot.timestamp)
                        .and_then(|position| archive.stored(position))
                        .is_some_and(|point| point.timestamp > slot.timestamp);
                    in_window && !holds_newer && archive.valid(slot.timestamp, now).is_none()
                })
        })
        .copied()
        .collect()
}
