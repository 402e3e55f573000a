//! A file on its way to its owners.

use std::io;
use std::sync::Mutex;

use bucky_api::Problem;
use bucky_api::archive::FileMeta;
use bucky_whisper::{Digest, MetricName};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::super::batch_body::BatchFile;
use crate::fleet::Node;
use crate::run::failure::Failure;
use crate::run::failure_kind::FailureKind;
use crate::run::tally::Effect;
use crate::spool::Spool;
use crate::transfer::go::owner::GoUpload;

/// What a file takes in addition to its content.
pub(super) const FILE_COST_BYTES: usize = 1024;
/// The longest file that is sent to a Go daemon: it goes in one piece, from memory.
const GO_FILE_BYTES: u64 = 256 << 20;

/// A file that not all of its owners have settled yet.
pub(crate) struct PendingFile {
    pub(super) metric: MetricName,
    pub(super) meta: FileMeta,
    pub(super) digest: Digest,
    pub(super) is_sparse: bool,
    pub(super) content: FileContent,
    pub(super) open: Mutex<FileProgress>,
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// The content of a file.
pub(super) enum FileContent {
    Held(Bytes),
    Spooled(Spool),
}

/// What its owners have reported so far.
pub(super) struct FileProgress {
    pub(super) owners: usize,
    pub(super) effect: Option<Effect>,
    pub(super) failures: Vec<Failure>,
}

impl PendingFile {
    pub(super) fn bytes(&self) -> usize {
        let held = match &self.content {
            FileContent::Held(content) => content.len(),
            FileContent::Spooled(_) => 0,
        };
        held + FILE_COST_BYTES
    }

    /// The file for a batch, or `None` if it goes alone.
    pub(super) fn to_send(&self) -> Option<BatchFile> {
        let FileContent::Held(content) = &self.content else { return None };
        let Self { metric, meta, digest, is_sparse, .. } = self;
        Some(BatchFile {
            metric: metric.clone(),
            meta: *meta,
            digest: *digest,
            is_sparse: *is_sparse,
            content: content.clone(),
        })
    }

    /// The file for a Go daemon.
    pub(super) async fn go_upload(&self, node: &Node) -> Result<GoUpload, Failure> {
        let content = match &self.content {
            FileContent::Held(content) => content.clone(),
            FileContent::Spooled(spool) if spool.len_bytes() > GO_FILE_BYTES => {
                let bytes = spool.len_bytes();
                let reason = format!(
                    "it has {bytes} bytes, and a daemon of the Go tool is given at most {GO_FILE_BYTES}; run buckyd there"
                );
                return Err(Failure::at(
                    node.addr(),
                    FailureKind::of(Some(Problem::TooLarge)),
                    reason,
                ));
            }
            FileContent::Spooled(spool) => {
                let spool = spool.clone();
                let read = tokio::task::spawn_blocking(move || spool.content()).await;
                let read = read.map_err(io::Error::other).and_then(|read| read);
                read.map_err(|error| {
                    Failure::at(node.addr(), FailureKind::Storage, error.to_string())
                })?
                .into()
            }
        };
        let Self { metric, meta, digest, .. } = self;
        Ok(GoUpload { metric: metric.clone(), meta: *meta, digest: *digest, content })
    }
}
