//! The Whisper file.

pub mod aggregation;
pub mod create;
pub mod diff;
pub mod digest;
pub mod fetch;
pub mod file;
pub mod fill;
pub mod fill_file;
pub mod header;
pub mod image;
pub mod lock;
pub mod name;
mod new_file;
pub mod retention;
pub mod slots;
pub mod sparse;
pub mod update;

pub use aggregation::{Aggregation, AggregationSix, UnknownAggregation, UnknownAggregationSix};
pub use create::{CreateError, CreateOptions, FileLayout, create};
pub use diff::{ArchiveDiff, Difference, diff};
pub use digest::{Digest, DigestParseError};
pub use fetch::{FetchError, Fetched};
pub use file::{OpenError, OpenMode, WhisperFile, info};
pub use fill::{ArchiveFill, FillOptions, FillPlan, Run, fill};
pub use fill_file::{FillFileError, FillOutcome, fill_file};
pub use header::{Archive, Header, HeaderError, is_compressed};
pub use image::{ArchiveView, Image, ImageError, Point};
pub use lock::{LockError, lock_exclusive, lock_shared, unlock};
pub use name::{MetricName, NameError, NotAddressable, Series};
pub use retention::{
    Retention, RetentionError, RetentionParseError, XFilesFactor, XFilesFactorOutOfRange,
    XFilesFactorParseError, validate_retentions,
};
pub use slots::AccessError;
pub use sparse::write_sparse;
pub use update::UpdateError;
