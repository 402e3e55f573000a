//! The Whisper file.

pub mod aggregation;
pub mod digest;
pub mod fill;
pub mod header;
pub mod image;
pub mod lock;
pub mod name;
pub mod retention;

pub use aggregation::{Aggregation, AggregationSix, UnknownAggregation, UnknownAggregationSix};
pub use digest::{Digest, DigestParseError};
pub use fill::{ArchiveFill, FillOptions, FillPlan, Run, fill};
pub use header::{Archive, Header, HeaderError, is_compressed};
pub use image::{ArchiveView, Image, ImageError, Point};
pub use lock::{LockError, lock_exclusive, lock_shared, unlock};
pub use name::{MetricName, NameError, NotAddressable, Series};
pub use retention::{
    Retention, RetentionError, RetentionParseError, XFilesFactor, XFilesFactorOutOfRange,
    XFilesFactorParseError, validate_retentions,
};
