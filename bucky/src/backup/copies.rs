//! The copies of one metric that go into an archive, and what is made of them.

use bucky_api::archive::FileMeta;

use crate::spool::Content;

/// A copy of a metric.
pub(crate) struct Held {
    /// The node it is from.
    pub(crate) node: usize,
    /// Mode and time of change there.
    pub(crate) meta: FileMeta,
    /// The whole file.
    pub(crate) content: Content,
}

/// What is to be archived of a metric.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// The files, the one last written to last: of several it is the one that unpacking leaves.
    pub(crate) files: Vec<(FileMeta, Content)>,
    /// Copies that are no whole Whisper files, or that could not be brought together with others: where, and what is wrong.
    pub(crate) failed: Vec<(usize, String)>,
    /// How many copies gave something.
    pub(crate) copies: u64,
    /// Points that came to the first copy from others.
    pub(crate) points: u64,
}
