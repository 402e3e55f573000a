//! Giving an owner's file the archives that it lacks if one of the files is too long for memory.
//!
//! The new file is made from the two others window by window, and made durable, before the old one is locked.
//! So a carbon that takes locks can write during that time. Every point of the old file is looked up in the
//! new one. Under the lock, late points are copied. Then the two change places as in [`super::reshape`].

use std::fs::File;
use std::path::Path;

use bucky_api::chain;
use bucky_whisper::{
    BLOCK_DIGESTS_MOST_BYTES, BlockDigests, Carried, Coverage, FillOptions, Header,
    LARGE_FILL_BYTES, LargeFillError, Layout, LostPoints, carry_late, coverage_large, large_header,
    lost_by_reshape, reshape_large,
};
use rustix::fs::{OFlags, Stat};

use super::error::StoreError;
use super::failure::{Failure, Holding};
use super::fill::Existing;
use super::fill_large::{check_clocks, not_filled, same_error};
use super::reshape::{OldFile, Reshaped, TombstoneSlot, cannot_reshape, reshaped};
use super::rules::{HealRules, judge};
use super::snapshot::is_sparse;
use super::{LockBudget, Store, TRIES};

/// The inputs of a reshape.
struct Reshape<'a> {
    path: &'a Path,
    old: &'a File,
    source: &'a File,
    layout: Layout,
    options: FillOptions,
}

/// A new file that has all points of both, except those in `lost`.
struct UnplacedReshape {
    new: Reshaped,
    /// The block digests of the old file before it was read.
    before: BlockDigests,
    /// The points of the old file that are not in the new one.
    lost: LostPoints,
    holding: Holding,
}

impl Store {
    /// Creates the file at `path` again, with the archives of both, and fills it from both. They may have any
    /// length.
    pub(super) fn reshape_large(
        &self,
        path: &Path,
        source: &File,
        aside: &TombstoneSlot<'_, '_>,
        rules: &HealRules,
        budget: &LockBudget,
    ) -> Result<Existing, Failure> {
        check_clocks(path, rules)?;
        let bytes = LARGE_FILL_BYTES + BLOCK_DIGESTS_MOST_BYTES;
        let _share = self.share_for_large(path, bytes)?;
        let options = rules.fill_options(self.options.aggregation_six);
        for _ in 0..TRIES {
            let old = match self.tree.open_file(path, OFlags::RDWR) {
                Ok(old) => old,
                Err(StoreError::Missing { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            let header = |file: &File, unfit: fn(_) -> LargeFillError| {
                let header = large_header(file).map_err(LargeFillError::Io);
                let header = header.and_then(|header| header.map_err(unfit));
                header.map_err(|error| not_filled(&old, path, &error))
            };
            let of_source = header(source, LargeFillError::Source)?;
            let of_old = header(&old, LargeFillError::Destination)?;
            let layout = Layout::of(&of_old, &of_source);
            let layout = layout.map_err(|error| cannot_reshape(path, &error))?;
            let reshape = Reshape { path, old: &old, source, layout, options };
            let made = self.make_reshaped(&reshape, &of_source, rules)?;
            let tmp_name = made.new.tmp_name.clone();
            let placed = self.put_reshaped(&reshape, made, aside, budget);
            // If it was put in place, this name is free already.
            self.remove_tmp(&tmp_name);
            if let Some(holding) = placed? {
                let headers = (&of_source, reshape.layout.header());
                return Ok(Existing::Filled(reshaped(path, headers, &of_old, holding)));
            }
        }
        Err(StoreError::Unsteady { path: path.into() }.into())
    }

    /// Makes the new file beside the old one, which is not locked during that time.
    fn make_reshaped(
        &self,
        reshape: &Reshape<'_>,
        of_source: &Header,
        rules: &HealRules,
    ) -> Result<UnplacedReshape, Failure> {
        let path = reshape.path;
        let old_stat = stat(reshape.old, path)?;
        let (tmp_name, file) = self.make_tmp()?;
        let new = Reshaped { file, tmp_name };
        let header = reshape.layout.header();
        let made = || -> Result<_, Failure> {
            self.allocate(&new.file, header.file_size_bytes(), is_sparse(&old_stat))
                .map_err(|error| StoreError::io("write the new file", path, error))?;
            let filled = reshape.fill(&new.file);
            let (before, held, after, lost) =
                filled.map_err(|error| not_filled(reshape.old, path, &error))?;
            let points = after.held().saturating_sub(held);
            let holding = judge(path, (of_source, header), &after, points, rules)?;
            // Most of it, so that little must be synced under the lock.
            new.file
                .sync_all()
                .map_err(|error| StoreError::io("sync the new file", path, error))?;
            Ok((before, lost, holding))
        };
        match made() {
            Ok((before, lost, holding)) => Ok(UnplacedReshape { new, before, lost, holding }),
            Err(failure) => {
                self.remove_tmp(&new.tmp_name);
                Err(failure)
            }
        }
    }

    /// Puts the new file in its place, with late points. `None` if another file is there by now.
    fn put_reshaped(
        &self,
        reshape: &Reshape<'_>,
        made: UnplacedReshape,
        aside: &TombstoneSlot<'_, '_>,
        budget: &LockBudget,
    ) -> Result<Option<Holding>, Failure> {
        let Reshape { path, old, .. } = *reshape;
        let UnplacedReshape { new, mut before, lost, holding } = made;
        self.lock_exclusive(old, path, budget)?;
        if !self.tree.still_names(path, old)? {
            return Ok(None);
        }
        // From before it is read: a later write changes its time, and so removes the mark.
        let old_stat = stat(old, path)?;
        let carried = reshape.copy_late(&new, &mut before)?;
        let lost = lost.not_late(&carried) + carried.lost;
        if lost > 0 {
            return Err(cannot_reshape(path, &reshape.layout.would_lose(lost)));
        }
        self.copy_meta(&new, &old_stat, path)?;
        let pair = OldFile { old, old_stat };
        let copy_late = || {
            if !reshape.copy_late(&new, &mut before)?.is_empty() {
                let synced = new.file.sync_all();
                synced.map_err(|error| StoreError::io("write the late points to", path, error))?;
            }
            Ok(())
        };
        Ok(self.exchange(&pair, &new, path, aside, copy_late)?.then_some(holding))
    }
}

impl Reshape<'_> {
    /// Fills `new` from both. Returns the digests of the old file from before, how many points of the source
    /// that file holds, how many the new one holds, and which points of the old file the new one does not
    /// hold.
    fn fill(
        &self,
        new: &File,
    ) -> Result<(BlockDigests, u64, Coverage, LostPoints), LargeFillError> {
        let before = BlockDigests::of(self.old)?;
        let held = coverage_large(self.source, self.old, self.options)?.held();
        let after = reshape_large(&self.layout, (self.old, self.source), new, self.options)?;
        let lost = lost_by_reshape(self.old, new, self.options)?;
        Ok((before, held, after, lost))
    }

    /// Copies what was written to the old file since `before` into the new one.
    fn copy_late(&self, new: &Reshaped, before: &mut BlockDigests) -> Result<Carried, Failure> {
        let carried = carry_late(before, (self.old, &new.file), self.path, self.options);
        Ok(carried.map_err(|error| {
            let error = match &error {
                LargeFillError::Io(error) => same_error(error),
                error => std::io::Error::other(chain(error)),
            };
            StoreError::io("write the late points to", self.path, error)
        })?)
    }
}

fn stat(file: &File, path: &Path) -> Result<Stat, StoreError> {
    rustix::fs::fstat(file).map_err(|errno| StoreError::io("stat", path, errno))
}
