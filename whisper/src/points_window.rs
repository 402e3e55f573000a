//! Which slots of a part of an archive hold a point, without the values, for files of any length.
//!
//! Used to compare two files that are too long for memory, window by window.

use std::io;

use crate::header::Archive;
use crate::image::{Point, position_of};

/// How many slots are read at once.
const SLOTS_AT_ONCE: u32 = 20 * 1024;
const WORD_BITS: u32 = u64::BITS;

/// Which slots to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointsWindow {
    /// The time of the first slot, a multiple of the archive's seconds per point.
    pub first: u32,
    /// The number of slots.
    pub slots: u32,
    /// The time by which points expire, Unix seconds.
    pub now: u32,
    /// Timestamps after this time lie in the future, Unix seconds.
    pub latest: u32,
}

/// The result: a bit for each slot; the lowest bit of the first word is the first slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowPoints {
    /// The slot holds a valid point.
    pub valid: Vec<u64>,
    /// The slot's position holds a newer timestamp, which no fill overwrites.
    pub taken: Vec<u64>,
    /// The times of points in the future that are stored at these slots' positions.
    pub ahead: Vec<u32>,
}

impl WindowPoints {
    /// Whether the bit of slot `number` is set in `words`.
    pub fn has(words: &[u64], number: u32) -> bool {
        let word = words.get((number / WORD_BITS) as usize);
        word.is_some_and(|word| word >> (number % WORD_BITS) & 1 == 1)
    }

    /// The numbers of the slots whose bits are set in `words` and not in `others`, ascending.
    pub fn only_in<'w>(words: &'w [u64], others: &'w [u64]) -> impl Iterator<Item = u32> + 'w {
        let others = others.iter().copied().chain(std::iter::repeat(0));
        let left = words.iter().zip(others).map(|(word, other)| word & !other);
        (0_u32..).zip(left).filter(|(_, word)| *word != 0).flat_map(|(at, word)| {
            (0..WORD_BITS)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| at * WORD_BITS + bit)
        })
    }
}

/// Checks the slots of `window` in `archive`, which counts positions from `base`. `read_at` fills a buffer
/// from an offset of the file.
///
/// # Errors
/// The errors of `read_at`.
pub fn points_in_window(
    archive: &Archive,
    base: u32,
    window: PointsWindow,
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<WindowPoints> {
    let words = window.slots.div_ceil(WORD_BITS) as usize;
    let mut found =
        WindowPoints { valid: vec![0; words], taken: vec![0; words], ahead: Vec::new() };
    let scan = WindowScan { archive, base, window };
    let mut stored = vec![0; SLOTS_AT_ONCE.min(window.slots) as usize * Point::SIZE_BYTES];
    let mut number = 0;
    while number < window.slots {
        let Some(t) = scan.time_of(number) else { break };
        let Some(position) = position_of(archive, base, t) else { break };
        let run = (window.slots - number).min(archive.points - position).min(SLOTS_AT_ONCE);
        let Some(stored) = stored.get_mut(..run as usize * Point::SIZE_BYTES) else { break };
        let offset = u64::from(archive.offset) + u64::from(position) * Point::SIZE_BYTES as u64;
        read_at(stored, offset)?;
        let (slots, _) = stored.as_chunks::<{ Point::SIZE_BYTES }>();
        for (number, slot) in (number..).zip(slots) {
            scan.note(number, Point::decode(slot), &mut found);
        }
        number += run;
    }
    Ok(found)
}

struct WindowScan<'a> {
    archive: &'a Archive,
    base: u32,
    window: PointsWindow,
}

impl WindowScan<'_> {
    fn time_of(&self, number: u32) -> Option<u32> {
        number.checked_mul(self.archive.seconds_per_point)?.checked_add(self.window.first)
    }

    fn note(&self, number: u32, stored: Point, found: &mut WindowPoints) {
        let Archive { seconds_per_point: step, points, .. } = *self.archive;
        let Some(t) = self.time_of(number) else { return };
        let PointsWindow { now, latest, .. } = self.window;
        let is_in_window = u64::from(t) + u64::from(step) * u64::from(points) > u64::from(now);
        let (word, bit) = ((number / WORD_BITS) as usize, 1 << (number % WORD_BITS));
        let has_value = !stored.value.is_nan();
        if stored.timestamp == t {
            if is_in_window
                && has_value
                && t != 0
                && let Some(word) = found.valid.get_mut(word)
            {
                *word |= bit;
            }
        } else if stored.timestamp > t && is_in_window {
            if let Some(word) = found.taken.get_mut(word) {
                *word |= bit;
            }
            let is_point = has_value
                && stored.timestamp > latest
                && stored.timestamp.is_multiple_of(step)
                && position_of(self.archive, self.base, stored.timestamp)
                    == position_of(self.archive, self.base, t);
            if is_point {
                found.ahead.push(stored.timestamp);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Aggregation, Header, Image, Retention, XFilesFactor};

    const NOW: u32 = 1_700_000_030;

    /// An archive of `points` minutes with these points, counted from an old base.
    fn file(points: u32, stored: &[(u32, f64)]) -> Vec<u8> {
        let retention = Retention::new(60, points).unwrap();
        let factor = XFilesFactor::new(0.5).unwrap();
        let header = Header::for_retentions(&[retention], Aggregation::Average, factor).unwrap();
        let mut bytes = header.encode();
        bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
        let archive = header.archives[0];
        let base = stored.first().map_or(0, |(t, _)| *t);
        for (t, value) in stored {
            let position = position_of(&archive, base, *t).unwrap();
            let at = (archive.offset + position * 12) as usize;
            bytes[at..at + 12].copy_from_slice(&Point { timestamp: *t, value: *value }.encode());
        }
        bytes
    }

    fn scan(bytes: &[u8], window: PointsWindow) -> WindowPoints {
        let image = Image::parse(bytes).unwrap();
        let view = image.archive(0).unwrap();
        points_in_window(&view.archive(), view.base(), window, |buffer, at| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        })
        .unwrap()
    }

    fn minute(age: u32) -> u32 {
        NOW - NOW % 60 - age * 60
    }

    /// For windows of every length, and wherever the ring begins, the same slots are valid as in an image.
    #[test]
    fn windows_and_the_image_agree_on_valid_slots() {
        let ages = [97, 250, 199, 198, 64, 63, 3, 1, 0];
        let stored: Vec<(u32, f64)> = ages.iter().map(|age| (minute(*age), 1.0)).collect();
        let mut bytes = file(200, &stored);
        // A point without a value.
        let nan = file(200, &[(minute(97), 1.0), (minute(40), f64::NAN)]);
        for (byte, other) in bytes.iter_mut().zip(&nan).skip(28) {
            *byte |= other;
        }
        let image = Image::parse(&bytes).unwrap();
        let view = image.archive(0).unwrap();
        for slots in [1, 7, 64, 100, 260] {
            let mut first = minute(259);
            while first <= minute(0) {
                let window = PointsWindow { first, slots, now: NOW, latest: NOW };
                let found = scan(&bytes, window);
                for number in 0..slots {
                    let t = first + number * 60;
                    let expected = t <= minute(0) && view.valid(t, NOW).is_some();
                    assert_eq!(WindowPoints::has(&found.valid, number), expected, "{slots} {t}");
                }
                first += slots * 60;
            }
        }
    }

    #[test]
    fn newer_timestamps_take_their_slots_and_those_in_the_future_are_listed() {
        let ahead = minute(5) + 200 * 60;
        let bytes = file(200, &[(minute(97), 1.0), (ahead, 2.0), (minute(7), 3.0)]);
        let window = PointsWindow { first: minute(199), slots: 200, now: NOW, latest: NOW };
        let found = scan(&bytes, window);
        assert_eq!(found.ahead, [ahead]);
        let taken: Vec<u32> = WindowPoints::only_in(&found.taken, &[]).collect();
        assert_eq!(taken, [194]);
        let valid: Vec<u32> = WindowPoints::only_in(&found.valid, &[1 << 63]).collect();
        assert_eq!(valid, [102, 192]);
        assert!(WindowPoints::only_in(&found.valid, &found.valid).next().is_none());
    }

    #[test]
    fn an_empty_archive_has_nothing() {
        let window = PointsWindow { first: minute(199), slots: 200, now: NOW, latest: NOW };
        let found = scan(&file(200, &[]), window);
        assert!(found.valid.iter().chain(&found.taken).all(|word| *word == 0));
    }
}
