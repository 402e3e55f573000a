//! Modifying a local file: [`modify()`] with the opening, locking and replacing around it.
//!
//! The new file is made beside the old one and renamed over it, so that at every moment there is one whole file under the
//! name. The old file itself, not a copy, becomes the backup. A writer that had it open, or waited for its lock, writes into
//! the backup then; so the backup is looked at once nobody else has it open, and what came late goes into the new file too.

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

/// How often the backup is looked at for points that came late.
const LOOKS: u32 = 2;
/// The pause before each look: a writer that found the name before it was given away has opened the file by then.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause where the kernel cannot tell whether somebody has the file open.
const PAUSE_WITHOUT_LEASE: Duration = Duration::from_secs(1);
/// The pause between two attempts to have the new file to ourselves.
const PAUSE_FOR_LEASE: Duration = Duration::from_millis(2);
/// How many backups a file may have.
const BACKUPS_MAX: u32 = 10_000;

/// Why a file was not modified. Unless it says otherwise, it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ModifyFileError {
    /// It cannot be opened, locked or read, is damaged, or compressed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What was asked for does not fit the file.
    #[error("cannot modify {} like this", path.display())]
    Modification {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ModifyError,
    },
    /// The path is a symbolic link, which the new file would take the place of.
    #[error("{} is a symbolic link; give the file that it points to", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// The file has other names, under which it would stay as it is.
    #[error("{} has {names} names (hard links), and the others would keep the old file", path.display())]
    OtherNames {
        /// The file.
        path: PathBuf,
        /// How many names it has.
        names: u64,
    },
    /// The new file, or the backup, cannot be made.
    #[error("cannot put the new {} in place", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The new file is in place, but a crash may take it back.
    #[error("the new {} is in place, but may not be on disk yet", path.display())]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is modified, but what writers put into the old one meanwhile is not in it.
    #[error(
        "{} is modified, but may lack points that were written to {} meanwhile; fill it from there",
        path.display(),
        backup.display()
    )]
    Late {
        /// The file.
        path: PathBuf,
        /// The file as it was, with those points.
        backup: PathBuf,
        /// Why they are not in it.
        source: LateError,
    },
}

/// Why points that came late were not carried over.
#[derive(Debug, thiserror::Error)]
pub enum LateError {
    /// One of the files could not be opened, locked or read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// They could not be written.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModifyOutcome {
    /// The file is already as it should be. It was not touched.
    Unchanged,
    /// The new file is in place, durably.
    Done {
        /// The file as it was.
        backup: PathBuf,
        /// See [`Modified::points_left_out`].
        points_left_out: u64,
        /// How many points writers put into the old file meanwhile; they are in the new one as well.
        points_late: usize,
        /// Whether somebody still has the old file open: what he writes there is not in the new one.
        still_open: bool,
    },
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the file's lock.
    pub lock: Duration,
    /// For writers that have the old file open.
    pub writers: Duration,
}

/// Modifies the file at `path` at the time `now`, Unix seconds. The file as it was is kept as `PATH.bak`; where there is
/// such a backup already, that becomes `PATH.bak.1`, `.2` and so on.
///
/// # Errors
/// [`ModifyFileError`]; but for [`ModifyFileError::Late`] and [`ModifyFileError::Unsynced`] the file is as it was.
pub fn modify_file(
    path: &Path,
    modification: &Modification,
    now: u32,
    patience: Patience,
) -> Result<ModifyOutcome, ModifyFileError> {
    re_make(path, now, patience, |image| modify(image, modification, now))
}

/// Gives the file at `path` the archives that it lacks and the file at `source` has, and the points of both: see [`reshape()`].
/// The file as it was is kept as with [`modify_file`].
///
/// # Errors
/// As [`modify_file`]; the source may be what cannot be opened.
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
    re_make(path, options.clocks.latest, patience, |image| {
        let bytes = reshape(image, &source, options)?;
        Ok(Modified { bytes, points_left_out: 0 })
    })
}

/// Puts what `make` makes of the file at `path` in its place.
fn re_make(
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
        // What a run left that ended before it put the new file in place.
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
    // Whoever waits for the old file's lock writes into the backup; that is looked at next.
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

/// The new file with the mode, owner and time of the old one, durable, under a hidden name.
fn write_new(path: &Path, modified: &Modified, old: &Metadata) -> io::Result<NewFile> {
    let new = NewFile::beside(path)?;
    if old.blocks().saturating_mul(512) < old.len() {
        write_sparse(new.file(), &modified.bytes)?;
    } else {
        new.file().write_all_at(&modified.bytes, 0)?;
    }
    let made = new.file().metadata()?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        // Another owner's file would be one that carbon cannot write.
        std::os::unix::fs::fchown(new.file(), Some(old.uid()), Some(old.gid()))?;
    }
    new.file().set_permissions(Permissions::from_mode(old.permissions().mode() & 0o7777))?;
    new.file().set_times(FileTimes::new().set_modified(old.modified()?))?;
    new.file().sync_all()?;
    Ok(new)
}

/// Makes room for a new backup: one that is there gets the next free number.
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

/// Gives the file its second name, the backup's, and then its first one to the new file.
fn put_over(new: NewFile, path: &Path, backup: &Path) -> io::Result<()> {
    std::fs::hard_link(path, backup)?;
    sync_folder(folder_of(path))?;
    if let Err(error) = new.replace(path) {
        let _ = std::fs::remove_file(backup);
        return Err(error);
    }
    Ok(())
}

/// The file that has lost its name, and what was in it when the new one was made.
struct OldFile {
    file: File,
    backup: PathBuf,
    bytes: Vec<u8>,
    /// The new file as we have last written it.
    made: Vec<u8>,
}

impl OldFile {
    /// Carries over what comes into the old file until nobody has it open any more: how many points that were, and
    /// whether somebody has it open still.
    fn carry_late_points(
        &mut self,
        path: &Path,
        now: u32,
        patience: Patience,
    ) -> Result<(usize, bool), LateError> {
        unlock(&self.file).map_err(|source| OpenError::Lock { path: path.to_owned(), source })?;
        let mut points_late = 0;
        for _ in 0..LOOKS {
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

    /// Writes what has come into the old file into the new one, but for slots that a writer has changed there since: he
    /// came later.
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
        // The lock does not keep out who takes none; between our look at a slot and our write he must not come.
        let lease = loop {
            match Lease::take(&opened, Duration::ZERO) {
                Err(LeaseError::InUse { .. }) if start.elapsed() < patience.writers => {}
                taken => break taken,
            }
            // Whoever waits for our lock has the file open: he goes first.
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

/// What stands in the slot that a late point would be written to.
fn slot_bits(image: &Image<'_>, late: &LatePoint, now: u32) -> Option<u64> {
    let archive = late.archive(image.header(), now)?;
    let view = image.archives().find(|view| view.archive() == archive)?;
    let timestamp = late.point.timestamp;
    view.valid(timestamp - timestamp % archive.seconds_per_point, now).map(f64::to_bits)
}
