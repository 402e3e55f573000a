//! Which slots of a file stand for it when its owners are asked whether they hold its points.
//!
//! Pure: takes images and `now`. A sample is enough, because what it has to find out is whether a carbon that
//! created the owner's file at the same moment emptied it: then nearly nothing is left.

use bucky_api::Slot;
use bucky_whisper::{ArchiveView, Image, Point};

/// How many slots of each archive are asked for, the oldest and the newest among them.
const SAMPLE: usize = 8;

/// Some filled slots of every archive: the oldest, the newest, and some between, evenly spread.
pub(crate) fn sample(image: &Image<'_>, now: u32) -> Vec<Slot> {
    let mut slots = Vec::new();
    for view in image.archives() {
        let seconds_per_point = view.archive().seconds_per_point;
        let times = of_dense(&view, now).unwrap_or_else(|| of_any(&view, now));
        slots.extend(times.into_iter().map(|timestamp| Slot { seconds_per_point, timestamp }));
    }
    slots
}

/// The oldest filled slot of each of equal parts of the window, and the newest of all: found without a look at the rest, which
/// in long archives is nearly all of them. None where that does not find enough, for long gaps or few slots, and where it
/// meets a point that lies in the future; one that it does not meet is left out.
fn of_dense(view: &ArchiveView<'_>, now: u32) -> Option<Vec<u32>> {
    let len = view.archive().points;
    let newest = view.position_of(now - now % view.archive().seconds_per_point)?;
    // Slots before the one of `now`.
    let of_age = |age: u32| {
        let position = (u64::from(newest) + u64::from(len - age)) % u64::from(len);
        view.valid_at(u32::try_from(position).ok()?, now)
    };
    let parts = u32::try_from(SAMPLE).ok()? - 1;
    let begin = |part: u32| len - len / parts * part;
    let oldest_of = |part: u32| {
        let end = if part + 1 == parts { 1 } else { begin(part + 1) };
        (end..begin(part)).rev().find_map(of_age)
    };
    let picked: Option<Vec<Point>> =
        (0..parts).map(oldest_of).chain([(0..len).find_map(of_age)]).collect();
    let times: Vec<u32> = picked?.into_iter().map(|point| point.timestamp).collect();
    let is_in_order = times.is_sorted_by(|left, right| left < right);
    (is_in_order && times.last().is_some_and(|newest| *newest <= now)).then_some(times)
}

/// Of all filled slots, in order.
fn of_any(view: &ArchiveView<'_>, now: u32) -> Vec<u32> {
    let points: Vec<u32> = view.points_valid(now).map(|point| point.timestamp).collect();
    let last = points.len().saturating_sub(1);
    let count = SAMPLE.min(points.len());
    let at = |part| if points.len() <= SAMPLE { part } else { last * part / (SAMPLE - 1) };
    (0..count).map(|part| points[at(part)]).collect()
}

/// What slots say about a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds what they stand for.
    Holds,
    /// It lacks these; or, where there are none, no slot could be found in it or be missed: that proves nothing.
    Lacks(Vec<Slot>),
}

/// Whether `image` holds what `slots` stand for.
///
/// A slot is not missed where the file has no archive of its step, where it has left the archive's window by `now`, or
/// where its position holds a newer point. But one of them at least must be there: a carbon that empties a file may
/// make it anew by other retentions, and then none could be missed.
pub(crate) fn look(image: &Image<'_>, slots: &[Slot], now: u32) -> Verdict {
    let mut missing = Vec::new();
    let mut found = slots.is_empty();
    for slot in slots {
        let mut archives = image.archives();
        let Some(archive) =
            archives.find(|archive| archive.archive().seconds_per_point == slot.seconds_per_point)
        else {
            continue;
        };
        if archive.valid(slot.timestamp, now).is_some() {
            found = true;
            continue;
        }
        let window_starts =
            i64::from(now) - i64::try_from(archive.archive().retention()).unwrap_or(i64::MAX);
        let stored =
            archive.position_of(slot.timestamp).and_then(|position| archive.stored(position));
        let holds_newer = stored.is_some_and(|point| point.timestamp > slot.timestamp);
        if i64::from(slot.timestamp) > window_starts && !holds_newer {
            missing.push(*slot);
        }
    }
    if found && missing.is_empty() { Verdict::Holds } else { Verdict::Lacks(missing) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_sample_is_spread_over_all_that_is_filled_wherever_the_gaps_are() {
        let all = |_: u32| true;
        let filled: [&dyn Fn(u32) -> bool; 8] = [
            &all,
            &|age| age % 2 == 0,
            &|age| age % 15 == 3,
            &|age| age >= 40,
            &|age| age < 40,
            &|age| (20..31).contains(&age),
            &|age| age != 0 && age != 99,
            &|age| age / 14 != 3,
        ];
        for (number, is_filled) in filled.into_iter().enumerate() {
            let ages: Vec<u32> = (0..POINTS).rev().filter(|age| is_filled(*age)).collect();
            let timestamps: Vec<u32> = ages.iter().copied().map(at).collect();
            let bytes = file(&timestamps);
            let sample = sample(&Image::parse(&bytes).unwrap(), NOW);
            let sampled: Vec<u32> = sample.iter().map(|slot| slot.timestamp).collect();
            assert_eq!(sampled.len(), SAMPLE.min(timestamps.len()), "{number}: {sampled:?}");
            assert!(sampled.is_sorted_by(|left, right| left < right), "{number}: {sampled:?}");
            assert!(sampled.iter().all(|time| timestamps.contains(time)), "{number}: {sampled:?}");
            assert_eq!(sampled.first(), timestamps.first(), "{number}");
            assert_eq!(sampled.last(), timestamps.last(), "{number}");
            let steps =
                |times: &[u32]| times.windows(2).map(|pair| (pair[1] - pair[0]) / STEP).max();
            let longest = steps(&timestamps).unwrap().max(POINTS / 7 + 1);
            assert!(steps(&sampled).unwrap() <= 2 * longest, "{number}: {sampled:?}");
        }
    }

    #[test]
    fn points_of_the_future_and_what_lies_where_it_does_not_belong_do_not_mislead_a_sample() {
        let ahead: Vec<u32> = (0..POINTS).rev().map(|age| at(age) + 3 * STEP).collect();
        let bytes = file(&ahead);
        let sampled = sample(&Image::parse(&bytes).unwrap(), NOW);
        assert_eq!(sampled.first().unwrap().timestamp, at(96));
        assert_eq!(sampled.last().unwrap().timestamp, at(0) + 3 * STEP);
        let mut bytes = file(&(0..POINTS).rev().map(at).collect::<Vec<_>>());
        let (oldest, newest) = (28 + 12, 28 + 12 * 98);
        for position in [oldest, newest] {
            let elsewhere = Point { timestamp: at(50), value: 1.0 }.encode();
            bytes[position..][..12].copy_from_slice(&elsewhere);
        }
        let sampled = sample(&Image::parse(&bytes).unwrap(), NOW);
        assert_eq!(sampled.len(), SAMPLE);
        assert_eq!(sampled.iter().filter(|slot| slot.timestamp == at(50)).count(), 0);
    }

    #[test]
    fn an_emptied_file_lacks_every_slot_and_a_copy_lacks_none() {
        let bytes = file(&[at(5), at(4), at(1)]);
        let slots = sample(&Image::parse(&bytes).unwrap(), NOW);
        assert_eq!(look(&Image::parse(&bytes).unwrap(), &slots, NOW), Verdict::Holds);
        let emptied = file(&[]);
        assert_eq!(look(&Image::parse(&emptied).unwrap(), &slots, NOW), Verdict::Lacks(slots));
    }

    #[test]
    fn a_slot_that_cannot_be_filled_any_more_is_not_missing_but_one_must_be_there() {
        let slot = |timestamp| Slot { seconds_per_point: STEP, timestamp };
        let bytes = file(&[at(5)]);
        let image = Image::parse(&bytes).unwrap();
        let ahead = file(&[at(5), at(4) + STEP * POINTS]);
        let ahead = Image::parse(&ahead).unwrap();
        // Expired; of another step; overwritten by a newer point of the same position.
        for (image, slot) in [
            (&image, slot(at(POINTS))),
            (&image, Slot { seconds_per_point: 10, timestamp: at(5) }),
            (&ahead, slot(at(4))),
        ] {
            let there = Slot { seconds_per_point: STEP, timestamp: at(5) };
            assert_eq!(look(image, &[slot, there], NOW), Verdict::Holds);
            assert_eq!(look(image, &[slot], NOW), Verdict::Lacks(Vec::new()));
        }
        assert_eq!(look(&image, &[], NOW), Verdict::Holds);
    }
}
