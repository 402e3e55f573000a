//! Where a metric belongs: on this node whatever the ring says, on its owners, or nobody can tell.
//!
//! `place` is the rule, and both programs use it. It is pure: a ring, a name and the series that are known go in, the
//! owners come out. What a relay hashed is the series, not the file's name, and a tagged file may be named by the SHA-256
//! of its series (carbon's and go-carbon's default). Such a file is placed by the series whose hash is its name, and by
//! nothing else (`series`). `list` reads the file of `--series`, in which the operator gives those series.

mod list;
mod place;
mod series;

pub use self::list::{NotSeries, SeriesCounts, SeriesList, SeriesListError};
pub use self::place::{KnownSeries, NoSeries, Place, key, place};
pub use self::series::{HashedSeries, SeriesHash};
