//! The copies of one metric that go into an archive, before and after they are merged.

use bucky_api::archive::FileMeta;

use crate::spool::Content;

/// A copy of a metric.
pub(crate) struct HeldCopy {
    /// The index of the node that it came from.
    pub(crate) node: usize,
    /// Its mode and modification time there.
    pub(crate) meta: FileMeta,
    /// The whole file.
    pub(crate) content: Content,
}

/// What is archived of a metric.
#[derive(Debug, Default)]
pub(crate) struct MergedCopies {
    /// The files, the last written one last: if there are several, unpacking leaves that one.
    pub(crate) files: Vec<(FileMeta, Content)>,
    /// Copies that are not valid Whisper files, or could not be merged with others: the node, and what is
    /// wrong.
    pub(crate) failed: Vec<(usize, String)>,
    /// How many copies contributed something.
    pub(crate) copies: u64,
    /// Points that the first copy got from others.
    pub(crate) points: u64,
}
