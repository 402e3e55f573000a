//! The files that the storage schemas of a cluster's old nodes and of a new node create for a metric: equal
//! or different.

use bucky_whisper::Aggregation;

use crate::metrics::{Layout, MINUTES};

/// The schemas of the nodes for one kind of metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schemas {
    /// The last part of the metric's name is this text and its number: carbon finds the schema by it.
    pub kind: &'static str,
    /// The layout that carbon uses on the nodes of the old ring.
    pub old: Layout,
    /// The layout that it uses on a new node.
    pub new: Layout,
}

/// Some metrics have the same layout on all nodes. On a new node, others have a shorter retention, other
/// steps, or more or fewer archives. The points of both files of a metric fit into one file.
pub const MIXED: [Schemas; 6] = [
    Schemas::same("same", MINUTES),
    Schemas { kind: "shorter", old: MINUTES, new: averages("1m:6h") },
    Schemas { kind: "coarser", old: MINUTES, new: averages("5m:2d") },
    Schemas { kind: "fewer", old: averages("1m:1d,10m:4d"), new: MINUTES },
    Schemas { kind: "more", old: MINUTES, new: averages("1m:6h,10m:4d") },
    Schemas { kind: "finer", old: averages("5m:2d"), new: MINUTES },
];

const fn averages(retentions: &'static str) -> Layout {
    Layout { retentions, aggregation: Aggregation::Average, x_files_factor: 0.5 }
}

impl Schemas {
    /// A kind of metric with the same layout on all nodes.
    pub const fn same(kind: &'static str, layout: Layout) -> Self {
        Self { kind, old: layout, new: layout }
    }

    /// The layout on a node that is new or not.
    pub fn on(&self, is_new: bool) -> &Layout {
        if is_new { &self.new } else { &self.old }
    }

    /// The coarser of the finest steps: a point at a multiple of it has its own slot in the file of any node.
    pub fn common_step(&self) -> u32 {
        self.finest().map(|(step, _)| step).into_iter().max().unwrap_or(1)
    }

    /// The finer of the finest steps.
    pub fn finest_step(&self) -> u32 {
        self.finest().map(|(step, _)| step).into_iter().min().unwrap_or(1)
    }

    /// How many seconds the finest archives of both files reach back.
    pub fn common_reach(&self) -> u32 {
        self.finest().map(|(_, reach)| reach).into_iter().min().unwrap_or(0)
    }

    /// How many seconds the longer of the finest archives reaches back.
    pub fn longest_reach(&self) -> u32 {
        self.finest().map(|(_, reach)| reach).into_iter().max().unwrap_or(0)
    }

    /// Step and reach of both finest archives.
    fn finest(&self) -> [(u32, u32); 2] {
        [&self.old, &self.new].map(|layout| {
            let finest = layout.archives()[0];
            (finest.seconds_per_point(), finest.seconds_per_point() * finest.points())
        })
    }
}
