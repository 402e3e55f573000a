//! Fills one local file from another: [`crate::fill()`] with the opening, locking and writing around it.
//!
//! The source is read completely under its shared lock. The destination is locked only after that lock is
//! released, so two fills in opposite directions never wait for each other. The destination is changed in
//! place: a writer that has it open keeps writing to the file that readers read.

use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::file::{OpenError, OpenMode, open_locked, parse_image, read_all, same_file};
use crate::fill::{Coverage, FillOptions, FillPlan, fill};
use crate::header::{Header, is_compressed};
use crate::image::Image;
use crate::in_place::{Written, write_in_place};
use crate::lock::unlock;
use crate::new_file::{NewFile, Placed, folder_of, sync_folder};
use crate::salvage::salvage;
use crate::slots::AccessError;
use crate::sparse::write_sparse;

/// How often the destination may appear or disappear while we work on it.
const ATTEMPTS_MAX: u32 = 5;

/// What a fill did.
#[derive(Debug)]
pub enum FillOutcome {
    /// The destination did not exist; it is now a copy of the source.
    Created {
        /// The size of the file.
        len_bytes: u64,
    },
    /// The destination gained points, durably.
    Filled(FilledFile),
    /// The destination already had all points that the source could give; nothing was written.
    Unchanged(FilledFile),
}

impl FillOutcome {
    /// How much of the source the destination holds, or `None` if it is a new copy.
    pub fn filled(&self) -> Option<&FilledFile> {
        match self {
            Self::Created { .. } => None,
            Self::Filled(filled) | Self::Unchanged(filled) => Some(filled),
        }
    }
}

/// A destination that existed before the fill.
#[derive(Debug)]
pub struct FilledFile {
    /// What was written.
    pub plan: FillPlan,
    /// How much of the source it holds now.
    pub coverage: Coverage,
    /// The source's header.
    pub source: Header,
    /// The destination's header.
    pub destination: Header,
}

/// Why a file was not filled. Unless the variant says otherwise, the destination is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum FillFileError {
    /// The source cannot be opened, locked or read, or is damaged; or it is compressed and its points are
    /// needed.
    #[error("cannot use the source of the fill")]
    Source(#[source] OpenError),
    /// The destination cannot be opened, locked or read, or is damaged or compressed.
    #[error("cannot use the destination of the fill")]
    Destination(#[source] OpenError),
    /// Both paths refer to the same file.
    #[error("{} and {} are the same file; there is nothing to fill", from.display(), path.display())]
    SameFile {
        /// The source.
        from: PathBuf,
        /// The destination.
        path: PathBuf,
    },
    /// The destination did not exist, and the copy could not be made.
    #[error("cannot create {}", path.display())]
    Create {
        /// The destination.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Writing failed. Some of the points may have been written: fill it again.
    #[error("{} was filled only partly; fix the problem and fill it again", path.display())]
    Write {
        /// The destination.
        path: PathBuf,
        /// The operation that failed.
        source: AccessError,
    },
    /// The destination appeared and disappeared repeatedly, is a link without a target, or repeatedly got its
    /// first points from another process.
    #[error("{} keeps changing; find out what writes to it, and try again", path.display())]
    Unsteady {
        /// The destination.
        path: PathBuf,
    },
}

/// Fills the file at `destination` from that at `source`, by the rules of [`fill()`]. Waits for each lock at
/// most `lock_limit`.
///
/// If the destination does not exist, it becomes a durable copy of the source, with its mode and modification
/// time. Missing folders are created. If root creates files or folders here, they get the owner of the folder
/// that contains them. A file in go-carbon's compressed format is accepted only in this case.
///
/// # Errors
/// [`FillFileError`], which names the affected file.
pub fn fill_file(
    source: &Path,
    destination: &Path,
    options: FillOptions,
    lock_limit: Duration,
) -> Result<FillOutcome, FillFileError> {
    let source = Source::read(source, OnCut::Refuse, lock_limit).map_err(FillFileError::Source)?;
    fill_from(&source, destination, options, lock_limit)
}

/// Like [`fill_file`], but also accepts a source that was cut off and uses the rest of it. See [`salvage()`].
///
/// # Errors
/// The same as for [`fill_file`].
pub fn salvage_file(
    source: &Path,
    destination: &Path,
    options: FillOptions,
    lock_limit: Duration,
) -> Result<FillOutcome, FillFileError> {
    let source = Source::read(source, OnCut::Salvage, lock_limit).map_err(FillFileError::Source)?;
    fill_from(&source, destination, options, lock_limit)
}

fn fill_from(
    source: &Source,
    destination: &Path,
    options: FillOptions,
    lock_limit: Duration,
) -> Result<FillOutcome, FillFileError> {
    for _ in 0..ATTEMPTS_MAX {
        match open_locked(destination, OpenMode::Update, lock_limit) {
            Ok(file) => match fill_existing(source, &file, destination, options)? {
                Some(outcome) => return Ok(outcome),
                None => continue,
            },
            Err(error) if !error.is_not_found() => return Err(FillFileError::Destination(error)),
            Err(_) => {}
        }
        let create_error =
            |error| FillFileError::Create { path: destination.to_owned(), source: error };
        match copy_new(source, destination).map_err(create_error)? {
            Placed::New => {
                return Ok(FillOutcome::Created { len_bytes: source.bytes.len() as u64 });
            }
            Placed::AlreadyThere => {}
        }
    }
    Err(FillFileError::Unsteady { path: destination.to_owned() })
}

/// How to handle a source that was cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnCut {
    Refuse,
    Salvage,
}

/// The source, read and no longer locked.
struct Source {
    path: PathBuf,
    /// Kept open so that no other file can get its inode number.
    _file: File,
    metadata: Metadata,
    bytes: Vec<u8>,
}

impl Source {
    fn read(path: &Path, on_cut: OnCut, lock_limit: Duration) -> Result<Self, OpenError> {
        let access = |source| AccessError::Read { path: path.to_owned(), source };
        let file = open_locked(path, OpenMode::Read, lock_limit)?;
        let mut bytes = read_all(&file, path)?;
        let metadata = file.metadata().map_err(access)?;
        unlock(&file).map_err(|source| OpenError::Lock { path: path.to_owned(), source })?;
        if on_cut == OnCut::Salvage
            && let Some(salvaged) = salvage(&bytes)
        {
            bytes = salvaged.bytes;
        }
        if !is_compressed(&bytes) {
            // A damaged file must neither fill another file nor be copied.
            parse_image(&bytes, path)?;
        }
        Ok(Self { path: path.to_owned(), _file: file, metadata, bytes })
    }
}

/// Fills an open file. `None` if another process wrote to it during the fill, so that it must be filled
/// again.
fn fill_existing(
    source: &Source,
    file: &File,
    path: &Path,
    options: FillOptions,
) -> Result<Option<FillOutcome>, FillFileError> {
    let access = |error| FillFileError::Destination(OpenError::Access(error));
    let metadata = file
        .metadata()
        .map_err(|error| access(AccessError::Read { path: path.to_owned(), source: error }))?;
    if same_file(&source.metadata, &metadata) {
        return Err(FillFileError::SameFile { from: source.path.clone(), path: path.to_owned() });
    }
    let from = parse_image(&source.bytes, &source.path).map_err(FillFileError::Source)?;
    let mut bytes = read_all(file, path).map_err(access)?;
    let into = parse_image(&bytes, path).map_err(FillFileError::Destination)?;
    let plan = fill(&from, &into, options);
    let (source_header, destination) = (from.header().clone(), into.header().clone());
    let filled_file = |plan: FillPlan, image: &Image<'_>| {
        let coverage = Coverage::of(&from, image, options.clocks);
        FilledFile { plan, coverage, source: source_header, destination }
    };
    if plan.is_empty() {
        return Ok(Some(FillOutcome::Unchanged(filled_file(plan, &into))));
    }
    let failed = |source| FillFileError::Write {
        path: path.to_owned(),
        source: AccessError::Write { path: path.to_owned(), source },
    };
    match write_in_place(&plan, &into, file).map_err(failed)? {
        Written::Whole => {}
        Written::Disturbed => return Ok(None),
    }
    file.sync_data().map_err(failed)?;
    plan.apply(&mut bytes);
    let after = parse_image(&bytes, path).map_err(FillFileError::Destination)?;
    Ok(Some(FillOutcome::Filled(filled_file(plan, &after))))
}

/// Copies the source to `path`, where no file exists.
fn copy_new(source: &Source, path: &Path) -> io::Result<Placed> {
    create_folders(folder_of(path))?;
    let new = NewFile::beside(path)?;
    if is_sparse(&source.metadata) {
        write_sparse(new.file(), &source.bytes)?;
    } else {
        new.file().write_all_at(&source.bytes, 0)?;
    }
    give_to_owner_of(folder_of(path), &new.file().metadata()?, |uid, gid| {
        std::os::unix::fs::fchown(new.file(), uid, gid)
    })?;
    let mode = source.metadata.permissions().mode() & 0o7777;
    new.file().set_permissions(Permissions::from_mode(mode))?;
    new.file().set_times(FileTimes::new().set_modified(source.metadata.modified()?))?;
    let placed = new.place(path)?;
    sync_folder(folder_of(path))?;
    Ok(placed)
}

fn is_sparse(metadata: &Metadata) -> bool {
    metadata.blocks().saturating_mul(512) < metadata.len()
}

/// Creates a folder and its missing parents, so that they survive a crash.
fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    create_folders(folder_of(folder))?;
    match std::fs::create_dir(folder) {
        Ok(()) => {
            give_to_owner_of(folder_of(folder), &folder.metadata()?, |uid, gid| {
                std::os::unix::fs::lchown(folder, uid, gid)
            })?;
            sync_folder(folder_of(folder))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives a file or folder that root has created to the owner of the folder that contains it, as the daemon
/// does. Carbon could not write to a file that root owns, and would drop its points.
fn give_to_owner_of(
    folder: &Path,
    made: &Metadata,
    give: impl FnOnce(Option<u32>, Option<u32>) -> io::Result<()>,
) -> io::Result<()> {
    let owner = std::fs::metadata(folder)?;
    if made.uid() == 0 && (owner.uid(), owner.gid()) != (made.uid(), made.gid()) {
        give(Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}
