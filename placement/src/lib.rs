//! Where a metric belongs: on its owners, on this node whatever the ring says, or unknown.
//!
//! `place` is the rule, and both programs use it. It is pure: it takes a ring, a name and the known series,
//! and returns the owners. A relay hashes the series, not the file's name, and a tagged file may be named by
//! the SHA-256 of its series (the default of carbon and go-carbon). Such a file is placed only by the series
//! whose hash is its name (`series`). `list` reads the file of `--series`, in which the operator lists those
//! series.

mod list;
mod place;
mod series;

pub use self::list::{NotSeries, SeriesCounts, SeriesList, SeriesListError};
pub use self::place::{Key, KnownSeries, NoSeries, Place, key, place};
pub use self::series::{HashedSeries, SeriesHash};
