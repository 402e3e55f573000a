//! Merges the copies of one metric that are too long for memory: in their temporary files, window by window,
//! by the rules of `merge`.

use std::io;

use bucky_api::archive::FileMeta;
use bucky_api::chain;
use bucky_whisper::{
    AggregationSix, Clocks, FillOptions, Header, ImageError, LargeFillError, fill_large,
};

use super::copies::{HeldCopy, MergedCopies};
use crate::spool::{Content, Spool};

/// A file for the archive, with its header unless it is compressed.
struct MergedFile {
    meta: FileMeta,
    spool: Spool,
    header: Option<Header>,
}

/// The result of merging a copy into a file.
enum MergeResult {
    /// The file holds all its points; this many were filled.
    Whole(u64),
    /// The two cannot be merged.
    Apart,
}

/// Merges `copies` at the time `now`. The values of the first copy win.
pub(super) fn merge_long(copies: Vec<HeldCopy>, now: u32) -> MergedCopies {
    let mut merged = MergedCopies::default();
    let mut files: Vec<MergedFile> = Vec::new();
    for HeldCopy { node, meta, content } in copies {
        let (spool, header) = match looked_at(content) {
            Ok((spool, Ok(header))) => (spool, Some(header)),
            Ok((spool, Err(ImageError::Compressed))) => (spool, None),
            Ok((_, Err(error))) => {
                merged.failed.push((node, chain(&error)));
                continue;
            }
            Err(error) => {
                merged.failed.push((node, error.to_string()));
                continue;
            }
        };
        merged.copies += 1;
        let copy = MergedFile { meta, spool, header };
        match bring_into_one(&copy, &mut files, now) {
            Ok(MergeResult::Whole(points)) => merged.points += points,
            Ok(MergeResult::Apart) => files.push(copy),
            Err(error) => {
                let reason = format!("cannot merge it with the other copies: {error}");
                merged.failed.push((node, reason));
                files.push(copy);
            }
        }
    }
    files.sort_by_key(|file| file.meta.mtime);
    merged.files =
        files.into_iter().map(|file| (file.meta, Content::Spooled(file.spool))).collect();
    merged
}

fn looked_at(content: Content) -> io::Result<(Spool, Result<Header, ImageError>)> {
    let spool = content.into_spool()?;
    let kind = spool.kind()?;
    Ok((spool, kind))
}

/// Merges `copy` into the first of `files` that can hold all its points.
fn bring_into_one(
    copy: &MergedFile,
    files: &mut [MergedFile],
    now: u32,
) -> io::Result<MergeResult> {
    for file in files {
        if let MergeResult::Whole(points) = bring(copy, file, now)? {
            file.meta.mtime = file.meta.mtime.max(copy.meta.mtime);
            return Ok(MergeResult::Whole(points));
        }
    }
    Ok(MergeResult::Apart)
}

/// Fills the points that only `copy` has into `into`. If `into` has no place for all of them, some may be
/// filled already.
fn bring(copy: &MergedFile, into: &mut MergedFile, now: u32) -> io::Result<MergeResult> {
    let (from, to) = (&copy.spool, &into.spool);
    if (from.len_bytes(), from.digest()) == (to.len_bytes(), to.digest()) {
        return Ok(MergeResult::Whole(0));
    }
    let (Some(source), Some(destination)) = (&copy.header, &into.header) else {
        return Ok(MergeResult::Apart);
    };
    if source.archives != destination.archives {
        return Ok(MergeResult::Apart);
    }
    let options =
        FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::default() };
    let filled = fill_large(from.file(), to.file(), options);
    into.spool = to.clone().changed()?;
    match filled {
        Ok(done) if done.coverage.is_whole() => Ok(MergeResult::Whole(done.points_filled)),
        Ok(_) | Err(LargeFillError::Source(_) | LargeFillError::Destination(_)) => {
            Ok(MergeResult::Apart)
        }
        Err(error) => Err(io::Error::other(chain(&error))),
    }
}
