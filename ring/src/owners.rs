//! The owners of one series, first copy first, and the lists that they are read from.

use std::{iter::FusedIterator, slice};

use smallvec::SmallVec;

use crate::jump::JumpWalk;

/// The owners of one series as indices into [`crate::Ring::nodes`], the first copy first, no node twice.
///
/// Allocates nothing, except for the ninth copy on a jump ring, and with rules.
#[derive(Clone, Debug)]
pub struct Owners<'ring> {
    source: Source<'ring>,
    left: usize,
}

#[derive(Clone, Debug)]
enum Source<'ring> {
    Listed(slice::Iter<'ring, u16>),
    Walked { order: &'ring [u32], walk: JumpWalk },
    Collected(smallvec::IntoIter<[u16; 8]>),
}

impl<'ring> Owners<'ring> {
    /// No owners.
    pub fn none() -> Self {
        Self::listed(&[])
    }

    pub(crate) fn listed(nodes: &'ring [u16]) -> Self {
        Self { source: Source::Listed(nodes.iter()), left: nodes.len() }
    }

    /// The nodes in `found`, each once, in their order.
    pub(crate) fn set(found: impl Iterator<Item = usize>) -> Self {
        let mut nodes: SmallVec<[u16; 8]> = SmallVec::new();
        for node in found.map(|node| u16::try_from(node).unwrap_or(u16::MAX)) {
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        Self { left: nodes.len(), source: Source::Collected(nodes.into_iter()) }
    }

    /// `order` is the node of each bucket. `copies` must not exceed their number.
    pub(crate) fn walked(order: &'ring [u32], walk: JumpWalk, copies: usize) -> Self {
        Self { source: Source::Walked { order, walk }, left: copies }
    }
}

impl Iterator for Owners<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let node = match &mut self.source {
            Source::Listed(nodes) => u32::from(*nodes.next()?),
            Source::Walked { order, walk } => order[walk.next()? as usize],
            Source::Collected(nodes) => u32::from(nodes.next()?),
        };
        Some(node as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Owners<'_> {}
impl FusedIterator for Owners<'_> {}

/// For each place of a circle, the owners of the keys there. All lists have the same length.
///
/// A ring has fewer nodes than two bytes can number. Lists this small stay in the processor's cache.
#[derive(Clone, Debug)]
pub(crate) struct OwnerLists {
    nodes: Vec<u16>,
    copies: usize,
}

impl OwnerLists {
    /// The lists for a `circle` of nodes: for each place, going around, each node whose kind was not met
    /// before.
    ///
    /// `kinds` says by index which nodes count as one. `copies`, at least 1, must not exceed the number of
    /// kinds on the circle. The list of a place is its node, followed by the list of the next place without
    /// that kind. So one walk gives the last list, and each other list follows from its successor.
    pub(crate) fn of_circle(circle: &[u32], kinds: &[u32], copies: usize) -> Self {
        let mut nodes = vec![0_u32; circle.len() * copies];
        let mut behind = first_of_each_kind(circle, kinds, copies);
        for (list, node) in nodes.chunks_exact_mut(copies).zip(circle).rev() {
            let kind = kinds[*node as usize];
            let others = behind.iter().filter(|other| kinds[**other as usize] != kind);
            for (owner, node) in list.iter_mut().zip([node].into_iter().chain(others)) {
                *owner = *node;
            }
            behind.copy_from_slice(list);
        }
        let nodes = nodes.into_iter().map(|node| u16::try_from(node).unwrap_or(u16::MAX));
        Self { nodes: nodes.collect(), copies }
    }

    /// The lists of these places, one after the other.
    pub(crate) fn of_places(&self, places: &[u32]) -> Self {
        let nodes = places.iter().flat_map(|place| self.at(*place as usize)).copied();
        Self { nodes: nodes.collect(), copies: self.copies }
    }

    /// The owners of the keys on `place`, which must be less than the length of the circle.
    pub(crate) fn at(&self, place: usize) -> &[u16] {
        &self.nodes[place * self.copies..][..self.copies]
    }

    /// The first owner of the keys on `place`.
    #[inline]
    pub(crate) fn first_at(&self, place: usize) -> usize {
        usize::from(self.nodes[place * self.copies])
    }
}

fn first_of_each_kind(circle: &[u32], kinds: &[u32], copies: usize) -> Vec<u32> {
    let mut met: Vec<u32> = Vec::with_capacity(copies);
    for node in circle {
        if met.len() == copies {
            break;
        }
        if met.iter().all(|other| kinds[*other as usize] != kinds[*node as usize]) {
            met.push(*node);
        }
    }
    met
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_round_the_end_and_skips_kinds_it_has() {
        let circle = [0, 0, 1, 2, 1, 3];
        let each_its_own = OwnerLists::of_circle(&circle, &[0, 1, 2, 3], 3);
        let lists: Vec<&[u16]> = (0..circle.len()).map(|place| each_its_own.at(place)).collect();
        assert_eq!(lists, [[0, 1, 2], [0, 1, 2], [1, 2, 3], [2, 1, 3], [1, 3, 0], [3, 0, 1]]);
        let two_of_a_kind = OwnerLists::of_circle(&circle, &[0, 1, 1, 0], 2);
        let lists: Vec<&[u16]> = (0..circle.len()).map(|place| two_of_a_kind.at(place)).collect();
        assert_eq!(lists, [[0, 1], [0, 1], [1, 3], [2, 3], [1, 3], [3, 1]]);
        let spread = two_of_a_kind.of_places(&[5, 2, 2, 0]);
        let lists: Vec<&[u16]> = (0..4).map(|place| spread.at(place)).collect();
        assert_eq!(lists, [[3, 1], [1, 3], [1, 3], [0, 1]]);
    }

    #[test]
    fn owners_know_how_many_are_left() {
        let mut owners = Owners::listed(&[4, 2]);
        assert_eq!(owners.len(), 2);
        assert_eq!(owners.next(), Some(4));
        assert_eq!(owners.len(), 1);
        assert_eq!([owners.next(), owners.next(), owners.next()], [Some(2), None, None]);
    }
}
