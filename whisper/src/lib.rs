//! The Whisper file: names, headers, points, and how one file is filled from another.
//!
//! A Graphite cluster keeps each metric in one file of fixed size, to which carbon-cache or go-carbon writes
//! point by point. This crate reads and writes exactly what whisper.py 1.1.10 reads and writes; its tests
//! check that bit for bit. It adds what is needed to move metrics between nodes: [`fill()`], which puts
//! points into a file's gaps and changes nothing else, names that cannot leave their folder, and digests.
//!
//! It has two layers. Neither contains HTTP, async code or logging:
//!
//! - **Values.** [`MetricName`], [`Retention`], [`Aggregation`], [`Header`], [`Image`] and its
//!   [`ArchiveView`]s, [`fill()`], [`Coverage`], [`reshape()`], [`modify()`], [`diff()`], [`Digest`],
//!   [`Summary`]: take bytes and values, return values.
//! - **Local files.** [`create()`], [`info`], [`WhisperFile`], [`fill_file()`], [`modify_file()`],
//!   [`sparsify()`]: the only part that opens files. A file is opened under a lock with a time limit. A new
//!   file appears complete and never replaces another, and an existing file is changed in place.
//!
//! Time is always an argument (`now`, Unix seconds); a `clippy.toml` beside this crate forbids the clock.
//!
//! # The format
//!
//! All numbers are big-endian. A file is a header and then its archives.
//!
//! | at | bytes | field | refused by [`Header::parse`] |
//! | --- | --- | --- | --- |
//! | 0 | 4 | aggregation method, [`Aggregation::code`]; above 1,024 [`Header::last_update`] | 0, 9 to 1,024 |
//! | 4 | 4 | maximal retention, seconds | - |
//! | 8 | 4 | x-files factor, IEEE 754 single | NaN, below 0, above 1 |
//! | 12 | 4 | number of archives, n | 0, or above [`Header::ARCHIVES_MAX`] |
//! | 16 + 12 i | 4 | offset of archive i in the file | inside the header, or inside another archive |
//! | 20 + 12 i | 4 | its seconds per point | 0 |
//! | 24 + 12 i | 4 | its number of points | 0, or reaching behind the end of the file |
//!
//! A file that whisper before 0.9.9 created begins with the time of its last update and is rolled up by
//! average. Such a file is read, filled and updated in that way, and its first field is kept.
//!
//! A file that is shorter than 16 + 12 n bytes is refused as cut off. All this is checked before any field is
//! used or any memory is allocated. Some unusual files are accepted, because carbon would serve them:
//! archives in any order, seconds per point that do not divide each other (then nothing is rolled up between
//! those two archives), gaps, bytes after the last archive, and a maximal retention that differs from that of
//! the longest archive. The maximal retention is used as in whisper.py: [`WhisperFile::update`] writes
//! nothing older, and [`WhisperFile::fetch`] returns nothing older. Whether a slot is valid
//! ([`ArchiveView::valid`]) depends on the retention of its own archive.
//!
//! An archive is a ring of slots of 12 bytes, each a timestamp (4 bytes, Unix seconds) and a value (IEEE 754
//! double). The timestamp in the first slot is the *base*; 0 means that nothing was ever written. The slot of
//! time `t`, a multiple of the seconds per point, is number `((t - base) / seconds per point) mod points`,
//! and holds a point only if the timestamp stored there is `t`.
//!
//! A file that begins with `whisper_compressed` is in go-carbon's compressed format. [`is_compressed`]
//! recognises it; its points are never read.
//!
//! `D1` to `D49` in comments and names of tests are the known defects of the Go tool; the list is in
//! `docs/internals/compatibility.md`.

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
pub mod in_place;
pub mod large;
pub mod late;
pub mod lease;
pub mod lock;
pub mod modify;
pub mod modify_file;
pub mod name;
mod new_file;
pub mod points_window;
pub mod reshape;
pub mod retention;
pub mod salvage;
pub mod sidecar;
pub mod slots;
pub mod sparse;
pub mod sparsify;
pub mod summary;
pub mod update;

pub use aggregation::{Aggregation, AggregationSix, UnknownAggregation, UnknownAggregationSix};
pub use create::{CreateError, CreateOptions, FileLayout, create};
pub use diff::{ArchiveDiff, Difference, diff};
pub use digest::{Digest, DigestBuilder, DigestParseError};
pub use fetch::{FetchError, Fetched};
pub use file::{OpenError, OpenMode, WhisperFile, info};
pub use fill::{
    ArchiveCoverage, ArchiveFill, Clocks, Coverage, FillOptions, FillPlan, PointMap, Run, fill,
};
pub use fill_file::{FillFileError, FillOutcome, FilledFile, fill_file, salvage_file};
pub use header::{Archive, Header, HeaderError, is_compressed};
pub use image::{ArchiveView, Image, ImageError, Point};
pub use in_place::{Written, write_in_place};
pub use large::{
    BLOCK_DIGESTS_MOST_BYTES, BlockDigests, Carried, LARGE_FILL_BYTES, LargeBytes, LargeFill,
    LargeFillError, LostPoints, UnfitError, carry_late, coverage_large, fill_large, large_header,
    lost_by_reshape, preview_large, reshape_large,
};
pub use late::{LatePoint, points_that_came};
pub use lease::{Lease, LeaseError, is_of_this_machine, past_leases};
pub use lock::{LockError, lock_exclusive, lock_shared, unlock};
pub use modify::{Modification, Modified, ModifyError, OlderSlots, Resize, modify};
pub use modify_file::{
    LateError, ModifyFileError, ModifyOutcome, Patience, modify_file, reshape_file,
};
pub use name::{MetricName, NameError, NotAddressable, Series};
pub use points_window::{PointsWindow, WindowPoints, points_in_window};
pub use reshape::{Layout, ReshapeError, reshape, reshaped_len_bytes};
pub use retention::{
    Retention, RetentionError, RetentionParseError, XFilesFactor, XFilesFactorOutOfRange,
    XFilesFactorParseError, validate_retentions,
};
pub use salvage::{Salvaged, cut_from, salvage, whole_slots};
pub use sidecar::late_points_of;
pub use slots::AccessError;
pub use sparse::write_sparse;
pub use sparsify::{KeepOut, SparsifyError, sparsify, zero_bytes};
pub use summary::{ArchiveSummary, Filled, PointSummary, Summarizer, Summary, Window};
pub use update::UpdateError;
