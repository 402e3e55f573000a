//! What the copies of one metric are by the figures that their nodes told.
//!
//! Pure. The figures decide only what they prove: that two copies have one content, or that their archives are filled at the
//! same times. Where they prove nothing, nobody is told that the copies agree.

use bucky_api::{ArchiveDigest, DigestFound, LayoutDigest};

use super::copies::{Examined, Lacking, State};
use super::layout::{self, LayoutDifference};
use crate::holders::Place;

/// What the copies of a metric that belongs at `place` are; none where their contents have to be compared.
pub(crate) fn judge(place: &Place, found: &[(usize, DigestFound)]) -> Option<Examined> {
    let (examined, undecided) = look(place, found);
    undecided.is_empty().then_some(examined)
}

/// The same as far as the figures tell; and the pairs, an owner and another node, whose contents have to be compared.
pub(crate) fn look(
    place: &Place,
    found: &[(usize, DigestFound)],
) -> (Examined, Vec<(usize, usize)>) {
    let (mut examined, mut undecided) = (Examined::default(), Vec::new());
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
            // Each pair of owners comes twice.
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

/// Two copies held against each other.
enum Compared {
    /// The owner lacks nothing of what the other has.
    NothingLacks,
    /// They differ, and one of them is compressed.
    Incomparable,
    /// That cannot be told by the figures.
    Unknown,
}

fn compare(owner: &DigestFound, other: &DigestFound, are_owners: bool) -> Compared {
    use DigestFound::{Compressed, Damaged, Unread, Whole};
    match (owner, other) {
        // What is damaged or was not read is said of that copy.
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

/// Whether the figures prove that `owner` is filled wherever `other` is; between owners, but for the newest points.
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

/// Where both nodes told of the headers: whether these differ. Of equal contents nobody asks.
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

fn state(found: &DigestFound) -> State {
    match found {
        DigestFound::Whole { .. } => State::Sound,
        DigestFound::Compressed { .. } => State::Compressed,
        DigestFound::Damaged { reason, .. } => State::Corrupt(reason.clone()),
        DigestFound::Unread { problem, reason } => State::Absent(*problem, reason.clone()),
    }
}

#[cfg(test)]
mod tests;
