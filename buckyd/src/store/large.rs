//! Files that are too long to hold in memory. They are sent as they are read. A received one is written
//! directly to the new file, which is put in place, or filled from, at the end.
//!
//! While such a file is sent, a lock is held for one piece at a time, so that carbon never waits for a
//! network. A write in between is noticed later: the digest is that of the content that was sent, and the
//! delete compares it with the file's.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bucky_api::archive::{FileMeta, LargeMember};
use bucky_api::{Problem, chain};
use bucky_whisper::{
    Digest, DigestBuilder, Header, ImageError, MetricName, cut_from, is_compressed, unlock,
    whole_slots,
};
use rustix::fs::Stat;

use super::Store;
use super::error::StoreError;
use super::failure::Failure;
use super::folder_cache::FolderCache;
use super::rules::{HealRules, OnCut};
use super::stamp::Stamp;
use super::unplaced::Unplaced;
use super::volume::Volume;

/// The unit of holes.
const BLOCK_BYTES: usize = 4096;

/// A long file that is open to be sent.
pub(crate) struct LargeFile<'s> {
    store: Volume<'s>,
    file: File,
    path: PathBuf,
    before: Stat,
    /// When it was first checked.
    opened: SystemTime,
    at: u64,
}

impl<'s> LargeFile<'s> {
    /// Opens the file of `metric` to send it.
    ///
    /// # Errors
    /// [`StoreError`], also if its lock is not available now.
    pub(super) fn of_metric(store: Volume<'s>, metric: &MetricName) -> Result<Self, StoreError> {
        let path = metric.relative_path();
        let (file, _) = FolderCache::default().open_file(&store.tree, &path)?;
        Self::of(store, file, path)
    }

    /// An open file.
    pub(super) fn of(store: Volume<'s>, file: File, path: PathBuf) -> Result<Self, StoreError> {
        let opened = SystemTime::now();
        let before =
            rustix::fs::fstat(&file).map_err(|errno| StoreError::io("stat", &path, errno))?;
        store.lock_shared(&file, &path, &store.lock_budget())?;
        unlock(&file).map_err(|error| StoreError::lock(&path, error))?;
        Ok(Self { store, file, path, before, opened, at: 0 })
    }

    /// Mode and mtime.
    pub(crate) fn meta(&self) -> FileMeta {
        FileMeta {
            mode: self.before.st_mode & 0o7777,
            mtime: u64::try_from(self.before.st_mtime).unwrap_or(0),
        }
    }

    /// Its length.
    pub(crate) fn len_bytes(&self) -> u64 {
        u64::try_from(self.before.st_size).unwrap_or(0)
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether it has holes.
    pub(crate) fn is_sparse(&self) -> bool {
        super::snapshot::is_sparse(&self.before)
    }

    /// Continues reading at `at`.
    pub(crate) fn go_to(&mut self, at: u64) {
        self.at = at;
    }

    /// Records the digest with which the file was sent, because the client may soon ask to delete it. Nothing
    /// is recorded if the file was written to in between.
    pub(crate) fn sent(self, digest: Digest) {
        let (before, store) = (Stamp::of(&self.before), &*self.store);
        let is_timed = store.timed_device == Some(self.before.st_dev);
        if is_timed
            && before.is_settled(self.opened)
            && rustix::fs::fstat(&self.file).is_ok_and(|after| Stamp::of(&after) == before)
        {
            store.remembered.note(before, digest);
        }
    }
}

impl Read for LargeFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let locked = self.store.lock_shared(&self.file, &self.path, &self.store.lock_budget());
        locked.map_err(|error| io::Error::other(chain(&error)))?;
        let read = self.file.read_at(buffer, self.at);
        unlock(&self.file).map_err(|error| io::Error::other(chain(&error)))?;
        self.at += *read.as_ref().unwrap_or(&0) as u64;
        read
    }
}

/// The properties of a long file.
pub(crate) struct InspectedFile {
    /// The digest of its content.
    pub(crate) digest: Digest,
    /// Whether it is a valid Whisper file, by its header.
    pub(crate) kind: Result<(), ImageError>,
    /// The stamp that the file keeps unless a process writes to it. `None` if the file is too young for that.
    pub(crate) settled: Option<Stamp>,
}

/// A long file that is being received, and written to the new file.
pub(crate) struct IncomingFile {
    /// Its head, as announced.
    pub(crate) member: LargeMember,
    /// The path of the metric's file.
    pub(super) path: PathBuf,
    /// The new file. `None` if it cannot be created.
    pub(super) file: Option<(Unplaced, File)>,
    pub(super) is_folder_new: bool,
    at: u64,
    digest: DigestBuilder,
    head: Vec<u8>,
    on_cut: OnCut,
    /// The original length of a file that was cut off, if the rest of it is accepted.
    cut_from: Option<u64>,
    failure: Option<Failure>,
}

impl IncomingFile {
    /// Takes the next piece.
    pub(crate) fn write(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        let head_bytes = usize::try_from(Header::SIZE_MAX_BYTES).unwrap_or(usize::MAX);
        let missing = (head_bytes - self.head.len()).min(piece.len());
        if missing > 0 {
            self.head.extend_from_slice(&piece[..missing]);
            let is_head_complete = self.head.len() == head_bytes
                || self.at + piece.len() as u64 == self.member.len_bytes;
            if is_head_complete && self.failure.is_none() {
                self.failure = self.unfit();
            }
        }
        if self.failure.is_none()
            && let Some((_, file)) = &self.file
            && let Err(error) = self.write_to(file, piece)
        {
            // The rest of the disk is for other files.
            let _ = file.set_len(0);
            self.failure = Some(StoreError::io("write the new file", &self.path, error).into());
        }
        self.at += piece.len() as u64;
    }

    /// Writes a piece. If the file gets holes, blocks of zeros are skipped.
    fn write_to(&self, file: &File, piece: &[u8]) -> io::Result<()> {
        if !self.member.is_sparse {
            return file.write_all_at(piece, self.at);
        }
        let is_hole = |block: &[u8]| block.iter().all(|byte| *byte == 0);
        let blocks: Vec<&[u8]> = piece.chunks(BLOCK_BYTES).collect();
        let mut at = self.at;
        for run in blocks.chunk_by(|one, next| is_hole(one) == is_hole(next)) {
            let bytes = run.iter().map(|block| block.len()).sum::<usize>();
            let start = usize::try_from(at - self.at).unwrap_or(piece.len());
            if let (Some(first), Some(run)) = (run.first(), piece.get(start..start + bytes))
                && !is_hole(first)
            {
                file.write_all_at(run, at)?;
            }
            at += bytes as u64;
        }
        Ok(())
    }

    /// Only a Whisper file may be stored under a metric's name. A long one is checked by its beginning.
    fn unfit(&mut self) -> Option<Failure> {
        if is_compressed(&self.head) {
            return None;
        }
        let error = Header::parse(&self.head, self.member.len_bytes).err()?;
        let cut_from = cut_from(&self.head, self.member.len_bytes);
        match self.on_cut {
            OnCut::Salvage if cut_from.is_some() => {
                self.cut_from = cut_from;
                None
            }
            _ => Some(super::salvage::refused(&error, cut_from.is_some())),
        }
    }

    /// The digest of the bytes so far.
    pub(crate) fn digest(&self) -> Digest {
        self.digest.finish()
    }

    /// The digest, once the file is complete and has mode, owner and time; or the reason why it is refused.
    pub(super) fn end(&mut self, store: &Store) -> Result<Digest, Failure> {
        let digest = self.digest.finish();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.member.announced.is_some_and(|announced| announced != digest) {
            return Err(arrived_damaged(digest));
        }
        if let Some((unplaced, file)) = &mut self.file {
            let len_bytes = self.cut_from.unwrap_or(self.member.len_bytes);
            let failed = |error| StoreError::io("write the new file", &self.path, error);
            file.set_len(self.member.len_bytes).map_err(failed)?;
            if let Some(whole) = self.cut_from {
                // An incomplete slot does not count. After it come empty ones.
                let slots = whole_slots(&self.head, self.member.len_bytes);
                file.set_len(slots.unwrap_or(self.member.len_bytes)).map_err(failed)?;
                store.allocate(file, whole, self.member.is_sparse).map_err(failed)?;
            }
            store.set_meta(file, &self.path, self.member.meta)?;
            if let Unplaced::Unnamed(unnamed) = unplaced {
                unnamed.written(usize::try_from(len_bytes).unwrap_or(usize::MAX));
            }
        }
        Ok(digest)
    }
}

/// The received content differs from what was sent.
pub(super) fn arrived_damaged(digest: Digest) -> Failure {
    let reason = format!("the content arrived damaged: its digest is {digest}");
    Failure::failed(Problem::DigestMismatch, reason)
}

impl Store {
    /// The digest of the file of `metric`, which may have any length and is not held in memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn digest_of(&self, metric: &MetricName) -> Result<Digest, StoreError> {
        let path = metric.relative_path();
        let (file, _) = FolderCache::default().open_file(&self.tree, &path)?;
        self.lock_shared(&file, &path, &self.lock_budget())?;
        self.digest(&file, &path)
    }

    /// Reads a file of any length to its end under a shared lock, without holding it in memory.
    pub(super) fn inspect_large(
        &self,
        file: &File,
        path: &Path,
    ) -> Result<InspectedFile, StoreError> {
        self.lock_shared(file, path, &self.lock_budget())?;
        let now = SystemTime::now();
        let stat = |file: &File| {
            rustix::fs::fstat(file).map_err(|errno| StoreError::io("stat", path, errno))
        };
        let before = stat(file)?;
        let kind = self.kind_of(file, path)?;
        let digest = self.digest(file, path)?;
        let stamp = Stamp::of(&before);
        let is_settled = self.timed_device == Some(before.st_dev)
            && stamp.is_settled(now)
            && Stamp::of(&stat(file)?) == stamp;
        Ok(InspectedFile { digest, kind, settled: is_settled.then_some(stamp) })
    }

    /// Creates the new file for `member`, which will take the place of `metric`.
    pub(super) fn receive_large(
        &self,
        member: &LargeMember,
        metric: &MetricName,
        folders: &FolderCache,
        rules: &HealRules,
    ) -> IncomingFile {
        let path = metric.relative_path();
        let is_sparse = member.is_sparse || self.options.sparse;
        let mut incoming = IncomingFile {
            member: LargeMember { is_sparse, ..member.clone() },
            path,
            file: None,
            is_folder_new: false,
            at: 0,
            digest: DigestBuilder::new(),
            head: Vec::new(),
            on_cut: rules.on_cut,
            cut_from: None,
            failure: self.check().err().map(Failure::from),
        };
        let is_only_previewed =
            rules.preview && matches!(folders.stat_at(&self.tree, &incoming.path), Ok(None));
        if incoming.failure.is_some() || is_only_previewed {
            return incoming;
        }
        let made = if rules.may_replace() || rules.preview {
            // It may be renamed more than once, or gets no place.
            self.make_tmp().map(|(name, file)| (Unplaced::Named(name), file))
        } else {
            let made = self.make_unplaced(&incoming.path, folders);
            incoming.is_folder_new = made.1;
            made.0
        };
        match made {
            Ok(file) => incoming.file = Some(file),
            Err(error) => incoming.failure = Some(error.into()),
        }
        incoming
    }

    /// Whether a locked file is a valid Whisper file, by its header.
    pub(super) fn kind_of(
        &self,
        file: &File,
        path: &Path,
    ) -> Result<Result<(), ImageError>, StoreError> {
        let stat = rustix::fs::fstat(file).map_err(|errno| StoreError::io("stat", path, errno))?;
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let mut head = vec![0; usize::try_from(Header::SIZE_MAX_BYTES.min(bytes)).unwrap_or(0)];
        let read = file.read_exact_at(&mut head, 0);
        read.map_err(|error| StoreError::io("read the header of", path, error))?;
        Ok(match Header::parse(&head, bytes) {
            _ if is_compressed(&head) => Err(ImageError::Compressed),
            Ok(_) => Ok(()),
            Err(error) => Err(ImageError::Header(error)),
        })
    }

    /// Whether an open file is too long to hold in memory.
    pub(super) fn is_large(&self, file: &File, path: &Path) -> Result<bool, StoreError> {
        let stat = rustix::fs::fstat(file).map_err(|errno| StoreError::io("stat", path, errno))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0) > self.file_limit_bytes())
    }
}
