//! The files that the cases use.

use bucky_whisper::{Aggregation, Archive, Header, Point, Retention, XFilesFactor};

use crate::random::Random;

/// Retentions of new files, as (seconds per point, points).
pub(crate) const LAYOUTS: [&[(u32, u32)]; 9] = [
    &[(1, 60)],
    &[(60, 10)],
    &[(1, 1)],
    &[(1, 10), (5, 12)],
    &[(10, 6), (60, 5)],
    &[(7, 5), (35, 3)],
    &[(1, 5), (5, 3), (15, 4)],
    &[(10, 12), (20, 30), (60, 40)],
    &[(60, 60), (300, 48), (3_600, 24)],
];

pub(crate) const X_FILES_FACTORS: [f32; 5] = [0.0, 0.3, 0.5, 0.75, 1.0];

pub(crate) fn retentions(layout: &[(u32, u32)]) -> Vec<Retention> {
    layout.iter().map(|(step, points)| Retention::new(*step, *points).unwrap()).collect()
}

/// Archives as (gap before it, seconds per point, points) that whisper.py never creates but can read. Each
/// coarser step is a multiple of the finer ones, so that updates are well defined.
pub(crate) const ODD_LAYOUTS: [&[(u32, u32, u32)]; 4] = [
    // Bytes that belong to no archive.
    &[(24, 1, 10), (5, 5, 12)],
    // A finer archive that is shorter than one coarser slot, and one that a coarser slot wraps around more
    // than twice.
    &[(0, 1, 3), (0, 5, 10)],
    &[(0, 1, 3), (0, 7, 10)],
    // Equal reach.
    &[(0, 1, 60), (0, 5, 12), (0, 60, 1)],
];

/// Archives in an order, or with steps, for which nothing is rolled up.
pub(crate) const UNORDERED_LAYOUTS: [&[(u32, u32, u32)]; 3] =
    [&[(0, 60, 10), (0, 1, 60)], &[(0, 10, 6), (0, 15, 9)], &[(3, 15, 9), (1, 10, 6), (0, 60, 3)]];

/// The content of a file of `archives` whose slots are full, stale, empty or damaged, around `now`.
pub(crate) fn any_content(random: &mut Random, archives: &[(u32, u32, u32)], now: u32) -> Vec<u8> {
    let mut end = 16 + 12 * u32::try_from(archives.len()).unwrap();
    let mut header = Header {
        aggregation: random.pick(&Aggregation::ALL),
        last_update: None,
        max_retention: 0,
        x_files_factor: XFilesFactor::new(random.pick(&X_FILES_FACTORS)).unwrap(),
        archives: Vec::new(),
    };
    for (gap, seconds_per_point, points) in archives.iter().copied() {
        header.archives.push(Archive { offset: end + gap, seconds_per_point, points });
        end += gap + 12 * points;
        header.max_retention = header.max_retention.max(seconds_per_point * points);
    }
    if random.below(4) == 0 {
        // Sometimes shorter than the archives: whisper.py uses the header's value.
        header.max_retention = header.max_retention / 2 + 1;
    }
    let mut bytes = header.encode();
    bytes.resize(end as usize + 5, 0xee);
    for archive in &header.archives {
        let base = if random.below(5) == 0 { 0 } else { any_base(random, archive, now) };
        for position in 0..archive.points {
            let start = (archive.offset + 12 * position) as usize;
            let point = any_stored(random, archive, base, position);
            bytes[start..start + 12].copy_from_slice(&point.encode());
        }
    }
    bytes
}

fn any_base(random: &mut Random, archive: &Archive, now: u32) -> u32 {
    let reach = archive.seconds_per_point * archive.points;
    let base = now + archive.seconds_per_point - random.below(3 * reach);
    base - base % archive.seconds_per_point
}

/// The content of `position`: a point of this turn of the ring or of another, nothing, or a time that belongs
/// elsewhere.
fn any_stored(random: &mut Random, archive: &Archive, base: u32, position: u32) -> Point {
    if base == 0 {
        return Point { timestamp: 0, value: 0.0 };
    }
    let here = base + position * archive.seconds_per_point;
    let reach = archive.seconds_per_point * archive.points;
    let turn = [here, here + reach, here - reach, here, here + 2 * reach];
    let timestamp = match random.below(12) {
        _ if position == 0 => base,
        0 => 0,
        1 => here + 1,
        _ => random.pick(&turn),
    };
    Point { timestamp, value: random.value() }
}
