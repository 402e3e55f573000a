//! Recovers the points of a file that was cut off.
//!
//! A file loses its end if a disk was full, or if a copy was interrupted. Its header and the archives before
//! the cut are complete, and so are the slots before the cut in the archive that was cut. [`salvage()`] makes
//! a complete file from them, in which all slots after the cut are empty.
//!
//! Pure. It accepts only a header that whisper.py would write for a new file, because its fields confirm each
//! other. A damaged header could state any size.

use crate::header::{Archive, Header, HeaderError, POINT_BYTES};
use crate::image::Image;
use crate::retention::Retention;

/// A complete file made from one that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// How many of the [`Self::archives`] were complete.
    pub whole_archives: usize,
    /// How many archives the file has.
    pub archives: usize,
}

/// The original length of a file that was cut off, if it begins with `head` and has `len_bytes` bytes now.
/// `None` unless the header is sound, at least one archive is complete, and another one is not.
pub fn cut_from(head: &[u8], len_bytes: u64) -> Option<u64> {
    match Header::parse(head, len_bytes) {
        Err(HeaderError::BeyondFile { .. }) => {}
        _ => return None,
    }
    let header = Header::parse(head, u64::MAX).ok()?;
    let is_as_created = created(&header)? == header;
    let has_whole = header.archives.iter().any(|archive| archive.end() <= len_bytes);
    (is_as_created && has_whole).then(|| header.file_size_bytes())
}

/// A complete file with the rest of `cut`, or `None` if that was not cut off or has nothing left: see
/// [`cut_from`].
///
/// The result is as long as the file was originally. The caller should check that length with [`cut_from`]
/// first.
pub fn salvage(cut: &[u8]) -> Option<Salvaged> {
    let len = usize::try_from(cut_from(cut, cut.len() as u64)?).ok()?;
    let header = Header::parse(cut, u64::MAX).ok()?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    let whole = usize::try_from(whole_slots_of(&header, cut.len() as u64)).ok()?;
    bytes.extend_from_slice(cut.get(..whole)?);
    bytes.resize(len, 0);
    let is_whole = |archive: &&Archive| archive.end() <= cut.len() as u64;
    let whole_archives = header.archives.iter().filter(is_whole).count();
    Image::parse(&bytes).ok()?;
    Some(Salvaged { bytes, whole_archives, archives: header.archives.len() })
}

/// The header that a new file with the archives of `header` would have.
fn created(header: &Header) -> Option<Header> {
    let retention =
        |archive: &Archive| Retention::new(archive.seconds_per_point, archive.points).ok();
    let retentions: Option<Vec<Retention>> = header.archives.iter().map(retention).collect();
    let new = Header::for_retentions(&retentions?, header.aggregation, header.x_files_factor);
    Some(Header { last_update: header.last_update, ..new.ok()? })
}

/// The length of the part of a cut file that has complete slots. The file begins with `head` and has
/// `len_bytes` bytes. `None` if it was not cut off: see [`cut_from`].
pub fn whole_slots(head: &[u8], len_bytes: u64) -> Option<u64> {
    cut_from(head, len_bytes)?;
    Some(whole_slots_of(&Header::parse(head, u64::MAX).ok()?, len_bytes))
}

/// Leaves out a slot that was cut: half a slot would read as another value.
fn whole_slots_of(header: &Header, len_bytes: u64) -> u64 {
    let begins = header.archives.iter().map(|archive| u64::from(archive.offset));
    let begin = begins.filter(|begin| *begin <= len_bytes).max().unwrap_or(0);
    begin + (len_bytes - begin) / POINT_BYTES * POINT_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregation::Aggregation;
    use crate::image::Point;
    use crate::retention::XFilesFactor;

    const NOW: u32 = 1_800_000_000;

    /// A file of 12 minutes and 8 slots of five minutes, all of them full.
    fn sound() -> Vec<u8> {
        let retentions: Vec<Retention> =
            ["60s:12m", "300s:40m"].map(|text| text.parse().unwrap()).to_vec();
        let factor = XFilesFactor::default();
        let header = Header::for_retentions(&retentions, Aggregation::Sum, factor).unwrap();
        let mut bytes = header.encode();
        for archive in &header.archives {
            for age in (0..archive.points).rev() {
                let timestamp = NOW - age * archive.seconds_per_point;
                bytes.extend(Point { timestamp, value: f64::from(timestamp) }.encode());
            }
        }
        bytes
    }

    fn points(bytes: &[u8], archive: usize) -> Vec<Point> {
        Image::parse(bytes).unwrap().archive(archive).unwrap().points_valid(NOW).collect()
    }

    #[test]
    fn the_archives_before_the_cut_and_the_whole_slots_of_the_one_it_is_in_are_left() {
        let sound = sound();
        let second = 40 + 12 * 12;
        for (cut, left) in [(sound.len() - 1, 7), (second + 25, 2), (second + 24, 2), (second, 0)] {
            let salvaged = salvage(&sound[..cut]).unwrap();
            assert_eq!(salvaged.bytes.len(), sound.len());
            assert_eq!((salvaged.whole_archives, salvaged.archives), (1, 2));
            assert_eq!(points(&salvaged.bytes, 0), points(&sound, 0));
            assert_eq!(points(&salvaged.bytes, 1), points(&sound, 1)[..left], "cut at {cut}");
        }
    }

    #[test]
    fn a_file_that_is_whole_has_no_whole_archive_or_no_sound_header_is_not_salvaged() {
        let sound = sound();
        assert_eq!(salvage(&sound), None, "whole");
        assert_eq!(salvage(&sound[..40 + 12 * 12 - 1]), None, "cut in its first archive");
        assert_eq!(salvage(&sound[..20]), None, "cut in its header");
        let cut = &sound[..sound.len() - 1];
        for field in [4, 16, 20, 24, 28, 32, 36] {
            for value in [0, 7, 0x00ff_ffff, u32::MAX] {
                let mut damaged = cut.to_vec();
                damaged[field..field + 4].copy_from_slice(&value.to_be_bytes());
                assert_eq!(salvage(&damaged), None, "{value} at byte {field}");
            }
        }
    }

    #[test]
    fn a_file_from_before_whisper_0_9_9_is_salvaged_with_its_header() {
        let mut old = sound();
        old[..4].copy_from_slice(&1_284_000_600_u32.to_be_bytes());
        let salvaged = salvage(&old[..old.len() - 1]).unwrap();
        assert_eq!(salvaged.bytes[..40], old[..40]);
    }

    proptest! {
        #[test]
        fn every_point_that_is_left_is_one_that_was_there(cut in 0_usize..300) {
            let sound = sound();
            let cut = &sound[..cut.min(sound.len())];
            if let Some(salvaged) = salvage(cut) {
                for archive in 0..2 {
                    let before = points(&sound, archive);
                    let left = points(&salvaged.bytes, archive);
                    prop_assert!(left.iter().all(|point| before.contains(point)));
                }
            }
        }

        #[test]
        fn bytes_of_any_kind_are_no_reason_to_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200), len: u64,
        ) {
            let _ = (salvage(&bytes), cut_from(&bytes, len));
        }
    }
}
