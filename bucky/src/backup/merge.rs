//! What goes into an archive of the copies of one metric, so that no point of any of them is missing there.
//!
//! Pure: contents and a time in, members out. Copies with the same archives become one, as a fill would have it
//! (`docs/internals/fill.md`): the first keeps all it has, and gets what only the others have. Copies that cannot be brought together
//! without losing something, being compressed or of other archives, stay apart.

use bucky_api::archive::FileMeta;
use bucky_api::chain;
use bucky_whisper::{AggregationSix, Clocks, Coverage, FillOptions, Image, ImageError, fill};

/// A copy of a metric.
pub(crate) struct Held {
    /// The node it is from.
    pub(crate) node: usize,
    /// Mode and time of change there.
    pub(crate) meta: FileMeta,
    /// The whole file.
    pub(crate) content: Vec<u8>,
}

/// What is to be archived of a metric.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// The files, the one last written to last: of several it is the one that unpacking leaves.
    pub(crate) files: Vec<(FileMeta, Vec<u8>)>,
    /// Copies that are no whole Whisper files: where, and what is wrong.
    pub(crate) corrupt: Vec<(usize, String)>,
    /// How many copies gave something.
    pub(crate) copies: u64,
    /// Points that came to the first copy from others.
    pub(crate) points: u64,
}

/// Brings `copies` together as of `now`, the one whose values count first.
pub(crate) fn merge(copies: Vec<Held>, now: u32) -> Merged {
    let mut merged = Merged::default();
    for Held { node, meta, content } in copies {
        match Image::parse(&content) {
            Ok(_) | Err(ImageError::Compressed) => {}
            Err(error @ ImageError::Header(_)) => {
                merged.corrupt.push((node, chain(&error)));
                continue;
            }
        }
        merged.copies += 1;
        let points = merged.files.iter_mut().find_map(|(into_meta, into)| {
            let points = bring(&content, into, now)?;
            into_meta.mtime = into_meta.mtime.max(meta.mtime);
            Some(points)
        });
        match points {
            Some(points) => merged.points += points,
            None => merged.files.push((meta, content)),
        }
    }
    merged.files.sort_by_key(|(meta, _)| meta.mtime);
    merged
}

/// Puts into `into` the points that only `content` has, and tells how many; none where it cannot have all of them, and is
/// as it was.
fn bring(content: &[u8], into: &mut [u8], now: u32) -> Option<u64> {
    if content == into {
        return Some(0);
    }
    let (source, destination) = (Image::parse(content).ok()?, Image::parse(into).ok()?);
    if source.header().archives != destination.header().archives {
        return None;
    }
    let options =
        FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::default() };
    let plan = fill(&source, &destination, options);
    let points = plan.points_filled();
    let mut brought = into.to_vec();
    plan.apply(&mut brought);
    let is_whole = Coverage::of(&source, &Image::parse(&brought).ok()?, options.clocks).is_whole();
    is_whole.then(|| {
        into.copy_from_slice(&brought);
        points
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_whisper::{Aggregation, Header, Retention, XFilesFactor};

    const NOW: u32 = 1_700_000_000;

    /// A file with these points in its first archive.
    fn file(retentions: &str, points: &[(u32, f64)]) -> Vec<u8> {
        let retentions: Vec<Retention> =
            retentions.split(',').map(|text| text.parse().unwrap()).collect();
        let factor = XFilesFactor::new(0.5).unwrap();
        let header = Header::for_retentions(&retentions, Aggregation::Average, factor).unwrap();
        let mut content = header.encode();
        content.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
        let archive = header.archives[0];
        for (age, value) in points {
            let t = NOW - NOW % archive.seconds_per_point - age * archive.seconds_per_point;
            let base = NOW - NOW % archive.seconds_per_point - 100 * archive.seconds_per_point;
            let position = ((t - base) / archive.seconds_per_point) % archive.points;
            let at = (archive.offset + position * 12) as usize;
            content[at..at + 4].copy_from_slice(&t.to_be_bytes());
            content[at + 4..at + 12].copy_from_slice(&value.to_be_bytes());
        }
        content
    }

    fn held(node: usize, mtime: u64, content: &[u8]) -> Held {
        Held { node, meta: FileMeta { mode: 0o644, mtime }, content: content.to_vec() }
    }

    fn values(content: &[u8]) -> Vec<f64> {
        let image = Image::parse(content).unwrap();
        image.archive(0).unwrap().points_valid(NOW).map(|point| point.value).collect()
    }

    /// D23: the Go tool stores one of two copies twice, and leaves the other out.
    #[test]
    fn copies_become_one_that_has_all_points_and_the_firsts_values() {
        // The oldest lies in the first slot, from which positions count.
        let one = file("1m:3h", &[(100, 1.0), (5, 2.0)]);
        let other = file("1m:3h", &[(100, 7.0), (4, 3.0), (3, 0.0)]);
        let merged = merge(vec![held(0, 20, &one), held(1, 30, &other), held(2, 10, &one)], NOW);
        assert_eq!((merged.copies, merged.points, merged.corrupt.len()), (3, 2, 0));
        let [(meta, content)] = merged.files.as_slice() else { panic!("{merged:?}") };
        assert_eq!(values(content), [1.0, 2.0, 3.0, 0.0]);
        assert_eq!(meta.mtime, 30);
    }

    #[test]
    fn what_cannot_be_brought_together_stays_apart_the_last_written_last() {
        let fine = file("1m:3h", &[(100, 1.0)]);
        let coarse = file("5m:3h", &[(1, 2.0)]);
        let compressed = [b"whisper_compressed".as_slice(), &[1; 64]].concat();
        let copies = || {
            vec![
                held(0, 30, &compressed),
                held(1, 20, &fine),
                held(2, 10, &coarse),
                held(3, 40, &compressed),
            ]
        };
        let merged = merge(copies(), NOW);
        let contents: Vec<&[u8]> = merged.files.iter().map(|(_, file)| file.as_slice()).collect();
        assert_eq!(contents, [coarse.as_slice(), &fine, &compressed]);
        assert_eq!((merged.copies, merged.points), (4, 0));
    }

    #[test]
    fn a_corrupt_copy_is_told_and_the_others_count() {
        let sound = file("1m:3h", &[(100, 1.0)]);
        let merged = merge(vec![held(0, 1, b""), held(1, 2, &sound), held(2, 3, &[0; 100])], NOW);
        let nodes: Vec<usize> = merged.corrupt.iter().map(|(node, _)| *node).collect();
        assert_eq!((nodes, merged.files.len(), merged.copies), (vec![0, 2], 1, 1));
        assert_eq!(merge(Vec::new(), NOW), Merged::default());
    }
}
