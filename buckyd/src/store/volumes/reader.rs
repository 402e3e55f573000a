//! Reads files of all volumes, one after the other.

use bucky_whisper::MetricName;

use super::Volumes;
use crate::store::error::StoreError;
use crate::store::snapshot::{Snapshot, VolumeReader};
use crate::store::volume::Volume;

/// Reads many files of any volume. The folder of the last one stays open, and its buffer is reused.
pub(crate) struct FileReader<'s> {
    volumes: &'s Volumes,
    prefix: VolumeReader<'s>,
    /// The reader of the other volume that was read last.
    other: Option<VolumeReader<'s>>,
}

impl<'s> FileReader<'s> {
    /// A reader that has read nothing yet.
    pub(crate) fn new(volumes: &'s Volumes) -> Self {
        Self { volumes, prefix: VolumeReader::new(&volumes.prefix), other: None }
    }

    /// The whole file of `metric`, read under a shared lock that is released before this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read(&mut self, metric: &MetricName) -> Result<Snapshot, StoreError> {
        let volume = self.volumes.of(metric);
        if let Volume::Prefix(_) = volume {
            return self.prefix.read(metric);
        }
        if self.other.as_ref().is_none_or(|other| !other.is_of(&volume)) {
            self.other = None;
        }
        self.other.get_or_insert_with(|| VolumeReader::new(volume)).read(metric)
    }

    /// Takes back a buffer for the next file.
    pub(crate) fn give_back(&mut self, snapshot: Snapshot) {
        self.prefix.give_back(snapshot);
    }

    /// The part that reads open files of any volume.
    pub(super) fn at_prefix(&mut self) -> &mut VolumeReader<'s> {
        &mut self.prefix
    }
}
