//! Two Whisper files, one of which is filled from the other.
//!
//! Bytes: the time (4), the meaning of aggregation 6 (1), the length of the first file (2), the first file,
//! the second.

use bucky_whisper::{AggregationSix, Clocks, FillOptions, Header, Image, diff, fill};

pub(super) fn check(mut bytes: &[u8]) {
    let now = super::number(&mut bytes);
    let aggregation_six = match super::first(&mut bytes) {
        0 => AggregationSix::AvgZero,
        _ => AggregationSix::First,
    };
    let len_bytes =
        usize::from(super::first(&mut bytes)) << 8 | usize::from(super::first(&mut bytes));
    let (source, destination) = (super::take(&mut bytes, len_bytes), bytes);
    let (source, destination) = (checked_image(source, now), checked_image(destination, now));
    let (Some(source), Some(destination)) = (source, destination) else { return };

    let options = FillOptions { clocks: Clocks::at(now), aggregation_six };
    let mut filled = destination.bytes().to_vec();
    fill(&source, &destination, options).apply(&mut filled);
    assert_eq!(filled.len(), destination.bytes().len());
    let filled = Image::parse(&filled).expect("a filled file is a Whisper file");
    assert_eq!(filled.header(), destination.header());
    assert_points_stay(&destination, &filled, now);
    assert!(fill(&source, &filled, options).is_empty(), "a second fill has something to do");
    assert!(fill(&filled, &filled, options).is_empty(), "a copy has something to give");
    let _ = diff(&source, &filled, now);
}

/// Parses a file and checks its content.
fn checked_image(bytes: &[u8], now: u32) -> Option<Image<'_>> {
    let image = Image::parse(bytes).ok()?;
    let header = image.header();
    assert!(header.file_size_bytes() <= bytes.len() as u64, "archives lie behind the file's end");
    // The share may be a signed zero, which must be written back unchanged: so bytes are compared, not
    // numbers.
    assert_eq!(header.encode(), bytes[..header.encode().len()], "the header is written otherwise");
    assert!(Header::parse(&bytes[..header.encode().len()], bytes.len() as u64).is_ok());
    for archive in image.archives() {
        for point in archive.points_valid(now) {
            assert_eq!(
                archive.valid(point.timestamp, now).map(f64::to_bits),
                Some(point.value.to_bits())
            );
        }
    }
    if let Some(point) = image.last_point(now) {
        assert!(!image.is_empty(now), "a file without points ends with {point:?}");
    }
    Some(image)
}

/// Checks that no valid slot is lost, and that those of the finest archive keep their values (R1).
fn assert_points_stay(before: &Image<'_>, after: &Image<'_>, now: u32) {
    let finest = before.header().finest_first().first().copied();
    for (number, archive) in before.archives().enumerate() {
        let after = after.archive(number).expect("the same archives");
        for point in archive.points_valid(now) {
            let value = after.valid(point.timestamp, now);
            assert!(value.is_some(), "{point:?} of archive {number} is gone");
            if Some(number) == finest {
                assert_eq!(value.map(f64::to_bits), Some(point.value.to_bits()), "{point:?}");
            }
        }
    }
}
