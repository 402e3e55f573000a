//! A file that appears whole or not at all, and never in place of another.
//!
//! It is written under a hidden name beside its place, its content made durable, and put in place by a rename that
//! replaces nothing, so that no reader meets a half-written file and no file that a writer has just created is lost.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// What an open call would ask for; the process's umask takes from it.
const MODE: u32 = 0o666;
/// Begins with a dot and does not end in `.wsp`: nobody takes it for a metric.
const PREFIX: &str = ".bucky-";
const SUFFIX: &str = ".tmp";

/// A file on its way to its place. Dropped before [`NewFile::place`], it is removed.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: NamedTempFile,
}

/// How putting a file in place ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is there. Through a crash it stays once its folder is synced; if not, it is gone whole.
    New,
    /// There is another file, which was left alone.
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

    /// Makes the content durable and puts it at `path`, the place that it was made beside.
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

    /// Makes the content durable and puts it at `path`, the place that it was made beside, over what is there.
    pub(crate) fn replace(self, path: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// The folder that `path` lies in; that of a bare file name is the current one.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes durable which files a folder has.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
