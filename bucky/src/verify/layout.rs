//! The layout of a file as text that can be compared and counted.

use bucky_api::LayoutDigest;
use bucky_whisper::{Aggregation, Archive, Header, XFilesFactor};

/// Two copies of a metric whose headers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayoutDifference {
    /// The owner.
    pub(crate) owner: usize,
    /// The node with the other copy.
    pub(crate) other: usize,
    /// The layout of the owner's file.
    pub(crate) owners: String,
    /// The layout of the other file.
    pub(crate) others: String,
}

impl LayoutDifference {
    /// The difference between the files of two nodes, or `None` if they agree.
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

/// The layout of a file from what its node reported, like [`text`].
pub(crate) fn text_of(layout: &LayoutDigest) -> String {
    let archives = layout.archives.iter().map(|archive| Archive {
        // The offset is not part of the text.
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
        // A value that this program does not know is shown as it came.
        _ => format!("{layout:?}"),
    }
}
