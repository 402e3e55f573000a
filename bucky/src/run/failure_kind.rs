//! The kinds of failure, by which they are counted, named and acted on.

use std::cmp::Ordering;
use std::fmt;

use bucky_api::{HealLine, Problem};

use super::schemas::is_of_schema;

/// What kept a metric from being moved, or its source from being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FailureKind {
    /// A node does not answer.
    NodeAway,
    /// The destination has no room, which closes it for the run.
    NoSpace,
    /// The metric is where it belongs, and also still at a source that something writes to.
    StillWrittenTo,
    /// The metric is where it belongs, and its source did not delete it.
    NotDeleted,
    /// The metric is where it belongs, and was not deleted because of a clock.
    ClockDiffers,
    /// The metric is where it belongs, and stays at its source because go-carbon keeps late points of it
    /// there.
    LatePoints,
    /// Points have no place at an owner, because another storage schema made the file there. It is reported
    /// for each pair of schemas.
    OtherSchema,
    /// The source has no such file.
    SourceMissing,
    /// The source's file is not a valid Whisper file.
    SourceDamaged,
    /// The source's file cannot be read.
    SourceUnreadable,
    /// The owner's file is not a valid Whisper file.
    OwnerDamaged,
    /// One of two files is compressed.
    Compressed,
    /// Another process holds a lock.
    Busy,
    /// The content that arrived is not what was sent.
    DamagedOnTheWay,
    /// The path of the file cannot be used.
    BadPath,
    /// The stream ended before the metric was complete.
    CutOff,
    /// The file is longer than a transfer may be.
    TooLarge,
    /// Points have no place at an owner, and not only because of its schema: newer timestamps are in their
    /// slots, or the source has two archives of one resolution.
    NoPlace,
    /// The token does not allow it.
    NotAllowed,
    /// The file system failed, or the daemon did not say what did.
    Storage,
    /// The source was written to during each attempt.
    KeepsChanging,
    /// No member of the cluster owns it.
    NoOwner,
    /// A daemon's answer does not mention it.
    NoAnswer,
    /// The exchange of two nodes failed.
    TransferFailed,
    /// It was stored under another name than it should have been.
    WrongName,
    /// A Go daemon's fill left out points.
    IncompleteFill,
    /// The run was stopped before its turn.
    NotTried,
}

impl FailureKind {
    /// The word for it in summaries.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NodeAway => "node not reachable",
            Self::NoSpace => "no space",
            Self::StillWrittenTo => "still written to",
            Self::NotDeleted => "not deleted",
            Self::ClockDiffers => "clock differs",
            Self::LatePoints => "late points beside it",
            Self::OtherSchema => "of another schema",
            Self::SourceMissing => "source missing",
            Self::SourceDamaged => "source damaged",
            Self::SourceUnreadable => "source unreadable",
            Self::OwnerDamaged => "owner's file damaged",
            Self::Compressed => "compressed",
            Self::Busy => "busy",
            Self::DamagedOnTheWay => "damaged on the way",
            Self::BadPath => "bad path",
            Self::CutOff => "cut off",
            Self::TooLarge => "too large",
            Self::NoPlace => "no place",
            Self::NotAllowed => "not allowed",
            Self::Storage => "storage",
            Self::KeepsChanging => "keeps changing",
            Self::NoOwner => "no owner",
            Self::NoAnswer => "no answer",
            Self::TransferFailed => "transfer failed",
            Self::WrongName => "wrong name",
            Self::IncompleteFill => "incomplete fill",
            Self::NotTried => "not tried",
        }
    }

    /// The kind of a problem that a daemon reported.
    pub(crate) fn of(problem: Option<Problem>) -> Self {
        match problem {
            Some(Problem::SourceMissing) => Self::SourceMissing,
            Some(Problem::SourceDamaged) => Self::SourceDamaged,
            Some(Problem::SourceUnreadable) => Self::SourceUnreadable,
            Some(Problem::DestinationDamaged) => Self::OwnerDamaged,
            Some(Problem::Compressed) => Self::Compressed,
            Some(Problem::Busy) => Self::Busy,
            Some(Problem::DigestMismatch) => Self::DamagedOnTheWay,
            Some(Problem::NoSpace) => Self::NoSpace,
            Some(Problem::BadPath) => Self::BadPath,
            Some(Problem::CutOff) => Self::CutOff,
            Some(Problem::TooLarge) => Self::TooLarge,
            Some(Problem::NoPlace) => Self::NoPlace,
            Some(Problem::Forbidden) => Self::NotAllowed,
            Some(Problem::LatePoints) => Self::LatePoints,
            Some(Problem::Storage) | None => Self::Storage,
        }
    }

    /// The kind of what an owner's line reports.
    pub(crate) fn of_line(line: &HealLine) -> Self {
        let is_of_schema = line.problem == Some(Problem::NoPlace) && is_of_schema(line);
        if is_of_schema { Self::OtherSchema } else { Self::of(line.problem) }
    }

    /// Whether the metric was copied, and only not deleted.
    pub(crate) fn is_of_delete(self) -> bool {
        matches!(
            self,
            Self::NotDeleted | Self::StillWrittenTo | Self::ClockDiffers | Self::LatePoints
        )
    }

    /// Whether another source may help: the fault may be with this one, or between it and the owner.
    pub(crate) fn may_be_of_source(self) -> bool {
        matches!(
            self,
            Self::TransferFailed
                | Self::DamagedOnTheWay
                | Self::CutOff
                | Self::SourceMissing
                | Self::SourceDamaged
                | Self::SourceUnreadable
                | Self::TooLarge
        )
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// In the order of their words, which is the order of summaries.
impl Ord for FailureKind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.word().cmp(other.word())
    }
}

impl PartialOrd for FailureKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
