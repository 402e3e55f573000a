//! Small files in the state folder that the daemon reads at start and replaces as a whole: by a rename, and
//! durably.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::StoreError;
use super::state_dir::StateDir;

/// The longest file that is read: ten thousand members of a ring with the longest names.
const LIMIT_BYTES: u64 = 4 * 1024 * 1024;

impl StateDir {
    /// The content of the file `name`. `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub(super) fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let failed = |source: io::Error| StoreError::io("read", self.path().join(name), source);
        // A FIFO would block the daemon at its start.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(self.folder(), name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        let mut text = Vec::new();
        file.take(LIMIT_BYTES).read_to_end(&mut text).map_err(failed)?;
        Ok(Some(text))
    }

    /// Creates the file `name`, or replaces it.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written. The old file is still there then.
    pub(super) fn replace_file(&self, name: &str, text: &[u8]) -> Result<(), StoreError> {
        let failed = |source: io::Error| StoreError::io("write", self.path().join(name), source);
        let (folder, new_name) = (self.folder(), format!("{name}.new"));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let new = rustix::fs::openat(folder, &new_name, flags, Mode::from_raw_mode(0o644));
        let mut new = File::from(new.map_err(|errno| failed(errno.into()))?);
        new.write_all(text).map_err(failed)?;
        new.sync_all().map_err(failed)?;
        rustix::fs::renameat(folder, &new_name, folder, name)
            .and_then(|()| rustix::fs::fsync(folder.as_fd()))
            .map_err(|errno| failed(errno.into()))
    }
}
