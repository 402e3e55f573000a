//! The lengths of many files.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use bucky_whisper::MetricName;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::{StoreError, Volumes};

/// Reads the lengths of files one after the other. The folder of the last one stays open: for sorted names
/// most look-ups are one call, and not a walk from the prefix.
pub(crate) struct Sizes<'a> {
    volumes: &'a Volumes,
    /// The last folder, and the beginning of its metrics' names: empty, or ending in a dot.
    folder: Option<(String, OwnedFd)>,
    /// A buffer for the file's name.
    file: String,
}

impl Volumes {
    /// A reader of many lengths.
    pub(crate) fn sizes(&self) -> Sizes<'_> {
        Sizes { volumes: self, folder: None, file: String::new() }
    }

    /// The folder of the metrics that begin with `folder_name`, which is empty or ends in a dot.
    fn folder_of(&self, folder_name: &str) -> Result<OwnedFd, Errno> {
        let path = folder_name.trim_end_matches('.').replace('.', "/");
        self.of_path(Path::new(&path)).tree.folder(Path::new(&path))
    }
}

impl Sizes<'_> {
    /// The length of the file of the metric `name`, in bytes.
    ///
    /// # Errors
    /// [`StoreError`], as [`super::Store::stat`].
    pub(crate) fn of(&mut self, name: &str) -> Result<u64, StoreError> {
        match self.in_folder(name) {
            Ok(Some(bytes)) => Ok(bytes),
            // The error, or a folder that was replaced, is found by a look-up from the prefix.
            Ok(None) | Err(_) => {
                self.folder = None;
                let metric = MetricName::parse(name)
                    .map_err(|error| StoreError::io("stat", name, io::Error::other(error)))?;
                Ok(self.volumes.stat(&metric)?.bytes)
            }
        }
    }

    /// The length of the file in the last folder, if it is a regular file.
    fn in_folder(&mut self, name: &str) -> Result<Option<u64>, Errno> {
        let (folder_name, stem) = name.split_at(name.rfind('.').map_or(0, |dot| dot + 1));
        self.folder.take_if(|(last, _)| last != folder_name);
        let (_, folder) = match &mut self.folder {
            Some(last) => last,
            none => none.insert((folder_name.to_owned(), self.volumes.folder_of(folder_name)?)),
        };
        self.file.clear();
        self.file.extend([stem, ".wsp"]);
        let stat = rustix::fs::statat(folder, self.file.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(is_file.then(|| u64::try_from(stat.st_size).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::inventory::Inventory;
    use crate::store::tests::options;

    #[test]
    fn sizes_are_those_of_the_present_files() {
        let prefix = tempfile::tempdir().unwrap();
        let put = |file: &str, bytes: usize| {
            let path = prefix.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![7; bytes]).unwrap();
        };
        for (file, bytes) in [("a.wsp", 1), ("a/b.wsp", 2), ("a/b/c.wsp", 3), ("a/b/d.wsp", 4)] {
            put(file, bytes);
        }
        std::os::unix::fs::symlink("b.wsp", prefix.path().join("a/link.wsp")).unwrap();
        fs::create_dir(prefix.path().join("a/folder.wsp")).unwrap();
        std::os::unix::fs::symlink("a", prefix.path().join("linked")).unwrap();
        let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
        let store = Volumes::open(prefix.path(), None, Vec::new(), inventory, options()).unwrap();
        let mut sizes = store.sizes();
        for (name, bytes) in [("a", 1), ("a.b", 2), ("a.b.c", 3), ("a.b.d", 4), ("a.b", 2)] {
            assert_eq!(sizes.of(name).unwrap(), bytes, "{name}");
        }
        let missing = |error| matches!(error, StoreError::Missing { .. });
        assert!(missing(sizes.of("a.x").unwrap_err()));
        assert!(missing(sizes.of("x.y.z").unwrap_err()));
        for name in ["a.link", "a.folder", "linked.b"] {
            assert!(sizes.of(name).is_err(), "{name}");
        }
        // Another folder with the same name, while the old one is open.
        assert_eq!(sizes.of("a.b.c").unwrap(), 3);
        fs::remove_dir_all(prefix.path().join("a/b")).unwrap();
        assert!(missing(sizes.of("a.b.d").unwrap_err()));
        put("a/b/d.wsp", 5);
        assert_eq!(sizes.of("a.b.d").unwrap(), 5);
    }
}
