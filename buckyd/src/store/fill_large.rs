//! Filling from, or into, a file that is too long to hold in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bucky_api::{Problem, chain};
use bucky_whisper::{
    Digest, FillOptions, Header, ImageError, LARGE_FILL_BYTES, LargeBytes, LargeFill,
    LargeFillError, UnfitError, fill_large, large_header, preview_large,
};
use rustix::fs::OFlags;

use super::error::StoreError;
use super::failure::{Failure, Holding};
use super::fill::{Existing, FIRST_POINT_IS_NEAR, PAUSE, is_young};
use super::rules::{HealRules, judge};
use super::{LockBudget, Store, TRIES};
use crate::memory::Share;

/// How far the clocks of source and owner may differ when a long file is filled. Points that only the earlier
/// clock counts as valid are looked up within this time.
const CLOCKS_APART_MOST: u32 = 24 * 3600;

impl Store {
    /// Whether two open files have the same content.
    fn is_same(&self, tmp: &File, file: &File, path: &Path) -> Result<bool, StoreError> {
        let from_start = |mut file: &File| {
            let rewound = io::Seek::rewind(&mut file);
            rewound.map_err(|error| StoreError::io("read", path, error))?;
            self.digest(file, path)
        };
        Ok(from_start(tmp)? == from_start(file)?)
    }

    /// Fills the file at `path` from a temporary file, in windows. Both may have any length.
    pub(super) fn fill_large_from(
        &self,
        path: &Path,
        tmp: &File,
        rules: &HealRules,
        budget: &LockBudget,
    ) -> Result<Existing, Failure> {
        let _share = self.share_for_large(path, LARGE_FILL_BYTES)?;
        check_clocks(path, rules)?;
        let (mut points_before, mut is_just_made) = (0, false);
        for _ in 0..TRIES {
            let file = match self.tree.open_file(path, OFlags::RDWR) {
                Ok(file) => file,
                Err(StoreError::Missing { .. }) => return Ok(Existing::NotThere),
                Err(error) => return Err(error.into()),
            };
            self.lock_exclusive(&file, path, budget)?;
            if !self.tree.still_names(path, &file)? {
                continue;
            }
            if is_young(&file, FIRST_POINT_IS_NEAR) && has_no_point(&file) {
                is_just_made = true;
                drop(file);
                std::thread::sleep(PAUSE);
                continue;
            }
            let options = rules.fill_options(self.options.aggregation_six);
            if rules.reshapes() && leaves_without_place(tmp, &file, options) {
                return Ok(Existing::NeedsReshape);
            }
            let done = match fill_large(tmp, &file, options) {
                Err(LargeFillError::Disturbed) => continue,
                Err(
                    LargeFillError::Source(UnfitError::Compressed | UnfitError::Layout)
                    | LargeFillError::Destination(UnfitError::Compressed | UnfitError::Layout),
                ) if self.is_same(tmp, &file, path)? => {
                    return Ok(Existing::Unchanged(Holding::default()));
                }
                done => done.map_err(|error| not_filled(&file, path, &error))?,
            };
            let elsewhere = self.tree.is_elsewhere(&file);
            if elsewhere.map_err(|errno| StoreError::io("stat", path, errno))? {
                file.sync_all().map_err(|error| StoreError::io("sync", path, error))?;
            }
            points_before += done.points_filled;
            return judge_large(path, &done, points_before, rules);
        }
        if is_just_made {
            let reason =
                format!("{} was created a moment ago and has no points yet", path.display());
            return Err(Failure::failed(Problem::Busy, reason));
        }
        Err(StoreError::Unsteady { path: path.into() }.into())
    }
}

/// The preview of a fill in windows.
pub(super) struct LargePreview<'a> {
    pub(super) source: LargeBytes<'a>,
    /// The digest of its content.
    pub(super) digest: Digest,
    pub(super) rules: &'a HealRules,
    /// The memory of [`LARGE_FILL_BYTES`].
    pub(super) _share: Share,
}

impl Store {
    /// Waits for `bytes` of memory.
    pub(super) fn share_for_large(&self, path: &Path, bytes: u64) -> Result<Share, StoreError> {
        let share = self.options.memory.receiving.share_blocking(bytes);
        share.map_err(|source| StoreError::NoMemory { path: path.into(), source })
    }

    /// The memory for a fill in windows, if it is available at once. For requests that hold a source in
    /// memory.
    pub(super) fn share_for_large_now(&self, path: &Path) -> Result<Share, StoreError> {
        let share = self.options.memory.receiving.share_now(LARGE_FILL_BYTES);
        share.map_err(|source| StoreError::NoMemory { path: path.into(), source })
    }

    /// What [`Self::fill_large_from`] would do. Nothing is written.
    pub(super) fn preview_large_from(
        &self,
        path: &Path,
        preview: &LargePreview<'_>,
        budget: &LockBudget,
    ) -> Result<Existing, Failure> {
        let LargePreview { source, digest, rules, .. } = *preview;
        check_clocks(path, rules)?;
        let file = match self.tree.open_file(path, OFlags::RDONLY) {
            Ok(file) => file,
            Err(StoreError::Missing { .. }) => return Ok(Existing::NotThere),
            Err(error) => return Err(error.into()),
        };
        self.lock_shared(&file, path, budget)?;
        let options = rules.fill_options(self.options.aggregation_six);
        let done = match preview_large(source, &file, options) {
            Err(
                LargeFillError::Source(UnfitError::Compressed | UnfitError::Layout)
                | LargeFillError::Destination(UnfitError::Compressed | UnfitError::Layout),
            ) if self.digest(&file, path)? == digest => {
                return Ok(Existing::Unchanged(Holding::default()));
            }
            done => done.map_err(|error| not_filled(&file, path, &error))?,
        };
        judge_large(path, &done, done.points_filled, rules)
    }
}

/// Whether points of `source` have no place in `file` after a fill, as for short files. Reads both, unless
/// their archives are the same. Files that cannot be filled are reported by the fill.
fn leaves_without_place(source: &File, file: &File, options: FillOptions) -> bool {
    let layout = |file| Some(large_header(file).ok()?.ok()?.layout());
    if layout(source) == layout(file) {
        return false;
    }
    let done = preview_large(LargeBytes::File(source), file, options);
    done.is_ok_and(|done| done.coverage.without_place() > 0)
}

/// Refuses clocks that are too far apart.
pub(super) fn check_clocks(path: &Path, rules: &HealRules) -> Result<(), Failure> {
    let clocks = rules.clocks();
    if clocks.latest - clocks.earliest <= CLOCKS_APART_MOST {
        return Ok(());
    }
    let reason = format!(
        "{} is too large to be filled from a node whose clock is more than a day off",
        path.display()
    );
    Err(Failure::failed(Problem::Busy, reason))
}

/// Why nothing, or only a part, was filled into the file at `path`.
pub(super) fn not_filled(file: &File, path: &Path, error: &LargeFillError) -> Failure {
    let shown = path.display();
    let reason = format!("{shown}: {}", chain(error));
    match error {
        LargeFillError::Source(UnfitError::Compressed)
        | LargeFillError::Destination(UnfitError::Compressed) => {
            Failure::refused(Problem::Compressed, reason)
        }
        LargeFillError::Source(UnfitError::Header(_)) => {
            Failure::refused(Problem::SourceDamaged, reason)
        }
        LargeFillError::Destination(UnfitError::Header(error)) => {
            let error = ImageError::Header(error.clone());
            super::fill::damaged_destination(file, path, &error)
        }
        LargeFillError::Source(UnfitError::Layout)
        | LargeFillError::Destination(UnfitError::Layout) => {
            Failure::refused(Problem::TooLarge, reason)
        }
        LargeFillError::Disturbed => Failure::failed(Problem::Busy, reason),
        LargeFillError::Io(error) => StoreError::io("fill", path, same_error(error)).into(),
    }
}

/// A copy of an error. A system error keeps its number, because that shows that the disk is full.
pub(super) fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// The result of a fill in windows.
fn judge_large(
    path: &Path,
    done: &LargeFill,
    points: u64,
    rules: &HealRules,
) -> Result<Existing, Failure> {
    let Some((source, owner)) = &done.headers else {
        return Err(StoreError::Unsteady { path: path.into() }.into());
    };
    let holding = judge(path, (source, owner), &done.coverage, points, rules)?;
    Ok(if points == 0 && done.is_empty() {
        Existing::Unchanged(holding)
    } else {
        Existing::Filled(holding)
    })
}

/// Whether all archives of a file are empty, as far as its header can be read.
fn has_no_point(file: &File) -> bool {
    let bytes = file.metadata().map_or(0, |meta| meta.len());
    let mut head = vec![0; usize::try_from(Header::SIZE_MAX_BYTES.min(bytes)).unwrap_or(0)];
    let read = file.read_exact_at(&mut head, 0).ok();
    let header = read.and_then(|()| Header::parse(&head, bytes).ok());
    header.is_some_and(|header| {
        header.archives.iter().all(|archive| {
            let mut base = [0; 4];
            file.read_exact_at(&mut base, archive.offset.into()).is_ok() && base == [0; 4]
        })
    })
}
