//! Compares the copies of one metric by the digests that their nodes reported.
//!
//! Pure. The digests decide only what they prove: that two copies have the same content, or that their
//! archives have points at the same times. If they prove nothing, the copies are not reported as equal.

use bucky_api::{ArchiveDigest, DigestFound, LayoutDigest};

use super::copies::{Comparison, CopyState, Lacking};
use super::layout::{self, LayoutDifference};
use crate::holders::MetricPlace;

/// The result for a metric that belongs at `place`, or `None` if the contents must be compared.
pub(crate) fn judge(place: &MetricPlace, found: &[(usize, DigestFound)]) -> Option<Comparison> {
    let (examined, undecided) = look(place, found);
    undecided.is_empty().then_some(examined)
}

/// The result as far as the digests prove it; and the pairs of an owner and another node whose contents must
/// be compared.
pub(crate) fn look(
    place: &MetricPlace,
    found: &[(usize, DigestFound)],
) -> (Comparison, Vec<(usize, usize)>) {
    let (mut examined, mut undecided) = (Comparison::default(), Vec::new());
    for (node, found) in found {
        if let Some(bytes) = bytes(found) {
            examined.copies += 1;
            examined.bytes += bytes;
        }
        if let DigestFound::Whole { points, .. } = found {
            examined.points += points;
        }
        examined.states.push((*node, state(found)));
    }
    for (owner, owned) in found.iter().filter(|(node, _)| place.is_owner(*node)) {
        for (other, copy) in found.iter().filter(|(node, _)| node != owner) {
            let are_owners = place.is_owner(*other);
            // Each pair of owners occurs twice.
            if !are_owners || owner < other {
                examined.layouts.extend(layouts((*owner, owned), (*other, copy)));
            }
            match compare(owned, copy, are_owners) {
                Compared::NothingLacks => {}
                Compared::Unknown => undecided.push((*owner, *other)),
                Compared::Incomparable => {
                    let (owner, other) = (*owner, *other);
                    examined.lacking.push(Lacking {
                        owner,
                        other,
                        archives: None,
                        without_place: 0,
                        unplaced: Vec::new(),
                    });
                }
            }
        }
    }
    (examined, undecided)
}

/// The result of comparing two copies.
enum Compared {
    /// The owner lacks nothing that the other has.
    NothingLacks,
    /// They differ, and one of them is compressed.
    Incomparable,
    /// The digests do not decide it.
    Unknown,
}

fn compare(owner: &DigestFound, other: &DigestFound, are_owners: bool) -> Compared {
    use DigestFound::{Compressed, Damaged, Unread, Whole};
    match (owner, other) {
        // A corrupt or unreadable copy has a finding of its own.
        (Damaged { .. } | Unread { .. }, _) | (_, Damaged { .. } | Unread { .. }) => {
            Compared::NothingLacks
        }
        (Whole { digest, .. } | Compressed { digest, .. }, Whole { digest: same, .. })
        | (Whole { digest, .. } | Compressed { digest, .. }, Compressed { digest: same, .. })
            if digest == same =>
        {
            Compared::NothingLacks
        }
        (Compressed { .. }, _) | (_, Compressed { .. }) => Compared::Incomparable,
        (Whole { layout: Some(owner), .. }, Whole { layout: Some(other), .. })
            if lacks_nothing(owner, other, are_owners) =>
        {
            Compared::NothingLacks
        }
        (Whole { .. }, Whole { .. }) => Compared::Unknown,
    }
}

/// Whether the digests prove that `owner` has a point wherever `other` has one; between owners, the newest
/// points are left out.
fn lacks_nothing(owner: &LayoutDigest, other: &LayoutDigest, are_owners: bool) -> bool {
    let filled = |archive: &ArchiveDigest| if are_owners { archive.settled } else { archive.all };
    if other.archives.iter().all(|archive| filled(archive).points == 0) {
        return true;
    }
    let agree = |(owner, other): (&ArchiveDigest, &ArchiveDigest)| {
        owner.seconds_per_point == other.seconds_per_point
            && owner.slots == other.slots
            && filled(owner) == filled(other)
    };
    owner.archives.len() == other.archives.len()
        && owner.archives.iter().zip(&other.archives).all(agree)
}

/// The difference of the headers, if both nodes reported them. They do not if the contents are equal.
fn layouts(owner: (usize, &DigestFound), other: (usize, &DigestFound)) -> Option<LayoutDifference> {
    use DigestFound::Whole;
    let (Whole { layout: Some(owned), .. }, Whole { layout: Some(copy), .. }) = (owner.1, other.1)
    else {
        return None;
    };
    let (owned, copy) = (layout::text_of(owned), layout::text_of(copy));
    LayoutDifference::of((owner.0, &owned), (other.0, &copy))
}

fn bytes(found: &DigestFound) -> Option<u64> {
    match found {
        DigestFound::Whole { bytes, .. }
        | DigestFound::Compressed { bytes, .. }
        | DigestFound::Damaged { bytes, .. } => Some(*bytes),
        DigestFound::Unread { .. } => None,
    }
}

fn state(found: &DigestFound) -> CopyState {
    match found {
        DigestFound::Whole { .. } => CopyState::Sound,
        DigestFound::Compressed { .. } => CopyState::Compressed,
        DigestFound::Damaged { reason, .. } => CopyState::Corrupt(reason.clone()),
        DigestFound::Unread { problem, reason } => CopyState::Absent(*problem, reason.clone()),
    }
}

#[cfg(test)]
mod tests;
