//! Walks the tree for the names of metrics, in the byte order of the names, without a stat.
//!
//! The entries of a folder are sorted by the names they give: a folder counts as its name with a dot after
//! it. So names come out sorted and go straight into the set. Memory holds the entries of one folder for each
//! level.

mod folder;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bucky_api::{NotServed, NotServedKind};
use bucky_placement::{KnownSeries, SeriesHash};
use bucky_whisper::{MetricName, Series};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use self::folder::{EXTENSION, Folder, FolderEntry, Link};
use super::list::{List, ListBuilder};
use crate::store::{Store, StoreError, Tree, Volumes};

const TAGGED_PREFIX: &str = "_tagged.";
/// A folder that `mkfs` creates at the root of a file system.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// What a walk has found.
pub(super) struct Scan {
    /// The metrics.
    pub(super) list: List,
    /// Counts of everything else. Tagged files named by the hash of an unknown series are in the list, and
    /// here.
    pub(super) not_served: NotServed,
    /// How many metrics are tagged files named by the hash of a known series.
    pub(super) hash_named: u64,
    /// The first folder that could not be read, and why.
    pub(super) first_unreadable: Option<(PathBuf, io::Error)>,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// The prefix itself cannot be read.
    #[error(transparent)]
    Prefix(StoreError),
    /// The prefix is another folder than the one that is served.
    #[error(transparent)]
    Changed(StoreError),
    /// The names were not sorted.
    #[error("the inventory could not be built")]
    Build(#[source] fst::Error),
}

/// Receives what a walk does not serve.
pub(super) trait Visitor {
    /// Whether it wants these calls.
    const LISTENS: bool;
    /// Called for something that is not served, with its path below the prefix.
    fn not_served(&mut self, kind: NotServedKind, path: &Path, detail: &str);
}

/// Ignores them: only the counts are used.
pub(super) struct Ignore;

impl Visitor for Ignore {
    const LISTENS: bool = false;
    fn not_served(&mut self, _: NotServedKind, _: &Path, _: &str) {}
}

/// A folder on the current path: its remaining entries, in reverse order, and the length of its name in the
/// path.
struct Level {
    entries: Vec<FolderEntry>,
    name_len: usize,
    /// The volume of the folder. `None` for the prefix's volume.
    volume: Option<Arc<Store>>,
    /// Whether it is the root of its volume.
    is_top: bool,
}

/// Walks the folder `prefix`, and the volumes below it. Tagged files named by the hash of one of the `known`
/// series are ordinary metrics.
pub(super) fn scan(
    prefix: &Path,
    volumes: Option<&Volumes>,
    known: &dyn KnownSeries,
    visitor: &mut impl Visitor,
) -> Result<Scan, ScanError> {
    let own;
    let tree = match volumes {
        Some(volumes) => {
            volumes.check_open().map_err(ScanError::Changed)?;
            volumes.tree()
        }
        None => {
            own = Tree::open(prefix).map_err(ScanError::Prefix)?;
            &own
        }
    };
    let mut walk = Walk::new(tree, volumes, known, visitor);
    let cannot_read = |errno| ScanError::Prefix(StoreError::io("read the prefix", prefix, errno));
    let folder = walk.read(tree, Path::new("")).map_err(cannot_read)?;
    walk.links(Path::new(""), &folder.links);
    let mut name = String::new();
    let mut levels =
        vec![Level { entries: folder.entries, name_len: 0, volume: None, is_top: true }];
    while let Some(level) = levels.last_mut() {
        name.truncate(level.name_len);
        let Some(entry) = level.entries.pop() else {
            levels.pop();
            continue;
        };
        if !entry.is_folder {
            walk.file(&name, &entry.name)?;
            continue;
        }
        let path = path_of(&name, &entry.name);
        let volume = level.volume.clone();
        if level.is_top && *entry.name == *LOST_AND_FOUND && walk.is_lost(volume.as_deref(), &path)
        {
            continue;
        }
        let Some(component) = component(&entry.name) else {
            walk.unusable_folder(volume.as_deref(), &path);
            continue;
        };
        if let Some((folder, volume, is_top)) = walk.enter(&path, &entry, volume) {
            name.push_str(component);
            name.push('.');
            levels.push(Level { entries: folder.entries, name_len: name.len(), volume, is_top });
        }
    }
    let (not_served, hash_named) = (walk.not_served, walk.hash_named);
    let first_unreadable = walk.first_unreadable;
    Ok(Scan {
        list: walk.builder.finish().map_err(ScanError::Build)?,
        not_served,
        hash_named,
        first_unreadable,
    })
}

/// Whether a file system is mounted at `root`. Then `lost+found` in it is not a folder of metrics.
fn is_file_system_root(root: &File) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let device = |folder: &dyn AsFd| rustix::fs::fstat(folder.as_fd()).map(|stat| stat.st_dev);
    let above = rustix::fs::openat(root, "..", flags, Mode::empty());
    above.is_ok_and(|above| device(&above) != device(root))
}

struct Walk<'v, V> {
    tree: &'v Tree,
    volumes: Option<&'v Volumes>,
    builder: ListBuilder,
    not_served: NotServed,
    known: &'v dyn KnownSeries,
    hash_named: u64,
    first_unreadable: Option<(PathBuf, io::Error)>,
    visitor: &'v mut V,
}

impl<'v, V: Visitor> Walk<'v, V> {
    fn new(
        tree: &'v Tree,
        volumes: Option<&'v Volumes>,
        known: &'v dyn KnownSeries,
        visitor: &'v mut V,
    ) -> Self {
        let (builder, not_served) = (ListBuilder::new(), NotServed::default());
        let (hash_named, first_unreadable) = (0, None);
        Self { tree, volumes, builder, not_served, known, hash_named, first_unreadable, visitor }
    }

    /// The folder `path` of the tree.
    fn read(&self, tree: &Tree, path: &Path) -> Result<Folder, Errno> {
        Folder::read(tree, path, |link| self.volumes.is_some_and(|volumes| volumes.follows(link)))
    }

    /// The tree of a volume.
    fn tree_of<'a>(&self, volume: Option<&'a Store>) -> &'a Tree
    where
        'v: 'a,
    {
        volume.map_or(self.tree, Store::tree)
    }

    /// The content of the folder `path`, its volume, and whether it is the root of that volume. `None` if it
    /// is not served.
    fn enter(
        &mut self,
        path: &Path,
        entry: &FolderEntry,
        volume: Option<Arc<Store>>,
    ) -> Option<(Folder, Option<Arc<Store>>, bool)> {
        let missing = self.volumes.and_then(|volumes| volumes.missing_at(path));
        if let Some(error) = missing {
            self.leave_out(NotServedKind::Volume, || path.to_owned(), &error.to_string());
            return None;
        }
        let read = match entry.is_link {
            true => Err(Errno::XDEV),
            false => self.read(self.tree_of(volume.as_deref()), path),
        };
        let Err(Errno::XDEV) = read else {
            return self.opened(path, read).map(|folder| (folder, volume, false));
        };
        let opened = self.volumes.map(|volumes| match entry.is_link {
            true => volumes.linked_at(path),
            false => volumes.mounted_at(path),
        });
        let opened = match opened? {
            Ok(opened) => opened,
            Err(error) => {
                let reason = bucky_api::chain(&error);
                tracing::error!(folder = %path.display(), error = reason, "cannot serve a volume");
                self.leave_out(NotServedKind::Volume, || path.to_owned(), &reason);
                return None;
            }
        };
        let read = self.read(opened.tree(), path);
        self.opened(path, read).map(|folder| (folder, Some(opened), true))
    }

    /// Whether the folder `lost+found` at the top of a volume is that of its file system.
    fn is_lost(&self, volume: Option<&Store>, path: &Path) -> bool {
        let tree = self.tree_of(volume);
        let is_unreadable = matches!(tree.folder(path), Err(Errno::ACCESS | Errno::PERM));
        is_unreadable || is_file_system_root(tree.root())
    }

    /// Counts something that is not served, and reports it to the visitor. The path is computed only if the
    /// visitor listens.
    fn leave_out(&mut self, kind: NotServedKind, path: impl FnOnce() -> PathBuf, detail: &str) {
        self.not_served.add(kind);
        if V::LISTENS {
            self.visitor.not_served(kind, &path(), detail);
        }
    }

    fn file(&mut self, folder: &str, stem: &[u8]) -> Result<(), ScanError> {
        let path = || path_of(folder, &[stem, EXTENSION].concat());
        let Some(component) = component(stem) else {
            self.leave_out(NotServedKind::UnusableName, path, "");
            return Ok(());
        };
        let mut name = String::with_capacity(folder.len() + component.len());
        name.push_str(folder);
        name.push_str(component);
        // The name may still be too long. Readers of the list rely on valid names.
        if !MetricName::is_one(&name) {
            self.leave_out(NotServedKind::UnusableName, path, "");
            return Ok(());
        }
        if name.starts_with(TAGGED_PREFIX) && Series::of(&name) == Series::Unplaceable {
            let hash = SeriesHash::in_name(&name);
            if hash.and_then(|hash| self.known.series_of(&hash)).is_some() {
                self.hash_named += 1;
            } else {
                self.leave_out(NotServedKind::Unplaceable, path, "");
            }
        }
        self.builder.push(&name).map_err(ScanError::Build)
    }

    fn links(&mut self, folder: &Path, links: &[Link]) {
        for link in links {
            self.leave_out(link.kind, || folder.join(as_path(&link.name)), &link.target);
        }
    }

    /// The content of the folder `path`, if it could be read and is ours. Counts what is not served in it.
    fn opened(&mut self, path: &Path, read: Result<Folder, Errno>) -> Option<Folder> {
        match read {
            Ok(folder) if folder.is_others => {
                tracing::error!(folder = %path.display(), "another buckyd serves a folder below this prefix; stop one \
                                                           of the two");
                self.leave_out(NotServedKind::OtherBuckyd, || path.to_owned(), "");
                None
            }
            Ok(folder) => {
                self.links(path, &folder.links);
                Some(folder)
            }
            // Removed since its parent was read.
            Err(Errno::NOENT) => None,
            Err(Errno::XDEV) => {
                let reason = "no metric has such a name";
                self.leave_out(NotServedKind::Volume, || path.to_owned(), reason);
                None
            }
            Err(errno) => {
                tracing::warn!(folder = %path.display(), error = %errno, "cannot read a folder; its metrics are not \
                     in the list");
                self.leave_out(
                    NotServedKind::UnreadableFolder,
                    || path.to_owned(),
                    &errno.to_string(),
                );
                if self.first_unreadable.is_none() {
                    self.first_unreadable = Some((path.to_owned(), errno.into()));
                }
                None
            }
        }
    }

    /// A folder whose name cannot be a component: all `.wsp` files below it are unusable.
    fn unusable_folder(&mut self, volume: Option<&Store>, path: &Path) {
        let mut folders = vec![path.to_owned()];
        while let Some(path) = folders.pop() {
            let read = self.read(self.tree_of(volume), &path);
            let Some(folder) = self.opened(&path, read) else { continue };
            for FolderEntry { name, is_folder, .. } in folder.entries.into_iter().rev() {
                if is_folder {
                    folders.push(path.join(as_path(&name)));
                } else {
                    let file = || path.join(as_path(&[&*name, EXTENSION].concat()));
                    self.leave_out(NotServedKind::UnusableName, file, "");
                }
            }
        }
    }
}

/// `name` as a component of a metric's name, if it can be one: the rules of [`MetricName::parse`].
fn component(name: &[u8]) -> Option<&str> {
    let plain =
        !name.is_empty() && !name.iter().any(|byte| *byte == b'.' || byte.is_ascii_control());
    if plain { std::str::from_utf8(name).ok() } else { None }
}

/// The path of `entry` in the folder whose metrics begin with `folder_name` (empty, or ending in a dot).
fn path_of(folder_name: &str, entry: &[u8]) -> PathBuf {
    Path::new(&folder_name.replace('.', "/")).join(as_path(entry))
}

fn as_path(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests;
