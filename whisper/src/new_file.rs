//! A new file that appears complete or not at all, and never replaces another file.
//!
//! It is written under a hidden name beside its final path, and its content is synced. A rename that replaces
//! nothing then puts it in place. So no reader sees a half-written file, and a file that a writer has just
//! created is not lost.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// The mode that an open call would request; the process's umask applies.
const MODE: u32 = 0o666;
/// The name begins with a dot and does not end in `.wsp`, so that no program takes it for a metric.
const PREFIX: &str = ".bucky-";
const SUFFIX: &str = ".tmp";

/// A file that is not in place yet. It is removed if it is dropped before [`NewFile::place`].
#[derive(Debug)]
pub(crate) struct NewFile {
    file: NamedTempFile,
}

/// The result of putting a file in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// The file is in place. It survives a crash once its folder is synced; before that, it may disappear
    /// completely.
    New,
    /// Another file exists at the path, and was left alone.
    AlreadyThere,
}

impl NewFile {
    /// An empty file beside `path`, on the same file system.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(folder_of(path))?;
        Ok(Self { file })
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Syncs the content and moves the file to `path`, the path that it was created beside.
    pub(crate) fn place(self, path: &Path) -> io::Result<Placed> {
        self.file.as_file().sync_all()?;
        match self.file.persist_noclobber(path) {
            Ok(_) => Ok(Placed::New),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(Placed::AlreadyThere)
            }
            Err(error) => Err(error.error),
        }
    }

    /// Syncs the content and moves the file to `path`, the path that it was created beside, replacing the
    /// file there.
    pub(crate) fn replace(self, path: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// The folder that contains `path`; for a bare file name the current folder.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs the folder, so that the names of its files are durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
