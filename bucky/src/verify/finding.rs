//! What can be wrong with a metric, and what it is called.

use serde::Serialize;

/// Something that is wrong with one copy of one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MetricFinding {
    /// The metric.
    pub(crate) metric: String,
    /// The node, as `HOST:PORT`; empty if the finding is not about one node.
    pub(crate) node: String,
    /// What is wrong.
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What is wrong, with nodes as indexes of the members.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FindingKind {
    /// The copy is on a node that does not own the metric.
    Misplaced,
    /// An owner has no copy.
    Missing,
    /// The owner's copy lacks points that a misplaced copy has.
    Lacks { other: usize, archives: Vec<LackingArchive>, without_place: u64 },
    /// A misplaced copy has points for which the owner's file has no slots.
    NoPlace { other: usize, archives: Vec<UnplacedArchive> },
    /// An owner's copy lacks points that another owner's copy has.
    ReplicasDiffer { other: usize, archives: Vec<LackingArchive> },
    /// The headers of an owner's file and of another copy differ.
    LayoutsDiffer { other: usize, layout: String, others: String },
    /// Two copies differ and cannot be compared, because one of them is compressed.
    Incomparable { other: usize },
    /// The file is not a valid Whisper file.
    Corrupt { reason: String },
    /// The file could not be read.
    Unreadable { reason: String },
    /// It was listed, and no node has it any more.
    Gone,
}

/// What is wrong, with nodes as addresses, for output.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum What {
    /// See [`FindingKind::Misplaced`].
    Misplaced { owners: Vec<String> },
    /// See [`FindingKind::Missing`].
    Missing,
    /// See [`FindingKind::Lacks`].
    Lacks { other: String, points: u64, without_place: u64, archives: Vec<LackingArchive> },
    /// See [`FindingKind::NoPlace`].
    NoPlace { other: String, points: u64, archives: Vec<UnplacedArchive> },
    /// See [`FindingKind::LayoutsDiffer`].
    LayoutsDiffer { other: String, layout: String, others: String },
    /// See [`FindingKind::ReplicasDiffer`].
    ReplicasDiffer { other: String, points: u64, archives: Vec<LackingArchive> },
    /// See [`FindingKind::Incomparable`].
    Incomparable { other: String },
    /// See [`FindingKind::Corrupt`].
    Corrupt { reason: String },
    /// See [`FindingKind::Unreadable`].
    Unreadable { reason: String },
    /// See [`FindingKind::Gone`].
    Gone,
    /// It was selected by name, and no node has it.
    NotFound,
    /// A Go daemon lists it, and it is not a metric's name.
    Unusable { reason: String },
}

/// Points that an archive lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LackingArchive {
    /// The resolution of the archive, in seconds.
    pub(crate) seconds_per_point: u32,
    /// How many points.
    pub(crate) points: u64,
    /// The oldest of them, in Unix seconds.
    pub(crate) first: u32,
    /// The newest of them, in Unix seconds.
    pub(crate) last: u32,
}

/// Points of an archive that have no place at the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct UnplacedArchive {
    /// The resolution of the archive, in seconds.
    pub(crate) seconds_per_point: u32,
    /// How many points.
    pub(crate) points: u64,
    /// The oldest of them, in Unix seconds.
    pub(crate) first: u32,
    /// The newest of them, in Unix seconds.
    pub(crate) last: u32,
    /// Whether the owner's file has an archive of this resolution, which is too short.
    pub(crate) has_archive: bool,
}

impl FindingKind {
    /// Whether the metric is not in place because of it. Otherwise its copies only differ from each other.
    pub(crate) fn is_misplacement(&self) -> bool {
        !matches!(self, Self::ReplicasDiffer { .. } | Self::LayoutsDiffer { .. })
    }

    /// Replaces indexes by addresses; `addr` gives the address of a member.
    pub(crate) fn with_addresses(self, owners: &[usize], addr: impl Fn(usize) -> String) -> What {
        let points = |archives: &[LackingArchive]| archives.iter().map(|one| one.points).sum();
        match self {
            Self::Misplaced => {
                What::Misplaced { owners: owners.iter().map(|owner| addr(*owner)).collect() }
            }
            Self::Missing => What::Missing,
            Self::Lacks { other, archives, without_place } => What::Lacks {
                other: addr(other),
                points: points(&archives),
                without_place,
                archives,
            },
            Self::ReplicasDiffer { other, archives } => {
                What::ReplicasDiffer { other: addr(other), points: points(&archives), archives }
            }
            Self::NoPlace { other, archives } => What::NoPlace {
                other: addr(other),
                points: archives.iter().map(|one| one.points).sum(),
                archives,
            },
            Self::LayoutsDiffer { other, layout, others } => {
                What::LayoutsDiffer { other: addr(other), layout, others }
            }
            Self::Incomparable { other } => What::Incomparable { other: addr(other) },
            Self::Corrupt { reason } => What::Corrupt { reason },
            Self::Unreadable { reason } => What::Unreadable { reason },
            Self::Gone => What::Gone,
        }
    }
}

impl What {
    /// The names of the kinds, in the order of the output: the worst loss of points first.
    pub(crate) const NAMES: [&'static str; 12] = [
        "lacks",
        "no_place",
        "corrupt",
        "unreadable",
        "gone",
        "missing",
        "misplaced",
        "incomparable",
        "not_found",
        "unusable",
        "replicas_differ",
        "layouts_differ",
    ];

    /// Whether this kind is a failure only with `--strict`: no move makes copies differ.
    pub(crate) fn is_difference(name: &str) -> bool {
        matches!(name, "replicas_differ" | "layouts_differ")
    }

    /// Its index in [`Self::NAMES`].
    pub(crate) fn number(&self) -> usize {
        match self {
            Self::Lacks { .. } => 0,
            Self::NoPlace { .. } => 1,
            Self::Corrupt { .. } => 2,
            Self::Unreadable { .. } => 3,
            Self::Gone => 4,
            Self::Missing => 5,
            Self::Misplaced { .. } => 6,
            Self::Incomparable { .. } => 7,
            Self::NotFound => 8,
            Self::Unusable { .. } => 9,
            Self::ReplicasDiffer { .. } => 10,
            Self::LayoutsDiffer { .. } => 11,
        }
    }

    /// The details for the output, beside metric and node.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Misplaced { owners } => format!("belongs to {}", owners.join(", ")),
            Self::Missing => "is an owner, but has no copy".into(),
            Self::Lacks { other, points, without_place, archives } => {
                let mut text =
                    format!("lacks {} that {other} has{}", points_text(*points), spans(archives));
                if *without_place > 0 {
                    text.push_str(&format!(
                        "; no place for {without_place} more, because their slots have newer timestamps"
                    ));
                }
                text
            }
            Self::NoPlace { other, points, archives } => {
                format!(
                    "has no place for {} of {other}{}",
                    points_text(*points),
                    unplaced_spans(archives)
                )
            }
            Self::LayoutsDiffer { other, layout, others } => {
                format!("keeps {layout}, and {other} keeps {others}")
            }
            Self::ReplicasDiffer { other, points, archives } => {
                let points = points_text(*points);
                format!("lacks {points} that the owner {other} has{}", spans(archives))
            }
            Self::Incomparable { other } => {
                format!(
                    "differs from the copy on {other}; they cannot be compared, because one of them is \
                         compressed"
                )
            }
            Self::Corrupt { reason } | Self::Unreadable { reason } | Self::Unusable { reason } => {
                reason.clone()
            }
            Self::Gone => "was listed, but then no node had it".into(),
            Self::NotFound => "no node has it".into(),
        }
    }
}

fn points_text(points: u64) -> String {
    format!("{points} {}", if points == 1 { "point" } else { "points" })
}

fn unplaced_spans(archives: &[UnplacedArchive]) -> String {
    let one = |archive: &UnplacedArchive| {
        let UnplacedArchive { seconds_per_point, points, first, last, has_archive } = archive;
        let reason = if *has_archive { "which is shorter here" } else { "which is not here" };
        format!("{points} of the {seconds_per_point} s archive, {reason}, {first} to {last}")
    };
    let texts: Vec<String> = archives.iter().map(one).collect();
    format!(" ({})", texts.join("; "))
}

fn spans(archives: &[LackingArchive]) -> String {
    let one = |archive: &LackingArchive| {
        let LackingArchive { seconds_per_point, points, first, last } = archive;
        format!("{points} of the {seconds_per_point} s archive, {first} to {last}")
    };
    let texts: Vec<String> = archives.iter().map(one).collect();
    if texts.is_empty() { String::new() } else { format!(" ({})", texts.join("; ")) }
}
