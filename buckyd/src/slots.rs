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

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_whisper::Point;

    const NOW: u32 = 1_700_000_000;
    const STEP: u32 = 60;
    const POINTS: u32 = 100;

    /// A file of one archive whose slots hold these timestamps.
    fn file(timestamps: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [1, STEP * POINTS, 0, 1, 28, STEP, POINTS] {
            bytes.extend_from_slice(&u32::to_be_bytes(word));
        }
        bytes.resize(28 + 12 * POINTS as usize, 0);
        let base = timestamps.first().copied().unwrap_or(0);
        for timestamp in timestamps {
            let position = (timestamp.wrapping_sub(base) / STEP % POINTS) as usize;
            let point = Point { timestamp: *timestamp, value: 0.0 }.encode();
            bytes[28 + 12 * position..][..12].copy_from_slice(&point);
        }
        bytes
    }

    fn at(age: u32) -> u32 {
        NOW / STEP * STEP - age * STEP
    }

    #[test]
    fn a_sample_has_the_oldest_and_the_newest_and_no_slot_twice() {
        for count in [0, 1, 2, 7, 8, 9, 50] {
            let timestamps: Vec<u32> = (0..count).rev().map(at).collect();
            let bytes = file(&timestamps);
            let sample = sample(&Image::parse(&bytes).unwrap(), NOW);
            assert_eq!(sample.len(), (count as usize).min(SAMPLE), "{count}");
            assert_eq!(sample.first().map(|slot| slot.timestamp), timestamps.first().copied());
            assert_eq!(sample.last().map(|slot| slot.timestamp), timestamps.last().copied());
            assert!(sample.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp));
        }
    }

    #[test]
    fn an_emptied_file_lacks_every_slot_and_a_copy_lacks_none() {
        let bytes = file(&[at(5), at(4), at(1)]);
        let slots = sample(&Image::parse(&bytes).unwrap(), NOW);
        assert_eq!(missing(&Image::parse(&bytes).unwrap(), &slots, NOW), []);
        let emptied = file(&[]);
        assert_eq!(missing(&Image::parse(&emptied).unwrap(), &slots, NOW), slots);
    }

    #[test]
    fn a_slot_that_cannot_be_filled_any_more_is_not_missing() {
        let slot = |timestamp| Slot { seconds_per_point: STEP, timestamp };
        let bytes = file(&[at(5)]);
        let image = Image::parse(&bytes).unwrap();
        // Expired; of another step; overwritten by a newer point of the same position.
        assert_eq!(missing(&image, &[slot(at(POINTS))], NOW), []);
        assert_eq!(missing(&image, &[Slot { seconds_per_point: 10, timestamp: at(5) }], NOW), []);
        let ahead = file(&[at(5), at(4) + STEP * POINTS]);
        assert_eq!(missing(&Image::parse(&ahead).unwrap(), &[slot(at(4))], NOW), []);
    }
}
