//! The files of this node: everything that touches the tree below the prefix. The rest of the daemon uses
//! [`Volumes`]. A [`Store`] is one volume.
//!
//! These rules hold throughout. A new file appears complete and never replaces another. An existing file is
//! filled in place under its lock. No lock is waited for longer than the limit. Nothing is reported as done
//! before it is durable. A source is not unlinked but renamed to a tombstone, until its owners have confirmed
//! its points.
//!
//! All of it blocks: async code calls it through `blocking`.

mod commit;
mod digests;
mod error;
mod exclusive;
mod failure;
mod fill;
mod fill_large;
mod folder_cache;
mod former;
mod heal;
mod identity;
mod kept;
mod known_volumes;
mod large;
mod listed;
mod locks;
mod mount_table;
mod points;
mod remove;
mod replace;
mod replace_long;
mod reshape;
mod reshape_large;
mod rest;
mod rules;
mod salvage;
mod sizes;
mod snapshot;
mod staging;
mod stamp;
mod state_dir;
mod state_file;
#[cfg(test)]
pub(crate) mod tests;
mod tombstone;
mod tree;
mod unplaced;
mod untouched;
mod volume;
mod volumes;
mod vouch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bucky_api::DiskStatus;
use bucky_whisper::{AggregationSix, is_of_this_machine};

use self::commit::Committer;
pub(crate) use self::digests::DigestReader;
pub(crate) use self::error::StoreError;
use self::exclusive::Exclusive;
pub(crate) use self::exclusive::is_served;
pub(crate) use self::former::FormerRings;
use self::known_volumes::KnownVolumes;
pub(crate) use self::large::{IncomingFile, InspectedFile, LargeFile};
pub(crate) use self::listed::MetricList;
pub(crate) use self::locks::LockBudget;
pub(crate) use self::points::Slots;
pub(crate) use self::replace_long::Replacement;
use self::rest::WatchedFiles;
pub(crate) use self::rules::{HealRules, OnCorrupt, OnCut};
pub(crate) use self::sizes::Sizes;
pub(crate) use self::snapshot::Snapshot;
use self::stamp::Remembered;
use self::state_dir::StateDir;
#[cfg(test)]
pub(crate) use self::tombstone::confirmed;
pub(crate) use self::tombstone::{
    Answer, Answers, BatchId, ConfirmedTombstone, Tombstone, TombstoneFile, TombstoneKind,
    UnlinkOutcome, Waits, may_unlink,
};
pub(crate) use self::tree::Tree;
use self::unplaced::UnnamedFiles;
#[cfg(test)]
pub(crate) use self::untouched::mark_as_set_aside;
pub(crate) use self::volumes::{Deleted, FileReader, HealBatch, Volumes};
use crate::memory::Memory;

/// How often an open is tried if the file is moved in the meantime.
const TRIES: usize = 16;

/// Each volume below the prefix may have one in this many of the open files without a name.
const UNNAMED_SHARE: usize = 8;

/// The settings of the store.
#[derive(Clone, Debug)]
pub(crate) struct StoreOptions {
    /// How long any lock is waited for.
    pub(crate) lock_limit: Duration,
    /// The longest file that is held in memory. Longer ones are moved and filled piece by piece.
    pub(crate) file_limit_bytes: u64,
    /// The memory budget of files.
    pub(crate) memory: Memory,
    /// Whether new files get holes in place of blocks of zeros.
    pub(crate) sparse: bool,
    /// The meaning of aggregation method 6.
    pub(crate) aggregation_six: AggregationSix,
    /// How many new files without a name may be open.
    pub(crate) unnamed_files: usize,
}

/// The Whisper files of one volume.
pub(crate) struct Store {
    tree: Tree,
    state: StateDir,
    committer: Committer,
    inventory: Arc<dyn MetricList>,
    options: StoreOptions,
    unnamed: UnnamedFiles,
    /// The digests of files that were sent a while ago, and may soon be deleted.
    remembered: Arc<Remembered>,
    /// Files whose times are in the future.
    watched: WatchedFiles,
    /// The volumes below the prefix that the node had when buckyd last ran. All stores of the node share
    /// them.
    known: Arc<KnownVolumes>,
    /// The number of the prefix's file system, if the times of its files change with every write.
    timed_device: Option<u64>,
    /// The permissions of a file whose source does not give any.
    new_mode: u32,
    /// Held as long as the store is open.
    _exclusive: Exclusive,
}

impl Store {
    /// Opens the store below `prefix`, with its state (temporary files, tombstones) in `state_dir`.
    ///
    /// Removes the temporary files that a crashed daemon left.
    ///
    /// # Errors
    /// If the prefix cannot be opened, if the state folder cannot be written or is on another file system, or
    /// if another daemon serves the prefix, a folder above it, or one below it.
    pub(crate) fn open(
        prefix: &Path,
        state_dir: Option<&Path>,
        inventory: Arc<dyn MetricList>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let tree = Tree::open(prefix)?;
        let exclusive = Exclusive::take(tree.root(), prefix)?;
        let store = Self::of(tree, exclusive, state_dir, inventory, options, Arc::default())?;
        let known = Arc::new(KnownVolumes::read(prefix, &store.state));
        Ok(Self { known, ..store })
    }

    /// Opens another volume of the same node, which is locked already.
    ///
    /// # Errors
    /// As [`Store::open`].
    fn open_beside(&self, tree: Tree, exclusive: Exclusive) -> Result<Self, StoreError> {
        let unnamed_files = self.options.unnamed_files / UNNAMED_SHARE;
        let options = StoreOptions { unnamed_files, ..self.options.clone() };
        let (inventory, remembered) = (Arc::clone(&self.inventory), Arc::clone(&self.remembered));
        let store = Self::of(tree, exclusive, None, inventory, options, remembered)?;
        Ok(Self { known: Arc::clone(&self.known), ..store })
    }

    fn of(
        tree: Tree,
        exclusive: Exclusive,
        state_dir: Option<&Path>,
        inventory: Arc<dyn MetricList>,
        options: StoreOptions,
        remembered: Arc<Remembered>,
    ) -> Result<Self, StoreError> {
        let state = StateDir::open(&tree, state_dir)?;
        let timed_device = is_of_this_machine(tree.root())
            .then(|| rustix::fs::fstat(tree.root()).ok().map(|stat| stat.st_dev))
            .flatten();
        let (tmp, name) = (state.tmp(), state.new_tmp_name());
        let unnamed = UnnamedFiles::with_trial(&tree, tmp, &name, options.unnamed_files);
        Ok(Self {
            tree,
            state,
            unnamed,
            committer: Committer::default(),
            inventory,
            options,
            remembered,
            watched: WatchedFiles::default(),
            known: Arc::default(),
            timed_device,
            new_mode: replace::mode_of_new(),
            _exclusive: exclusive,
        })
    }

    /// The random name of this store.
    pub(crate) fn id(&self) -> &str {
        self.state.store_id()
    }

    /// The longest file that is held in memory.
    pub(crate) fn file_limit_bytes(&self) -> u64 {
        self.options.file_limit_bytes
    }

    /// The memory budget of files.
    pub(crate) fn memory(&self) -> &Memory {
        &self.options.memory
    }

    /// The prefix as it was configured.
    pub(crate) fn prefix(&self) -> &Path {
        self.tree.path()
    }

    /// The folders of the volume.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether files may be written or deleted: the prefix still leads to the open folder, and no known
    /// volume is missing.
    ///
    /// # Errors
    /// [`StoreError`], which says what to do.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.known.check()?;
        self.tree.check()
    }

    /// Size and free space of the file system.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn room(&self) -> Result<DiskStatus, StoreError> {
        self.tree
            .room()
            .map_err(|error| StoreError::io("read the free space of", self.tree.path(), error))
    }
}
