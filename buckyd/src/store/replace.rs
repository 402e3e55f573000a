//! Replacing a metric's file by a complete new one, and setting a file's time: for the Go tool's PUT and
//! `-mtime`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bucky_api::archive::FileMeta;
use bucky_whisper::MetricName;
use rustix::fs::{OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::error::StoreError;
use super::staging::NewFile;
use super::tree::Tree;
use super::{Store, TRIES};

/// The permissions of a new file if the process's umask is unknown.
const USUAL_MODE: u32 = 0o644;

impl Store {
    /// Replaces the file of `metric` by one with this content, durably, or creates it.
    ///
    /// The old file stays until the new one is complete and durable. The rename is done under the old file's
    /// exclusive lock, so that it is not in the middle of a fill.
    ///
    /// # Errors
    /// [`StoreError`]. The old file is unchanged, unless only the sync of the folders failed at the end.
    pub(crate) fn replace(
        &self,
        metric: &MetricName,
        content: &[u8],
        meta: FileMeta,
    ) -> Result<(), StoreError> {
        self.check()?;
        let tmp_name = self.write_tmp(NewFile { content, meta, is_sparse: false })?;
        let put = self.put_new_over(metric, &tmp_name);
        if put.is_err() {
            // If only the sync of the folders failed, this name is free already.
            self.remove_tmp(&tmp_name);
        }
        put
    }

    /// Puts a complete new file in the place of the file of `metric`.
    pub(super) fn put_new_over(
        &self,
        metric: &MetricName,
        tmp_name: &Path,
    ) -> Result<(), StoreError> {
        let path = metric.relative_path();
        self.put_over(&path, tmp_name)?;
        self.inventory.added(metric);
        let synced = self.tree.sync_folders_of(&path);
        if let Err(StoreError::Deleted { .. }) = &synced {
            self.unlist(metric);
        }
        synced
    }

    fn put_over(&self, path: &Path, tmp_name: &Path) -> Result<(), StoreError> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StoreError::BadPath { path: path.into() });
        };
        let name = Path::new(name);
        let failed = |errno| match errno {
            Errno::XDEV => StoreError::Elsewhere { path: path.into() },
            errno => StoreError::io("put the new file in place at", path, errno),
        };
        self.open_tmp(tmp_name)?
            .sync_all()
            .map_err(|error| StoreError::io("sync the new file", path, error))?;
        for _ in 0..TRIES {
            match self.tree.open_file(path, OFlags::RDONLY) {
                Ok(old) => {
                    self.lock_exclusive(&old, path, &self.lock_budget())?;
                    if !self.tree.still_names(path, &old)? {
                        continue;
                    }
                    let folder = match self.tree.folder(folder) {
                        Err(Errno::NOENT) => continue,
                        folder => folder.map_err(|errno| StoreError::open(path, errno))?,
                    };
                    match rustix::fs::renameat(self.state.tmp(), tmp_name, &folder, name) {
                        // The old file was deleted, and its empty folder with it.
                        Err(Errno::NOENT) => {}
                        renamed => return renamed.map_err(failed),
                    }
                }
                Err(StoreError::Missing { .. }) => {
                    let (folder, _) = self.tree.make_folder(folder)?;
                    match Tree::put_in_place(self.state.tmp(), tmp_name, &folder, name) {
                        Ok(true) => return Ok(()),
                        // Another file has the name by now, or the empty folder was removed.
                        Ok(false) | Err(Errno::NOENT) => {}
                        Err(errno) => return Err(failed(errno)),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unsteady { path: path.into() })
    }

    /// Sets the times of the last write and read of the file of `metric`, in Unix seconds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn set_time(&self, metric: &MetricName, mtime: i64) -> Result<(), StoreError> {
        self.check()?;
        let path = metric.relative_path();
        let file = self.tree.open_file(&path, OFlags::RDONLY)?;
        let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })
            .map_err(|errno| StoreError::io("set the time of", &path, errno))
    }

    /// Mode and time of a new file for which no source gives them.
    pub(crate) fn meta_of_new(&self) -> FileMeta {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        FileMeta { mode: self.new_mode, mtime: now.as_secs() }
    }
}

/// The permissions that the process's umask leaves to a new file.
pub(super) fn mode_of_new() -> u32 {
    // umask(2) can only be read by setting it, for all threads, for a moment.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    umask
        .and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok())
        .map_or(USUAL_MODE, |umask| 0o666 & !umask)
}
