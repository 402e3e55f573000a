//! Replacing a metric's file by a new one that is too long to hold in memory.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use bucky_api::archive::FileMeta;
use bucky_whisper::MetricName;

use super::error::StoreError;
use super::volume::Volume;

/// A new file that is written piece by piece. If it is dropped unfinished, it is removed, and nothing else
/// has changed.
pub(crate) struct Replacement<'s> {
    store: Volume<'s>,
    metric: MetricName,
    name: PathBuf,
    file: File,
}

impl<'s> Replacement<'s> {
    /// An empty new file for `metric`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn begin(store: Volume<'s>, metric: &MetricName) -> Result<Self, StoreError> {
        store.check()?;
        let (name, file) = store.make_tmp()?;
        Ok(Self { store, metric: metric.clone(), name, file })
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// [`StoreError`]. After an error it can only be dropped.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_all(piece);
        written.map_err(|error| StoreError::io("write the new file", &self.name, error))
    }

    /// Puts it in the place of the metric's file, as [`super::Store::replace`] does.
    ///
    /// # Errors
    /// As [`super::Store::replace`].
    pub(crate) fn finish(self, meta: FileMeta) -> Result<(), StoreError> {
        self.store.set_meta(&self.file, &self.name, meta)?;
        self.store.put_new_over(&self.metric, &self.name)
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        // If it was put in place, this name is free already.
        self.store.remove_tmp(&self.name);
    }
}
