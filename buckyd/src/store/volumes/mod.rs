//! The node's volumes: the prefix, and each folder below it that is on another mount, or that an allowed link
//! leads to.
//!
//! Each is its own [`Store`], opened once. It has its own state folder, tombstones, free space and syncs, so
//! that every rename stays within one file system, and no path leads out of its volume. A file belongs to the
//! volume with the longest path that its own path begins with. The scan finds mounts and links. A volume
//! stays until the daemon ends. If its path leads to something else by then, nothing is written or deleted on
//! this node.
//!
//! Most nodes have one volume. For them this costs no more than a comparison.

mod batch;
mod reader;
mod tombstones;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bucky_api::archive::FileMeta;
use bucky_api::{DiskStatus, ReplacedStatus, VolumeStatus};
use bucky_ring::RingSpec;
use bucky_whisper::{Digest, MetricName};

pub(crate) use self::batch::HealBatch;
pub(crate) use self::reader::FileReader;
pub(crate) use self::tombstones::Deleted;
use super::exclusive::Exclusive;
use super::former::FormerRings;
use super::listed::MetricList;
use super::snapshot::FileStat;
use super::tree::Tree;
use super::volume::Volume;
use super::{LargeFile, LockBudget, Replacement, Snapshot, Store, StoreError, StoreOptions};
use crate::memory::Memory;

/// All files of this node.
pub(crate) struct Volumes {
    prefix: Store,
    /// The longest path first. Entries are only added.
    others: RwLock<Vec<Arc<Store>>>,
    /// Whether there are others.
    has_others: AtomicBool,
    /// Held while a volume is opened.
    opening: Mutex<()>,
    /// How many metrics were in a folder before a file system was mounted on it.
    hidden: Mutex<BTreeMap<PathBuf, u64>>,
    /// Links that may be followed, or the folders that links may lead to.
    follow: Vec<PathBuf>,
}

impl Volumes {
    /// Opens the prefix. Links that `follow` allows, and mounts, are opened when a scan finds them.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open(
        prefix: &Path,
        state_dir: Option<&Path>,
        follow: Vec<PathBuf>,
        inventory: Arc<dyn MetricList>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            prefix: Store::open(prefix, state_dir, inventory, options)?,
            others: RwLock::default(),
            has_others: AtomicBool::new(false),
            opening: Mutex::default(),
            hidden: Mutex::default(),
            follow,
        })
    }

    /// The volume of the file, or folder, at `path` below the prefix.
    pub(super) fn of_path(&self, path: &Path) -> Volume<'_> {
        if self.is_one() {
            return Volume::Prefix(&self.prefix);
        }
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        let other = others.iter().find(|other| path.starts_with(other.tree.at()));
        other.map_or(Volume::Prefix(&self.prefix), |other| Volume::Other(Arc::clone(other)))
    }

    /// The volume of `metric`.
    pub(super) fn of(&self, metric: &MetricName) -> Volume<'_> {
        match self.is_one() {
            true => Volume::Prefix(&self.prefix),
            false => self.of_path(&metric.relative_path()),
        }
    }

    fn is_one(&self) -> bool {
        !self.has_others.load(Ordering::Acquire)
    }

    /// All volumes, the prefix's first.
    fn all(&self) -> impl Iterator<Item = Volume<'_>> {
        let others = match self.is_one() {
            true => Vec::new(),
            false => self.others.read().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let others = others.into_iter().map(Volume::Other);
        std::iter::once(Volume::Prefix(&self.prefix)).chain(others)
    }

    /// Whether files may be written or deleted: every volume's path still leads to its open folder, and no
    /// known volume is missing.
    ///
    /// # Errors
    /// [`StoreError`], which says what to do.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.all().try_for_each(|volume| volume.check())
    }

    /// Whether every volume's path still leads to its open folder.
    ///
    /// # Errors
    /// [`StoreError`], which says what to do.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        self.all().try_for_each(|volume| volume.tree.check())
    }

    /// The error for the folder `path`, if it is the mount point of a missing volume. It is not served.
    pub(crate) fn missing_at(&self, path: &Path) -> Option<StoreError> {
        self.prefix.known.missing_at(path)
    }

    /// The tree of the prefix, for a scan.
    pub(crate) fn tree(&self) -> &Tree {
        &self.prefix.tree
    }

    /// As [`Store::unlist`].
    #[cfg(test)]
    pub(crate) fn unlist(&self, metric: &MetricName) {
        self.of(metric).unlist(metric);
    }

    /// Whether the link at `path` below the prefix may be followed.
    pub(crate) fn follows(&self, path: &Path) -> bool {
        if self.follow.is_empty() {
            return false;
        }
        let prefix = self.prefix.tree.path();
        let link = prefix.join(path);
        let target = link.canonicalize().ok();
        self.follow.iter().any(|allowed| {
            // Below the prefix it names the link itself, and not any link that leads to the same disk.
            let is_target = allowed.is_absolute() && !allowed.starts_with(prefix);
            let leads_there = || {
                let folder = allowed.canonicalize().ok().filter(|_| is_target);
                folder
                    .zip(target.as_ref())
                    .is_some_and(|(folder, target)| target.starts_with(folder))
            };
            *allowed == link || allowed == path || leads_there()
        })
    }

    /// The volume that is mounted at the folder `path`. It is opened if it is new.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be served.
    pub(crate) fn mounted_at(&self, path: &Path) -> Result<Arc<Store>, StoreError> {
        self.opened_at(path, |above| {
            self.refuse_hidden(path)?;
            let tree = above.tree.mounted(path)?;
            let exclusive = Exclusive::take_mounted(tree.root(), tree.path())?;
            Ok((tree, exclusive))
        })
    }

    /// The volume that the link `path` leads to. It is opened if it is new.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be served.
    pub(crate) fn linked_at(&self, path: &Path) -> Result<Arc<Store>, StoreError> {
        self.opened_at(path, |above| {
            let tree = above.tree.linked(path)?;
            let exclusive = Exclusive::take(tree.root(), tree.path())?;
            Ok((tree, exclusive))
        })
    }

    /// Refuses a mount on a folder that had metrics: those are hidden now. If the mount were served, they
    /// would vanish silently.
    fn refuse_hidden(&self, path: &Path) -> Result<(), StoreError> {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        // Reported once: the next list does not have them any more.
        let metrics = hidden
            .entry(path.to_owned())
            .or_insert_with(|| self.prefix.inventory.count_below(path));
        match *metrics {
            0 => Ok(()),
            metrics => Err(StoreError::Hidden { path: path.into(), metrics }),
        }
    }

    fn opened_at(
        &self,
        path: &Path,
        open: impl FnOnce(&Store) -> Result<(Tree, Exclusive), StoreError>,
    ) -> Result<Arc<Store>, StoreError> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let above = match self.of_path(path) {
            Volume::Other(known) if known.tree.at() == path => return Ok(known),
            above => above,
        };
        let (tree, exclusive) = open(&above)?;
        let volume = Arc::new(self.prefix.open_beside(tree, exclusive)?);
        tracing::info!(path = %volume.tree.path().display(), "serving a volume below the prefix");
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        self.prefix.known.remember(&self.prefix.state, path);
        others.push(Arc::clone(&volume));
        others.sort_by_key(|other| std::cmp::Reverse(other.tree.at().components().count()));
        self.has_others.store(true, Ordering::Release);
        Ok(volume)
    }

    /// The space of the volumes below the prefix.
    pub(crate) fn others_room(&self) -> Vec<VolumeStatus> {
        let status = |volume: Volume<'_>| {
            let path = volume.tree.at().display().to_string();
            Some(VolumeStatus { path, disk: volume.room().ok()? })
        };
        self.all().skip(1).filter_map(status).collect()
    }
}

/// Properties that all volumes share, or that are reported for the prefix.
impl Volumes {
    /// The random name of the prefix's store, which stands for the node.
    pub(crate) fn id(&self) -> &str {
        self.prefix.id()
    }

    /// The longest file that is held in memory.
    pub(crate) fn file_limit_bytes(&self) -> u64 {
        self.prefix.file_limit_bytes()
    }

    /// The memory budget of files.
    pub(crate) fn memory(&self) -> &Memory {
        self.prefix.memory()
    }

    /// The prefix as it was configured.
    pub(crate) fn prefix(&self) -> &Path {
        self.prefix.prefix()
    }

    /// Size and free space of the prefix's file system.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn room(&self) -> Result<DiskStatus, StoreError> {
        self.prefix.room()
    }

    /// Mode and time of a new file for which no source gives them.
    pub(crate) fn meta_of_new(&self) -> FileMeta {
        self.prefix.meta_of_new()
    }

    /// The time that a request may wait for locks.
    pub(crate) fn lock_budget(&self) -> LockBudget {
        self.prefix.lock_budget()
    }

    /// Records the digest of a file that was read, because the client may soon ask to delete it.
    pub(crate) fn remember(&self, snapshot: &Snapshot, digest: Digest) {
        self.prefix.remember(snapshot, digest);
    }

    /// As [`Store::remember_ring`], in the prefix's state folder.
    pub(crate) fn remember_ring(&self, ring: &RingSpec) -> FormerRings {
        self.prefix.remember_ring(ring)
    }

    /// Makes everything durable that was read before this call, on every volume.
    ///
    /// # Errors
    /// As [`Store::sync_read`].
    pub(crate) fn sync_read(&self) -> Result<(), StoreError> {
        self.all().try_for_each(|volume| volume.sync_read())
    }

    /// How many replaced files are kept, and their total length.
    ///
    /// # Errors
    /// [`StoreError`] if a folder cannot be read.
    pub(crate) fn replaced(&self) -> Result<ReplacedStatus, StoreError> {
        let mut sum = ReplacedStatus::default();
        for volume in self.all() {
            let replaced = volume.replaced()?;
            sum.files += replaced.files;
            sum.bytes += replaced.bytes;
        }
        Ok(sum)
    }
}

/// Operations on one metric, at its volume. [`Store`] documents each, with its errors.
impl Volumes {
    pub(crate) fn stat(&self, metric: &MetricName) -> Result<FileStat, StoreError> {
        self.of(metric).stat(metric)
    }

    pub(crate) fn read_to_copy(&self, metric: &MetricName) -> Result<Snapshot, StoreError> {
        self.of(metric).read_to_copy(metric)
    }

    pub(crate) fn open_large(&self, metric: &MetricName) -> Result<LargeFile<'_>, StoreError> {
        LargeFile::of_metric(self.of(metric), metric)
    }

    pub(crate) fn digest_of(&self, metric: &MetricName) -> Result<Digest, StoreError> {
        self.of(metric).digest_of(metric)
    }

    pub(crate) fn unlink(&self, metric: &MetricName) -> Result<(), StoreError> {
        self.of(metric).unlink(metric)
    }

    pub(crate) fn replace(
        &self,
        metric: &MetricName,
        content: &[u8],
        meta: FileMeta,
    ) -> Result<(), StoreError> {
        self.of(metric).replace(metric, content, meta)
    }

    pub(crate) fn begin_replace(&self, metric: &MetricName) -> Result<Replacement<'_>, StoreError> {
        Replacement::begin(self.of(metric), metric)
    }

    pub(crate) fn set_time(&self, metric: &MetricName, mtime: i64) -> Result<(), StoreError> {
        self.of(metric).set_time(metric, mtime)
    }
}
