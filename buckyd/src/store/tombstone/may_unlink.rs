//! The one decision about a tombstone: may it be unlinked, or why must it wait? Pure.
//!
//! A tombstone may be the last copy of its points. So an answer counts only if it was given, is about the
//! content that the file has now, and says that nothing of it is missing. Everything else waits.

use std::collections::BTreeMap;
use std::fmt;

use bucky_api::DaemonAddr;
use bucky_whisper::{Digest, ImageError};

use super::Tombstone;
use crate::store::stamp::Stamp;

/// What kind of file a tombstone is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TombstoneKind {
    /// A valid Whisper file: its owners must hold each of its points.
    Whisper,
    /// In go-carbon's compressed format: only a file with the same content holds its points.
    Compressed,
    /// Neither: which points its owners must hold cannot be determined.
    NotWhisper,
}

impl TombstoneKind {
    /// The kind of a file, by the result of parsing it.
    pub(crate) fn of(parsed: Result<(), ImageError>) -> Self {
        match parsed {
            Ok(()) => Self::Whisper,
            Err(ImageError::Compressed) => Self::Compressed,
            Err(ImageError::Header(_)) => Self::NotWhisper,
        }
    }
}

/// A tombstone's file as it was read before its owners were asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TombstoneFile {
    /// The digest of its content.
    pub(crate) digest: Digest,
    /// What kind of file it is.
    pub(crate) kind: TombstoneKind,
    /// The stamp that the file keeps unless a process writes to it. `None` if it was written to too recently.
    pub(crate) settled: Option<Stamp>,
}

/// The answer about one tombstone from one of the nodes that must hold its points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The file there has the same content, or holds each of the tombstone's points.
    Holds,
    /// A heal from the tombstone found that no point was missing.
    NothingMissing {
        /// The digest of the content that was healed from.
        from: Digest,
        /// The number of points that have no place in the file there.
        without_place: u64,
    },
    /// Points were missing, and were sent again. That is no confirmation: carbon may create a file, and empty
    /// it, at the same moment. The next round asks again.
    HealedAgain,
    /// The tombstone's file changed while the answer was made.
    WrittenTo,
    /// The points are not there, or whether they are is unknown: the reason.
    No(String),
}

/// All answers about one tombstone.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// What its owners answered. An owner that said nothing about it is not in here, unless the exchange
    /// failed: then it is there with [`Answer::No`].
    pub(crate) owners: BTreeMap<DaemonAddr, Answer>,
    /// For a tombstone without owners, the old file of a reshaped metric: what the metric's own file here
    /// has.
    pub(crate) here: Option<Answer>,
}

/// Why a tombstone must wait. Tombstones with the same cause have the same text, so that they can be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// It is not a Whisper file.
    NotWhisper,
    /// Its content is no longer what was confirmed.
    WrittenTo,
    /// This owner said nothing about it.
    NoAnswer(DaemonAddr),
    /// This owner has no place for points that had a place there when the source was deleted.
    LostPlace(DaemonAddr),
    /// This owner lacked points, and was sent them again.
    HealedAgain(DaemonAddr),
    /// The metric's own file was not checked.
    NotCheckedHere,
    /// A writer put points into the old file after the metric was reshaped; the metric's file has them now.
    WrittenAfterReshape,
    /// Another reason, from an answer.
    Because(String),
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWhisper => f.write_str(
                "it is not a valid Whisper file, so the points that its owners must hold cannot be determined; check \
                 the file in the folder of tombstones, and remove it if you do not need it",
            ),
            Self::WrittenTo => f.write_str("a writer still writes to it"),
            Self::NoAnswer(owner) => write!(f, "{owner} did not confirm it"),
            Self::LostPlace(owner) => write!(
                f,
                "{owner} has no place for points that had one when the source was deleted: its file was created again \
                 with another schema"
            ),
            Self::HealedAgain(owner) => {
                write!(f, "{owner} lacked points and was healed again; it is asked again")
            }
            Self::NotCheckedHere => f.write_str("the metric's own file was not checked"),
            Self::WrittenAfterReshape => {
                f.write_str("it was written to after its metric was reshaped; it is checked again")
            }
            Self::Because(reason) => f.write_str(reason),
        }
    }
}

/// A tombstone that may be unlinked while its content stays what was confirmed. Only [`may_unlink`] makes
/// one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfirmedTombstone {
    seq: usize,
    digest: Digest,
    settled: Option<Stamp>,
}

impl ConfirmedTombstone {
    /// Its number in its batch.
    pub(super) fn seq(&self) -> usize {
        self.seq
    }

    /// The digest of the content that was confirmed.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// The stamp of the file if it has one. `None` if the content must be read again.
    pub(super) fn settled(&self) -> Option<Stamp> {
        self.settled
    }
}

/// Decides whether `tombstone` may be unlinked: every owner must have answered that it has all of what `file`
/// holds. For a tombstone without owners, the metric's own file must.
///
/// # Errors
/// [`Waits`], for the first owner in the tombstone's order that does not confirm it.
pub(crate) fn may_unlink(
    tombstone: &Tombstone,
    file: &TombstoneFile,
    answers: &Answers,
) -> Result<ConfirmedTombstone, Waits> {
    if file.kind == TombstoneKind::NotWhisper {
        return Err(Waits::NotWhisper);
    }
    if tombstone.owners.is_empty() {
        confirmed_here(file, answers.here.as_ref())?;
    }
    for owner in &tombstone.owners {
        let answer = answers.owners.get(owner);
        confirmed_by(owner, answer, tombstone.points_given_up, file)?;
    }
    Ok(ConfirmedTombstone { seq: tombstone.seq, digest: file.digest, settled: file.settled })
}

fn confirmed_by(
    owner: &DaemonAddr,
    answer: Option<&Answer>,
    points_given_up: u64,
    file: &TombstoneFile,
) -> Result<(), Waits> {
    match answer {
        Some(Answer::Holds) => Ok(()),
        Some(Answer::NothingMissing { from, .. }) if *from != file.digest => Err(Waits::WrittenTo),
        Some(Answer::NothingMissing { without_place, .. }) if *without_place > points_given_up => {
            Err(Waits::LostPlace(owner.clone()))
        }
        Some(Answer::NothingMissing { .. }) => Ok(()),
        Some(Answer::HealedAgain) => Err(Waits::HealedAgain(owner.clone())),
        Some(Answer::WrittenTo) => Err(Waits::WrittenTo),
        Some(Answer::No(reason)) => Err(Waits::Because(reason.clone())),
        None => Err(Waits::NoAnswer(owner.clone())),
    }
}

/// The metric's own file is reshaped by the tombstone if it lacks places, so no point may be without one.
fn confirmed_here(file: &TombstoneFile, answer: Option<&Answer>) -> Result<(), Waits> {
    match answer {
        Some(Answer::Holds) => Ok(()),
        Some(Answer::NothingMissing { from, .. }) if *from != file.digest => Err(Waits::WrittenTo),
        Some(Answer::NothingMissing { without_place: 0, .. }) => Ok(()),
        Some(Answer::NothingMissing { .. } | Answer::HealedAgain) => {
            Err(Waits::WrittenAfterReshape)
        }
        Some(Answer::WrittenTo) => Err(Waits::WrittenTo),
        Some(Answer::No(reason)) => Err(Waits::Because(reason.clone())),
        None => Err(Waits::NotCheckedHere),
    }
}

/// A tombstone that each of its owners has confirmed with this content, for tests of the unlink itself.
#[cfg(test)]
pub(crate) fn confirmed(
    tombstone: &Tombstone,
    digest: Digest,
    settled: Option<Stamp>,
) -> ConfirmedTombstone {
    let owners = tombstone.owners.iter().map(|owner| (owner.clone(), Answer::Holds)).collect();
    let file = TombstoneFile { digest, kind: TombstoneKind::Whisper, settled };
    may_unlink(tombstone, &file, &Answers { owners, here: Some(Answer::Holds) }).unwrap()
}

#[cfg(test)]
mod tests {
    use bucky_api::OnSchemaDifference;

    use super::*;

    fn digest() -> Digest {
        Digest::of(b"what it holds")
    }

    fn owner(name: &str) -> DaemonAddr {
        format!("{name}:4242").parse().unwrap()
    }

    fn tombstone(owners: &[&str]) -> Tombstone {
        Tombstone {
            seq: 3,
            metric: "a.b".parse().unwrap(),
            digest: digest(),
            owners: owners.iter().map(|name| owner(name)).collect(),
            on_schema_difference: OnSchemaDifference::Keep,
            points_given_up: 2,
        }
    }

    fn file(kind: TombstoneKind) -> TombstoneFile {
        TombstoneFile { digest: digest(), kind, settled: None }
    }

    fn of_owners(answers: &[(&str, Answer)]) -> Answers {
        let owners = answers.iter().map(|(name, answer)| (owner(name), answer.clone())).collect();
        Answers { owners, here: None }
    }

    fn nothing_missing(from: Digest, without_place: u64) -> Answer {
        Answer::NothingMissing { from, without_place }
    }

    fn decided(owners: &[&str], answers: &Answers) -> Result<(), Waits> {
        may_unlink(&tombstone(owners), &file(TombstoneKind::Whisper), answers).map(drop)
    }

    #[test]
    fn each_owner_must_confirm() {
        let both = of_owners(&[("a", Answer::Holds), ("b", nothing_missing(digest(), 0))]);
        assert_eq!(decided(&["a", "b"], &both), Ok(()));
        let one = of_owners(&[("a", Answer::Holds)]);
        assert_eq!(decided(&["a", "b"], &one), Err(Waits::NoAnswer(owner("b"))));
        assert_eq!(decided(&["a"], &Answers::default()), Err(Waits::NoAnswer(owner("a"))));
        // The answer of a node that is not an owner does not count, nor does that of the file here.
        let other = Answers { here: Some(Answer::Holds), ..of_owners(&[("c", Answer::Holds)]) };
        assert_eq!(decided(&["a"], &other), Err(Waits::NoAnswer(owner("a"))));
    }

    #[test]
    fn the_content_that_was_read_is_the_one_confirmed() {
        let answers = of_owners(&[("a", Answer::Holds)]);
        for kind in [TombstoneKind::Whisper, TombstoneKind::Compressed] {
            let confirmed = may_unlink(&tombstone(&["a"]), &file(kind), &answers).unwrap();
            assert_eq!((confirmed.seq(), confirmed.digest()), (3, digest()));
        }
    }

    #[test]
    fn a_file_that_is_not_a_whisper_file_waits_whatever_is_answered() {
        let answers = Answers { here: Some(Answer::Holds), ..of_owners(&[("a", Answer::Holds)]) };
        for owners in [&["a"][..], &[]] {
            let decided =
                may_unlink(&tombstone(owners), &file(TombstoneKind::NotWhisper), &answers);
            assert_eq!(decided.map(drop), Err(Waits::NotWhisper));
        }
    }

    #[test]
    fn an_answer_about_other_content_does_not_count() {
        let other = nothing_missing(Digest::of(b"other"), 0);
        let answers = of_owners(&[("a", other.clone())]);
        assert_eq!(decided(&["a"], &answers), Err(Waits::WrittenTo));
        let here = Answers { here: Some(other), ..Answers::default() };
        assert_eq!(decided(&[], &here), Err(Waits::WrittenTo));
        let changed = of_owners(&[("a", Answer::WrittenTo)]);
        assert_eq!(decided(&["a"], &changed), Err(Waits::WrittenTo));
    }

    #[test]
    fn no_more_points_may_lose_their_place_than_were_given_up() {
        let with = |without_place| of_owners(&[("a", nothing_missing(digest(), without_place))]);
        assert_eq!(decided(&["a"], &with(2)), Ok(()));
        assert_eq!(decided(&["a"], &with(3)), Err(Waits::LostPlace(owner("a"))));
    }

    #[test]
    fn an_owner_that_was_healed_again_is_asked_again() {
        let answers = of_owners(&[("a", Answer::Holds), ("b", Answer::HealedAgain)]);
        assert_eq!(decided(&["a", "b"], &answers), Err(Waits::HealedAgain(owner("b"))));
    }

    #[test]
    fn the_old_file_of_a_reshaped_metric_needs_the_metrics_own_file() {
        let here = |answer| Answers { here: Some(answer), ..Answers::default() };
        assert_eq!(decided(&[], &here(Answer::Holds)), Ok(()));
        assert_eq!(decided(&[], &here(nothing_missing(digest(), 0))), Ok(()));
        assert_eq!(decided(&[], &Answers::default()), Err(Waits::NotCheckedHere));
        assert_eq!(decided(&[], &of_owners(&[("a", Answer::Holds)])), Err(Waits::NotCheckedHere));
        for answer in [Answer::HealedAgain, nothing_missing(digest(), 1)] {
            assert_eq!(decided(&[], &here(answer)), Err(Waits::WrittenAfterReshape));
        }
        let no = Answer::No("its disk is gone".into());
        assert_eq!(decided(&[], &here(no)), Err(Waits::Because("its disk is gone".into())));
    }
}
