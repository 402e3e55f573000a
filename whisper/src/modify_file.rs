//! Modifies a local file: [`modify()`] with the opening, locking and replacing around it.
//!
//! The new file is written beside the old one and renamed over it, so that there is a complete file under the
//! name at every moment. The old file itself, not a copy, becomes the backup. A writer that had it open, or
//! waited for its lock, then writes into the backup. So the backup is checked once no other process has it
//! open, and late points are written to the new file too.

use std::ffi::OsString;
use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};

use crate::file::{
    OpenError, OpenMode, WhisperFile, open_locked, parse_image, read_all, same_file,
};
use crate::fill::FillOptions;
use crate::image::Image;
use crate::late::{LatePoint, points_that_came};
use crate::lease::{Lease, LeaseError};
use crate::lock::unlock;
use crate::modify::{Modification, Modified, ModifyError, modify};
use crate::new_file::{NewFile, folder_of, sync_folder};
use crate::reshape::reshape;
use crate::sparse::write_sparse;
use crate::update::UpdateError;

/// How often the backup is checked for late points.
const BACKUP_CHECKS: u32 = 2;
/// The pause before each check: a writer that looked up the name before the rename has opened the file by
/// then.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause if the kernel cannot report whether another process has the file open.
const PAUSE_WITHOUT_LEASE: Duration = Duration::from_secs(1);
/// The pause between two attempts to take the lease of the new file.
const PAUSE_FOR_LEASE: Duration = Duration::from_millis(2);
/// How many backups a file may have.
const BACKUPS_MAX: u32 = 10_000;

/// Why a file was not modified. Unless the variant says otherwise, the file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ModifyFileError {
    /// It cannot be opened, locked or read, is damaged, or compressed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The requested change does not fit the file.
    #[error("cannot modify {} like this", path.display())]
    Modification {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: ModifyError,
    },
    /// The path is a symbolic link, which the new file would replace.
    #[error("{} is a symbolic link; give the file that it points to", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// The file has other names, which would keep the old file.
    #[error("{} has {names} names (hard links), and the others would keep the old file", path.display())]
    OtherNames {
        /// The file.
        path: PathBuf,
        /// How many names it has.
        names: u64,
    },
    /// The new file or the backup cannot be created.
    #[error("cannot put the new {} in place", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The new file is in place, but a crash may undo that.
    #[error("the new {} is in place, but may not be on disk yet", path.display())]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is modified, but lacks the points that writers put into the old file during the change.
    #[error(
        "{} is modified, but may lack points that were written to {} meanwhile; fill it from there",
        path.display(),
        backup.display()
    )]
    Late {
        /// The file.
        path: PathBuf,
        /// The old file, with those points.
        backup: PathBuf,
        /// Why the points were not carried over.
        source: LateError,
    },
}

/// Why points that came late were not carried over.
#[derive(Debug, thiserror::Error)]
pub enum LateError {
    /// One of the files could not be opened, locked or read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The points could not be written.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

/// The result of a modification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModifyOutcome {
    /// The file already has the requested form and was not touched.
    Unchanged,
    /// The new file is in place, durably.
    Done {
        /// The old file.
        backup: PathBuf,
        /// See [`Modified::points_left_out`].
        points_left_out: u64,
        /// How many points writers put into the old file during the change; the new file has them too.
        points_late: usize,
        /// Whether another process still has the old file open: the points that it writes are not in the new
        /// file.
        still_open: bool,
    },
}

/// How long to wait for other processes.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The limit for the file's lock.
    pub lock: Duration,
    /// The limit for writers that have the old file open.
    pub writers: Duration,
}

/// Modifies the file at `path` at the time `now`, Unix seconds. The old file is kept as `PATH.bak`; an
/// existing backup is renamed to `PATH.bak.1`, `.2` and so on.
///
/// # Errors
/// [`ModifyFileError`]. Except for [`ModifyFileError::Late`] and [`ModifyFileError::Unsynced`] the file is
/// unchanged.
pub fn modify_file(
    path: &Path,
    modification: &Modification,
    now: u32,
    patience: Patience,
) -> Result<ModifyOutcome, ModifyFileError> {
    replace_with(path, now, patience, |image| modify(image, modification, now))
}

/// Gives the file at `path` the archives that only the file at `source` has, and the points of both: see
/// [`reshape()`]. The old file is kept as by [`modify_file`].
///
/// # Errors
/// The same as for [`modify_file`], also for the source.
pub fn reshape_file(
    path: &Path,
    source: &Path,
    options: FillOptions,
    patience: Patience,
) -> Result<ModifyOutcome, ModifyFileError> {
    let file = open_locked(source, OpenMode::Read, patience.lock)?;
    let bytes = read_all(&file, source).map_err(OpenError::Access)?;
    drop(file);
    let source = parse_image(&bytes, source)?;
    replace_with(path, options.clocks.latest, patience, |image| {
        let bytes = reshape(image, &source, options)?;
        Ok(Modified { bytes, points_left_out: 0 })
    })
}

/// Replaces the file at `path` with the result of `make`.
fn replace_with(
    path: &Path,
    now: u32,
    patience: Patience,
    make: impl FnOnce(&Image<'_>) -> Result<Modified, ModifyError>,
) -> Result<ModifyOutcome, ModifyFileError> {
    if path.is_symlink() {
        return Err(ModifyFileError::Link { path: path.to_owned() });
    }
    let file = open_locked(path, OpenMode::Update, patience.lock)?;
    let bytes = read_all(&file, path).map_err(OpenError::Access)?;
    let image = parse_image(&bytes, path)?;
    let modified = make(&image)
        .map_err(|source| ModifyFileError::Modification { path: path.to_owned(), source })?;
    if modified.bytes == bytes {
        return Ok(ModifyOutcome::Unchanged);
    }
    let write_error = |source| ModifyFileError::Write { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(write_error)?;
    let backup = backup_of(path);
    if backup_is(&backup, &metadata) {
        // Left by a run that ended before it put the new file in place.
        std::fs::remove_file(&backup).map_err(write_error)?;
    }
    let names = file.metadata().map_err(write_error)?.nlink();
    if names > 1 {
        return Err(ModifyFileError::OtherNames { path: path.to_owned(), names });
    }
    let new = write_new(path, &modified, &metadata).map_err(write_error)?;
    set_aside(&backup).map_err(write_error)?;
    put_over(new, path, &backup).map_err(write_error)?;
    let unsynced = sync_folder(folder_of(path));
    // A process that waits for the old file's lock writes into the backup, which is checked next.
    let mut old = OldFile { file, backup, bytes, made: modified.bytes };
    let late = old.carry_late_points(path, now, patience);
    let backup = old.backup;
    let (points_late, still_open) = late.map_err(|source| ModifyFileError::Late {
        path: path.to_owned(),
        backup: backup.clone(),
        source,
    })?;
    unsynced.map_err(|source| ModifyFileError::Unsynced { path: path.to_owned(), source })?;
    let points_left_out = modified.points_left_out;
    Ok(ModifyOutcome::Done { backup, points_left_out, points_late, still_open })
}

/// `PATH.bak`.
fn backup_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".bak");
    PathBuf::from(name)
}

fn backup_is(backup: &Path, file: &Metadata) -> bool {
    backup.symlink_metadata().is_ok_and(|there| same_file(&there, file))
}

/// Writes the new file under a hidden name, durably, with the mode, owner and time of the old one.
fn write_new(path: &Path, modified: &Modified, old: &Metadata) -> io::Result<NewFile> {
    let new = NewFile::beside(path)?;
    if old.blocks().saturating_mul(512) < old.len() {
        write_sparse(new.file(), &modified.bytes)?;
    } else {
        new.file().write_all_at(&modified.bytes, 0)?;
    }
    let made = new.file().metadata()?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        // Carbon could not write to a file of another owner.
        std::os::unix::fs::fchown(new.file(), Some(old.uid()), Some(old.gid()))?;
    }
    new.file().set_permissions(Permissions::from_mode(old.permissions().mode() & 0o7777))?;
    new.file().set_times(FileTimes::new().set_modified(old.modified()?))?;
    new.file().sync_all()?;
    Ok(new)
}

/// Makes room for a new backup: an existing one gets the next free number.
fn set_aside(backup: &Path) -> io::Result<()> {
    if backup.symlink_metadata().is_err() {
        return Ok(());
    }
    for number in 1..=BACKUPS_MAX {
        let mut name = OsString::from(backup);
        name.push(format!(".{number}"));
        match rustix::fs::renameat_with(CWD, backup, CWD, &name, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => {}
            renamed => return Ok(renamed?),
        }
    }
    Err(io::Error::other(format!("{} has {BACKUPS_MAX} backups already", backup.display())))
}

/// Gives the old file a second name, that of the backup, and then its first name to the new file.
fn put_over(new: NewFile, path: &Path, backup: &Path) -> io::Result<()> {
    std::fs::hard_link(path, backup)?;
    sync_folder(folder_of(path))?;
    if let Err(error) = new.replace(path) {
        let _ = std::fs::remove_file(backup);
        return Err(error);
    }
    Ok(())
}

/// The file that has lost its name, and its content when the new file was written.
struct OldFile {
    file: File,
    backup: PathBuf,
    bytes: Vec<u8>,
    /// The new file as we last wrote it.
    made: Vec<u8>,
}

impl OldFile {
    /// Carries over the points that are written to the old file until no other process has it open. Returns
    /// how many points that were, and whether another process still has the file open.
    fn carry_late_points(
        &mut self,
        path: &Path,
        now: u32,
        patience: Patience,
    ) -> Result<(usize, bool), LateError> {
        unlock(&self.file).map_err(|source| OpenError::Lock { path: path.to_owned(), source })?;
        let mut points_late = 0;
        for _ in 0..BACKUP_CHECKS {
            thread::sleep(PAUSE);
            let lease = Lease::take(&self.file, patience.writers);
            if matches!(lease, Err(LeaseError::NotGiven(_))) {
                thread::sleep(PAUSE_WITHOUT_LEASE);
            }
            let after = read_all(&self.file, &self.backup).map_err(OpenError::Access)?;
            let still_open = matches!(lease, Err(LeaseError::InUse { .. }));
            drop(lease);
            points_late += self.carry(path, &after, now, patience)?;
            self.bytes = after;
            if still_open {
                return Ok((points_late, true));
            }
        }
        Ok((points_late, false))
    }

    /// Writes the points that were added to the old file into the new one, except for slots that a writer has
    /// changed in the new file: those values are newer.
    fn carry(
        &mut self,
        path: &Path,
        after: &[u8],
        now: u32,
        patience: Patience,
    ) -> Result<usize, LateError> {
        let (before, after) =
            (parse_image(&self.bytes, &self.backup)?, parse_image(after, &self.backup)?);
        let mut points = points_that_came(&before, &after, now);
        if points.is_empty() {
            return Ok(0);
        }
        let mut new = WhisperFile::open(path, OpenMode::Update, patience.lock)?;
        let mut opened = new.descriptor().map_err(OpenError::Access)?;
        let start = Instant::now();
        // A lock does not keep out writers that take none. None may write between our check of a slot and our
        // write.
        let lease = loop {
            match Lease::take(&opened, Duration::ZERO) {
                Err(LeaseError::InUse { .. }) if start.elapsed() < patience.writers => {}
                taken => break taken,
            }
            // A process that waits for our lock has the file open: let it go first.
            drop((opened, new));
            thread::sleep(PAUSE_FOR_LEASE);
            new = WhisperFile::open(path, OpenMode::Update, patience.lock)?;
            opened = new.descriptor().map_err(OpenError::Access)?;
        };
        let current = new.read().map_err(OpenError::Access)?;
        let (made, current) = (parse_image(&self.made, path)?, parse_image(&current, path)?);
        points.retain(|late| slot_bits(&made, late, now) == slot_bits(&current, late, now));
        new.update_late(&points, now)?;
        drop(lease);
        new.sync().map_err(UpdateError::Access)?;
        self.made = new.read().map_err(OpenError::Access)?;
        Ok(points.len())
    }
}

/// The value in the slot that a late point would be written to.
fn slot_bits(image: &Image<'_>, late: &LatePoint, now: u32) -> Option<u64> {
    let archive = late.archive(image.header(), now)?;
    let view = image.archives().find(|view| view.archive() == archive)?;
    let timestamp = late.point.timestamp;
    view.valid(timestamp - timestamp % archive.seconds_per_point, now).map(f64::to_bits)
}
