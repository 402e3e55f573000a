//! One of two long files: its header, and its archives as rings that are read and written in pieces.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{LargeFillError, UnfitError};
use crate::header::{Archive, Header, is_compressed};
use crate::image::{Point, position_of};
use crate::retention::{Retention, validate_retentions};

pub(super) const SLOT_BYTES: u64 = Point::SIZE_BYTES as u64;

pub(super) use crate::image::Slot;

/// Where the bytes of a file are stored.
#[derive(Clone, Copy, Debug)]
pub enum LargeBytes<'f> {
    /// In the file.
    File(&'f File),
    /// In memory, for a short source.
    Memory(&'f [u8]),
}

impl LargeBytes<'_> {
    fn len(self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn read_exact_at(self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, at),
            Self::Memory(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
                let found = rest.and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// One of the two files: source or destination.
pub(super) struct Side<'f> {
    bytes: LargeBytes<'f>,
    pub(super) header: Header,
    /// The archives, the finest first.
    pub(super) rings: Vec<Ring>,
    /// The archives that were empty, with the timestamp that was last written to their first slots.
    begun: Vec<(Archive, u32)>,
}

/// An archive, and the timestamp that its positions count from; 0 if it is empty.
#[derive(Clone, Copy)]
pub(super) struct Ring {
    pub(super) archive: Archive,
    pub(super) base: u32,
}

impl Ring {
    pub(super) fn step(&self) -> i64 {
        i64::from(self.archive.seconds_per_point)
    }

    /// The oldest slot inside the window at `now`.
    pub(super) fn oldest(&self, now: u32) -> i64 {
        let outside = i64::from(now) - self.step() * i64::from(self.archive.points);
        (outside.div_euclid(self.step()) + 1).max(1) * self.step()
    }

    /// All its slots in pieces of at most `most`: the position of each piece, and how many slots it has.
    pub(super) fn pieces(&self, most: u32) -> impl Iterator<Item = (u32, u32)> + use<> {
        let (points, most) = (self.archive.points, most.max(1));
        (0..points).step_by(most as usize).map(move |first| (first, most.min(points - first)))
    }

    /// The slots from `from` up to `until` that lie inside the window at `now`: the time of the first, and
    /// how many.
    pub(super) fn span(&self, from: i64, until: i64, now: u32) -> Option<(i64, usize)> {
        let step = self.step();
        let first = (from.div_euclid(step) + i64::from(from.rem_euclid(step) != 0)) * step;
        let first = first.max(self.oldest(now));
        let slots = (until - first).div_euclid(step) + 1;
        usize::try_from(slots).ok().filter(|slots| *slots > 0).map(|slots| (first, slots))
    }

    pub(super) fn position(&self, t: i64) -> Option<u32> {
        position_of(&self.archive, self.base, u32::try_from(t).ok()?)
    }

    /// Whether slot `t` belongs to this archive and its position is `position`.
    pub(super) fn is_position_of(&self, position: u32, t: i64) -> bool {
        t != 0 && t % self.step() == 0 && self.position(t) == Some(position)
    }

    /// Whether `slot`, stored at the position of slot `t`, belongs to a later turn of the ring and is not
    /// later than `now`.
    pub(super) fn is_newer_turn(&self, slot: &Slot, t: i64, now: u32) -> bool {
        let stored = timestamp(slot);
        let turn = self.step() * i64::from(self.archive.points);
        stored > t && stored <= i64::from(now) && (stored - t) % turn == 0
    }

    /// The time of the point that `slot`, stored at the position of slot `t`, holds if it belongs to another
    /// turn.
    pub(super) fn other_turn(&self, slot: &Slot, t: i64) -> Option<i64> {
        let stored = timestamp(slot);
        let is_one = stored != t
            && stored != 0
            && stored % self.step() == 0
            && !Point::decode(slot).value.is_nan()
            && self.position(stored) == self.position(t);
        is_one.then_some(stored)
    }
}

impl<'f> Side<'f> {
    pub(super) fn of(bytes: LargeBytes<'f>) -> io::Result<Result<Self, UnfitError>> {
        let len_bytes = bytes.len()?;
        let mut head = vec![0; usize::try_from(len_bytes.min(Header::SIZE_MAX_BYTES)).unwrap_or(0)];
        bytes.read_exact_at(&mut head, 0)?;
        if is_compressed(&head) {
            return Ok(Err(UnfitError::Compressed));
        }
        let header = match Header::parse(&head, len_bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Err(UnfitError::Header(error))),
        };
        let retention =
            |archive: &Archive| Retention::new(archive.seconds_per_point, archive.points);
        let retentions: Result<Vec<Retention>, _> = header.archives.iter().map(retention).collect();
        if !retentions.is_ok_and(|retentions| validate_retentions(&retentions).is_ok()) {
            return Ok(Err(UnfitError::Layout));
        }
        let mut rings = Vec::with_capacity(header.archives.len());
        for number in header.finest_first() {
            if let Some(archive) = header.archives.get(number).copied() {
                rings.push(Ring { archive, base: read_base(bytes, &archive)? });
            }
        }
        Ok(Ok(Self { bytes, header, rings, begun: Vec::new() }))
    }

    pub(super) fn ring_of(&self, step: i64) -> Option<usize> {
        self.rings.iter().position(|ring| ring.step() == step)
    }

    /// The archive of this resolution as it is now.
    pub(super) fn same(&self, step: i64) -> Option<Ring> {
        self.ring_of(step).and_then(|ring| self.rings.get(ring)).copied()
    }

    /// What is stored at the positions of the `slots` slots from `first` on; zeros in an empty archive.
    pub(super) fn stored(&self, ring: &Ring, first: i64, slots: usize) -> io::Result<Vec<Slot>> {
        let Some(position) = ring.position(first) else {
            return Ok(vec![[0; Point::SIZE_BYTES]; slots]);
        };
        self.stored_at(ring, position, slots)
    }

    /// What is stored from `position` on.
    pub(super) fn stored_at(
        &self,
        ring: &Ring,
        position: u32,
        slots: usize,
    ) -> io::Result<Vec<Slot>> {
        let mut stored = vec![[0; Point::SIZE_BYTES]; slots];
        let (mut left, mut position) = (stored.as_mut_slice(), position);
        // It wraps more than once if the clocks differ by more than the retention of a short archive.
        while !left.is_empty() {
            let before_end = (ring.archive.points - position) as usize;
            let (piece, rest) = left.split_at_mut(before_end.min(left.len()));
            let at = u64::from(ring.archive.offset) + u64::from(position) * SLOT_BYTES;
            self.bytes.read_exact_at(piece.as_flattened_mut(), at)?;
            (left, position) = (rest, 0);
        }
        Ok(stored)
    }

    /// What is stored at the position of slot `t`; zeros in an empty archive.
    pub(super) fn slot(&self, ring: &Ring, t: i64) -> io::Result<Slot> {
        Ok(self.stored(ring, t, 1)?.first().copied().unwrap_or_default())
    }

    /// The points after `now` among the `slots` slots from `position` on, with their times.
    pub(super) fn future_points(
        &self,
        ring: &Ring,
        (position, slots): (u32, u32),
        now: u32,
    ) -> io::Result<Vec<(i64, Slot)>> {
        let stored = self.stored_at(ring, position, slots as usize)?;
        let is_ahead = |(position, slot): &(u32, Slot)| {
            let t = timestamp(slot);
            t > i64::from(now) && is_valid(slot, t) && ring.is_position_of(*position, t)
        };
        let ahead = (position..).zip(stored).filter(is_ahead);
        Ok(ahead.map(|(_, slot)| (timestamp(&slot), slot)).collect())
    }

    /// Whether the file stores a value for slot `t` of this archive.
    pub(super) fn holds(&self, ring: &Ring, t: i64) -> io::Result<bool> {
        Ok(is_valid(&self.slot(ring, t)?, t))
    }

    /// Writes consecutive slots, the first of which is slot `first`, to `file`, the file of this side.
    pub(super) fn write(
        &mut self,
        file: &File,
        ring: usize,
        first: i64,
        slots: &[Slot],
    ) -> Result<(), LargeFillError> {
        let Some(found) = self.rings.get_mut(ring) else { return Ok(()) };
        if found.base == 0 {
            if read_base(self.bytes, &found.archive)? != 0 {
                return Err(LargeFillError::Disturbed);
            }
            found.base = u32::try_from(first).unwrap_or(0);
            self.begun.push((found.archive, found.base));
        }
        let Some(position) = found.position(first) else { return Ok(()) };
        let before_end = slots.len().min((found.archive.points - position) as usize);
        let (up_to_end, from_start) = slots.split_at(before_end);
        let at = u64::from(found.archive.offset);
        file.write_all_at(up_to_end.as_flattened(), at + u64::from(position) * SLOT_BYTES)?;
        file.write_all_at(from_start.as_flattened(), at)?;
        let first_slot = if position == 0 { up_to_end.first() } else { from_start.first() };
        if let Some(slot) = first_slot {
            let archive = found.archive;
            let begun = self.begun.iter_mut().filter(|(begun, _)| *begun == archive);
            begun.for_each(|(_, base)| *base = Point::decode(slot).timestamp);
        }
        Ok(())
    }

    /// Checks that the archives that were empty begin with what we wrote, not with what another process wrote
    /// later.
    pub(super) fn check_bases(&self) -> Result<(), LargeFillError> {
        for (archive, base) in &self.begun {
            if read_base(self.bytes, archive)? != *base {
                return Err(LargeFillError::Disturbed);
            }
        }
        Ok(())
    }
}

fn read_base(bytes: LargeBytes<'_>, archive: &Archive) -> io::Result<u32> {
    let mut base = [0; 4];
    bytes.read_exact_at(&mut base, archive.offset.into())?;
    Ok(u32::from_be_bytes(base))
}

pub(super) fn timestamp(slot: &Slot) -> i64 {
    i64::from(Point::decode(slot).timestamp)
}

/// Whether `slot` holds a value for slot `t`.
pub(super) fn is_valid(slot: &Slot, t: i64) -> bool {
    timestamp(slot) == t && !Point::decode(slot).value.is_nan()
}
