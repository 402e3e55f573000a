//! Merges the copies of one metric for an archive, so that no point of any copy is missing there.
//!
//! Takes contents and a time, returns members. `merge_long` does the same in temporary files, for copies that
//! are too long for memory. Copies with the same archives become one, by the rules of a fill
//! (`docs/internals/fill.md`): the first keeps all its points, and gets those that only the others have.
//! Copies that cannot be merged without loss stay apart: they are compressed, or have other archives.

use bucky_api::archive::FileMeta;
use bucky_api::chain;
use bucky_whisper::{AggregationSix, Clocks, Coverage, FillOptions, Image, ImageError, fill};

use super::copies::{HeldCopy, MergedCopies};
use super::merge_long::merge_long;
use crate::spool::Content;

/// Merges `copies` at the time `now`. The values of the first copy win.
pub(crate) fn merge(copies: Vec<HeldCopy>, now: u32) -> MergedCopies {
    if copies.iter().any(|copy| matches!(copy.content, Content::Spooled(_))) {
        return merge_long(copies, now);
    }
    let mut merged = MergedCopies::default();
    let mut files: Vec<(FileMeta, Vec<u8>)> = Vec::new();
    for HeldCopy { node, meta, content } in copies {
        let Content::Held(content) = content else { continue };
        match Image::parse(&content) {
            Ok(_) | Err(ImageError::Compressed) => {}
            Err(error @ ImageError::Header(_)) => {
                merged.failed.push((node, chain(&error)));
                continue;
            }
        }
        merged.copies += 1;
        let points = files.iter_mut().find_map(|(into_meta, into)| {
            let points = bring(&content, into, now)?;
            into_meta.mtime = into_meta.mtime.max(meta.mtime);
            Some(points)
        });
        match points {
            Some(points) => merged.points += points,
            None => files.push((meta, content)),
        }
    }
    files.sort_by_key(|(meta, _)| meta.mtime);
    merged.files = files.into_iter().map(|(meta, file)| (meta, Content::Held(file))).collect();
    merged
}

/// Fills the points that only `content` has into `into`, and returns how many. `None` if `into` cannot hold
/// all of them; `into` is unchanged then.
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
    let mut filled = into.to_vec();
    plan.apply(&mut filled);
    let is_whole = Coverage::of(&source, &Image::parse(&filled).ok()?, options.clocks).is_whole();
    is_whole.then(|| {
        into.copy_from_slice(&filled);
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

    fn held(node: usize, mtime: u64, content: &[u8]) -> HeldCopy {
        let content = Content::Held(content.to_vec());
        HeldCopy { node, meta: FileMeta { mode: 0o644, mtime }, content }
    }

    /// A copy like [`held`], in a temporary file.
    fn spooled(node: usize, mtime: u64, content: &[u8]) -> HeldCopy {
        let spool = Content::Held(content.to_vec()).into_spool().unwrap();
        HeldCopy { content: Content::Spooled(spool), ..held(node, mtime, content) }
    }

    fn contents(merged: &MergedCopies) -> Vec<Vec<u8>> {
        let content = |(_, content): &(FileMeta, Content)| match content {
            Content::Held(content) => content.clone(),
            Content::Spooled(spool) => {
                let content = spool.content().unwrap();
                assert_eq!(spool.digest(), bucky_whisper::Digest::of(&content));
                content
            }
        };
        merged.files.iter().map(content).collect()
    }

    fn values(content: &[u8]) -> Vec<f64> {
        let image = Image::parse(content).unwrap();
        image.archive(0).unwrap().points_valid(NOW).map(|point| point.value).collect()
    }

    /// D23: the Go tool stores one of two copies twice and leaves the other out.
    #[test]
    fn copies_become_one_that_has_all_points_and_the_firsts_values() {
        // The oldest point is in the first slot, from which positions count.
        let one = file("1m:3h", &[(100, 1.0), (5, 2.0)]);
        let other = file("1m:3h", &[(100, 7.0), (4, 3.0), (3, 0.0)]);
        for of in [held, spooled] {
            let merged = merge(vec![of(0, 20, &one), of(1, 30, &other), of(2, 10, &one)], NOW);
            assert_eq!((merged.copies, merged.points, merged.failed.len()), (3, 2, 0));
            let [content] = contents(&merged).try_into().unwrap();
            assert_eq!(values(&content), [1.0, 2.0, 3.0, 0.0]);
            assert_eq!(merged.files[0].0.mtime, 30);
        }
    }

    #[test]
    fn copies_that_cannot_be_merged_stay_apart_the_last_written_last() {
        let fine = file("1m:3h", &[(100, 1.0)]);
        let coarse = file("5m:3h", &[(1, 2.0)]);
        let compressed = [b"whisper_compressed".as_slice(), &[1; 64]].concat();
        for of in [held, spooled] {
            let merged = merge(
                vec![
                    held(0, 30, &compressed),
                    held(1, 20, &fine),
                    of(2, 10, &coarse),
                    held(3, 40, &compressed),
                ],
                NOW,
            );
            assert_eq!(contents(&merged), [coarse.as_slice(), &fine, &compressed]);
            assert_eq!((merged.copies, merged.points), (4, 0));
        }
    }

    #[test]
    fn a_corrupt_copy_is_reported_and_the_others_count() {
        let sound = file("1m:3h", &[(100, 1.0)]);
        for of in [held, spooled] {
            let merged = merge(vec![of(0, 1, b""), of(1, 2, &sound), of(2, 3, &[0; 100])], NOW);
            let nodes: Vec<usize> = merged.failed.iter().map(|(node, _)| *node).collect();
            assert_eq!((nodes, merged.files.len(), merged.copies), (vec![0, 2], 1, 1));
        }
        assert!(merge(Vec::new(), NOW).files.is_empty());
    }
}
