//! How a file keeps its points, in words that can be compared and counted.

use bucky_api::LayoutDigest;
use bucky_whisper::{Aggregation, Archive, Header, XFilesFactor};

/// Two copies of a metric whose headers say different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayoutDifference {
    /// The owner.
    pub(crate) owner: usize,
    /// The node with the other copy.
    pub(crate) other: usize,
    /// What the owner's file says.
    pub(crate) owners: String,
    /// What the other file says.
    pub(crate) others: String,
}

impl LayoutDifference {
    /// The difference between the files of two nodes; none where they agree.
    pub(crate) fn of(owner: (usize, &str), other: (usize, &str)) -> Option<Self> {
        (owner.1 != other.1).then(|| Self {
            owner: owner.0,
            other: other.0,
            owners: owner.1.to_owned(),
            others: other.1.to_owned(),
        })
    }
}

/// The archives, the aggregation method and the x-files factor: `60s:30d,1h:5y, average, xff 0.5`.
pub(crate) fn text(header: &Header) -> String {
    format!("{}, {}, xff {}", header.layout(), header.aggregation, header.x_files_factor)
}

/// The same of a file of which its node told.
pub(crate) fn text_of(layout: &LayoutDigest) -> String {
    let archives = layout.archives.iter().map(|archive| Archive {
        // Where it lies makes no difference.
        offset: 0,
        seconds_per_point: archive.seconds_per_point,
        points: archive.slots,
    });
    let aggregation = Aggregation::from_code(layout.aggregation);
    let x_files_factor = XFilesFactor::new(layout.x_files_factor);
    match (aggregation, x_files_factor) {
        (Some(aggregation), Ok(x_files_factor)) => text(&Header {
            aggregation,
            last_update: None,
            max_retention: 0,
            x_files_factor,
            archives: archives.collect(),
        }),
        // What this program does not know it passes on as it came.
        _ => format!("{layout:?}"),
    }
}
