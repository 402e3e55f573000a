//! Arguments that several commands share, and how they are read.

pub(crate) mod batch;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod each_metric;
pub(crate) mod heading;
pub(crate) mod local;
pub(crate) mod map_file;
pub(crate) mod relay_file;
pub(crate) mod ring;
pub(crate) mod ring_file;
pub(crate) mod schema;
pub(crate) mod select;
pub(crate) mod series;
pub(crate) mod short_file;
pub(crate) mod sync;
pub(crate) mod units;
pub(crate) mod whole;
