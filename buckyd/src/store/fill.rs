//! Filling an existing file in place, under its lock.
//!
//! A writer that has the file open keeps writing to the same inode. Nothing that another process may have
//! written is overwritten.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bucky_api::{Problem, chain};
use bucky_whisper::{
    Clocks, Coverage, FillPlan, Image, ImageError, Written, is_compressed, write_in_place,
};
use rustix::fs::{Advice, OFlags};

use super::error::StoreError;
use super::failure::{Failure, Holding};
use super::rules::{HealRules, judge};
use super::{LockBudget, Store, TRIES};
use crate::memory::Share;

/// How many times its length a file takes in memory while it is filled: its content, its new content, a mark
/// for each slot, and a copy that shows what a fill would leave without a place.
const FILL_TIMES: u64 = 4;
/// How long after its last write an incomplete file may still be in the making.
const STILL_BEING_WRITTEN: Duration = Duration::from_secs(5);

/// How long after its last write a file without points may be about to get its first. Carbon creates a file
/// and writes to it at once.
pub(super) const FIRST_POINT_IS_NEAR: Duration = Duration::from_secs(1);
/// How long to wait before such a file is checked again.
pub(super) const PAUSE: Duration = Duration::from_millis(25);

/// The result for an existing file.
pub(super) enum Existing {
    NotThere,
    /// It had every point already.
    Unchanged(Holding),
    /// It got points.
    Filled(Holding),
    /// It must get other archives first. Nothing was written.
    NeedsReshape,
    /// It was corrupt. The old file is kept at this path.
    Replaced {
        kept: PathBuf,
    },
}

impl Existing {
    /// The same result, if an earlier attempt has already filled `points_before` points.
    fn after(self, points_before: u64) -> Self {
        match self {
            Self::Unchanged(holding) if points_before > 0 => {
                Self::Filled(Holding { points: points_before, ..holding })
            }
            Self::Filled(holding) => {
                Self::Filled(Holding { points: holding.points + points_before, ..holding })
            }
            existing => existing,
        }
    }
}

/// The result of one attempt to fill a file.
enum Attempt {
    Done(Existing),
    /// Another process wrote its first point at the same time, so it must be filled again. `points` may
    /// already count.
    Disturbed {
        points: u64,
    },
    /// It has no point yet, and was created a moment ago.
    JustMade,
}

impl Store {
    /// Fills the file at `path`, if there is one, from `source`, which is in memory.
    ///
    /// `None` if there is no memory for it now, or if the file is too long for memory. This does not wait:
    /// requests that hold a source would all wait for each other. The source is written to a temporary file,
    /// and the fill is done from there: see [`Self::fill_from_tmp`].
    pub(super) fn fill_existing(
        &self,
        path: &Path,
        source: &[u8],
        rules: &HealRules,
        budget: &LockBudget,
    ) -> Result<Option<Existing>, Failure> {
        self.fill_with(path, rules, budget, |bytes| {
            let share = self.options.memory.receiving.share_now(bytes);
            Ok(share.ok().map(|share| (share, Cow::Borrowed(source))))
        })
    }

    /// Fills the file at `path` from a temporary file. It waits, within a limit, for the memory for both at
    /// once. If one of the two is too long for memory, the fill is done in windows.
    pub(super) fn fill_from_tmp(
        &self,
        path: &Path,
        tmp: &File,
        rules: &HealRules,
        budget: &LockBudget,
    ) -> Result<Existing, Failure> {
        if self.is_large(tmp, path)? {
            return self.fill_large_from(path, tmp, rules, budget);
        }
        let filled = self.fill_with(path, rules, budget, |bytes| {
            let bytes = bytes.saturating_add(self.len_bytes(tmp, path)?);
            let share = self.options.memory.receiving.share_blocking(bytes);
            let no_memory = |source| StoreError::NoMemory { path: path.into(), source };
            Ok(Some((share.map_err(no_memory)?, Cow::Owned(self.content(tmp, path)?))))
        })?;
        match filled {
            Some(filled) => Ok(filled),
            // There is always a source.
            None => self.fill_large_from(path, tmp, rules, budget),
        }
    }

    /// Fills the file at `path`. `ready` gets the number of bytes that are needed, and returns the source.
    /// `None` if it returns `None`, or if the file is too long for memory.
    fn fill_with<'s>(
        &self,
        path: &Path,
        rules: &HealRules,
        budget: &LockBudget,
        ready: impl Fn(u64) -> Result<Option<(Share, Cow<'s, [u8]>)>, StoreError>,
    ) -> Result<Option<Existing>, Failure> {
        let (mut points_before, mut is_just_made) = (0, false);
        for _ in 0..TRIES {
            let file = match self.tree.open_file(path, OFlags::RDWR) {
                Ok(file) => file,
                Err(StoreError::Missing { .. }) => return Ok(Some(Existing::NotThere)),
                Err(error) => return Err(error.into()),
            };
            // Before the lock, because others that wait for the lock must not wait for memory too.
            let bytes = match self.len_bytes(&file, path) {
                Err(StoreError::TooLarge { .. }) => return Ok(None),
                bytes => bytes?.saturating_mul(FILL_TIMES),
            };
            let Some((share, source)) = ready(bytes)? else { return Ok(None) };
            self.lock_exclusive(&file, path, budget)?;
            if !self.tree.still_names(path, &file)? {
                continue;
            }
            match self.fill_open(&file, path, &source, rules)? {
                Attempt::Done(existing) => return Ok(Some(existing.after(points_before))),
                Attempt::Disturbed { points } => points_before += points,
                Attempt::JustMade => {
                    is_just_made = true;
                    // The lock must go first, because the first point may wait for it. The memory is for
                    // other requests.
                    drop((file, share, source));
                    std::thread::sleep(PAUSE);
                }
            }
        }
        if is_just_made {
            let reason =
                format!("{} was created a moment ago and has no points yet", path.display());
            return Err(Failure::failed(Problem::Busy, reason));
        }
        Err(StoreError::Unsteady { path: path.into() }.into())
    }

    fn fill_open(
        &self,
        file: &File,
        path: &Path,
        source: &[u8],
        rules: &HealRules,
    ) -> Result<Attempt, Failure> {
        let mut content = self.content(file, path)?;
        if content == source {
            return Ok(Attempt::Done(Existing::Unchanged(Holding::default())));
        }
        if is_compressed(source) || is_compressed(&content) {
            return Err(compressed(file, path, &content));
        }
        let source = Image::parse(source)
            .map_err(|error| Failure::refused(Problem::SourceDamaged, error.to_string()))?;
        let destination =
            Image::parse(&content).map_err(|error| damaged_destination(file, path, &error))?;
        if destination.archives().all(|archive| archive.base() == 0)
            && is_young(file, FIRST_POINT_IS_NEAR)
        {
            return Ok(Attempt::JustMade);
        }
        let options = rules.fill_options(self.options.aggregation_six);
        let plan = bucky_whisper::fill(&source, &destination, options);
        if rules.reshapes() && leaves_without_place(&source, &content, &plan, options.clocks) {
            return Ok(Attempt::Done(Existing::NeedsReshape));
        }
        let written = if rules.preview {
            Written::Whole
        } else {
            write_in_place(&plan, &destination, file)
                .map_err(|error| StoreError::io("fill", path, error))?
        };
        let points = plan.points_filled();
        if written == Written::Disturbed {
            return Ok(Attempt::Disturbed { points });
        }
        if self.tree.is_elsewhere(file).map_err(|errno| StoreError::io("stat", path, errno))? {
            // The batch's sync covers the prefix's file system. This file is on one that is mounted below it.
            file.sync_all().map_err(|error| StoreError::io("sync", path, error))?;
        }
        let is_changed = !plan.is_empty();
        plan.apply(&mut content);
        // It was valid before, and its header has not changed.
        let after =
            Image::parse(&content).map_err(|error| damaged_destination(file, path, &error))?;
        let coverage = Coverage::of(&source, &after, options.clocks);
        let holding = judge(path, (source.header(), after.header()), &coverage, points, rules)?;
        Ok(Attempt::Done(if is_changed {
            Existing::Filled(holding)
        } else {
            Existing::Unchanged(holding)
        }))
    }

    /// Drops cached pages of a file after a failed sync.
    ///
    /// The kernel reports a failed write once and then takes the page for clean. The next heal would find
    /// every point in memory, sync without an error, and report points that never reached the disk. After
    /// this, the next read comes from the disk.
    pub(super) fn forget_unwritten(&self, path: &Path) {
        if let Ok(file) = self.tree.open_file(path, OFlags::RDONLY)
            && let Err(errno) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)
        {
            tracing::warn!(file = %path.display(), error = %errno, "cannot drop from memory what the disk did not \
                 write");
        }
    }
}

/// Whether points of `source` have no place in `content` after `plan`. A file that is to be reshaped is not
/// filled first: if the source's clock is ahead, a fill gives the slot of the oldest point to the next turn of
/// the ring, and the longer ring has slots for both.
fn leaves_without_place(
    source: &Image<'_>,
    content: &[u8],
    plan: &FillPlan,
    clocks: Clocks,
) -> bool {
    let mut filled = content.to_vec();
    plan.apply(&mut filled);
    Image::parse(&filled)
        .is_ok_and(|after| Coverage::of(source, &after, clocks).without_place() > 0)
}

/// The failure for an owner's file that is not a Whisper file. Carbon writes a new file in steps, so a file
/// that was written to a moment ago may be complete soon.
pub(super) fn damaged_destination(file: &File, path: &Path, error: &ImageError) -> Failure {
    if !is_young(file, STILL_BEING_WRITTEN) {
        let reason = format!(
            "the owner's file {} is corrupt ({}); move it aside, or let `bucky rebalance --replace-corrupt` replace \
             it and keep it aside",
            path.display(),
            chain(error)
        );
        return Failure::refused(Problem::DestinationDamaged, reason);
    }
    let reason = format!(
        "the owner's file {} is incomplete: it was written to a moment ago ({})",
        path.display(),
        chain(error)
    );
    Failure::failed(Problem::Busy, reason)
}

/// Why `content`, the existing file, gets nothing from a source when one of the two is compressed. A corrupt
/// file is not replaced by a compressed one, because whether a compressed file is valid cannot be determined.
fn compressed(file: &File, path: &Path, content: &[u8]) -> Failure {
    let shown = path.display();
    let reason = match Image::parse(content) {
        Err(error @ ImageError::Header(_)) => {
            let damage = damaged_destination(file, path, &error);
            if damage.problem != Problem::DestinationDamaged {
                return damage;
            }
            format!(
                "the owner's file {shown} is corrupt ({}), and the source is compressed: Bucky cannot check a \
                 compressed file, so it does not replace the corrupt one; move the corrupt file aside, and the next \
                 run copies the source",
                chain(&error)
            )
        }
        Ok(_) | Err(ImageError::Compressed) => format!(
            "{shown} exists already, and one of the two files is in go-carbon's compressed format: Bucky cannot \
             merge their points, and no tool decompresses such a file; both stay as they are (docs/safety.md, \
             Compressed files)"
        ),
    };
    Failure::refused(Problem::Compressed, reason)
}

/// Whether a file was written to less than `limit` ago. A time in the future comes from a clock that was
/// ahead. If it is further off than `limit`, the file was not written to a moment ago either.
pub(super) fn is_young(file: &File, limit: Duration) -> bool {
    let written = file.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed());
    match written {
        Ok(Ok(age)) => age < limit,
        Ok(Err(ahead)) => ahead.duration() < limit,
        Err(_) => false,
    }
}
