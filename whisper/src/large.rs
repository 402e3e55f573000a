//! Filling a file that is too large for memory from another that is.
//!
//! The rules are those of [`fill()`], and it is what applies them: both files are cut into windows of time, each archive's
//! part of a window becomes an archive of a small image, and the images are filled. Windows begin and end where a slot of the
//! destination's coarsest archive does, so that no span of a roll-up lies in two of them. Memory is bounded by the window,
//! not by the file, and nothing is mapped: a file that a writer truncates meanwhile is an error, not a signal.
//!
//! Only files with archives as whisper.py creates them are filled so: the coarser archives reach farther back, and each step
//! divides the next.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::fill::{ArchiveCoverage, Clocks, Coverage, FillOptions, FillPlan, fill};
use crate::header::{Archive, Header, HeaderError, is_compressed};
use crate::image::{Image, Point, position_of};
use crate::retention::{Retention, validate_retentions};

/// How many slots of both files are held at once, about; more only where a slot of the coarsest archive spans more.
const WINDOW_SLOTS: u32 = 256 * 1024;
/// The most slots of both files that are held at once; a header that would need more is not one of a file that is in use.
const WINDOW_SLOTS_MOST: i64 = 4 * WINDOW_SLOTS as i64;
/// How many seconds before the later clock's window are looked at for points that still count by the earlier.
const CLOCKS_APART_MOST: u32 = 24 * 3600;

/// How many bytes a [`fill_large`] takes at most: the slots of both files, as they are stored and as images, the plan, and
/// its marks.
pub const LARGE_FILL_BYTES: u64 = 4 * WINDOW_SLOTS_MOST.unsigned_abs() * SLOT_BYTES;
const SLOT_BYTES: u64 = Point::SIZE_BYTES as u64;

type Slot = [u8; Point::SIZE_BYTES];

/// What such a fill did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LargeFill {
    /// Slots that were not valid and got the source's value (R2).
    pub points_filled: u64,
    /// Slots that were rolled up anew (R3), to a value that they did not have.
    pub points_rolled_up: u64,
    /// Which points of the source the destination holds now. Whether those without place lie under a coarser point is not
    /// looked at: none counts as such. A point in the future is not filled, and counts as displaced where it is not held.
    pub coverage: Coverage,
    /// The headers of the source and of the destination.
    pub headers: Option<(Header, Header)>,
}

impl LargeFill {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.points_filled + self.points_rolled_up == 0
    }
}

/// Why a point of the source is not in the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NotHeld {
    /// By the layout, or because somebody else wrote there meanwhile.
    ByLayout,
    /// Another timestamp takes its slot.
    Displaced,
}

/// Why a large file was not filled, or only in part: filling it again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum LargeFillError {
    /// The source is no file that can be filled from so.
    #[error("cannot fill from the source")]
    Source(#[source] UnfitError),
    /// The destination is no file that can be filled so.
    #[error("cannot fill the destination")]
    Destination(#[source] UnfitError),
    /// Somebody else wrote the first point of an archive at the same time.
    #[error("another process wrote the first point of an archive at the same time; fill it again")]
    Disturbed,
    /// One of the files cannot be read or written.
    #[error("cannot read or write a file")]
    Io(#[from] io::Error),
}

/// Why a file does not lend itself to it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UnfitError {
    /// It is in go-carbon's compressed format.
    #[error("it is in go-carbon's compressed format, whose points cannot be read")]
    Compressed,
    /// Its header is damaged, or it is another kind of file.
    #[error("not a valid Whisper file")]
    Header(#[source] HeaderError),
    /// Its archives are not as whisper.py creates them, or so far apart that a window does not fit into memory.
    #[error(
        "it is too large to be filled in memory, and its archives are not laid out as whisper.py does it"
    )]
    Layout,
}

/// Fills `destination` from `source`, both of any size, in bounded memory. The caller holds their locks, and syncs.
///
/// # Errors
/// [`LargeFillError`].
pub fn fill_large(
    source: &File,
    destination: &File,
    options: FillOptions,
) -> Result<LargeFill, LargeFillError> {
    fill_by(source, destination, options, WINDOW_SLOTS)
}

fn fill_by(
    source: &File,
    destination: &File,
    options: FillOptions,
    window_slots: u32,
) -> Result<LargeFill, LargeFillError> {
    let source = Side::of(source)?.map_err(LargeFillError::Source)?;
    let destination = Side::of(destination)?.map_err(LargeFillError::Destination)?;
    let coverage = coverage_of(&source, &destination);
    let headers = Some((source.header.clone(), destination.header.clone()));
    let done = LargeFill { coverage, headers, ..LargeFill::default() };
    let mut filling = Filling { source, destination, options, done };
    filling.fill_windows(window_slots)?;
    filling.fill_edges()?;
    filling.destination.check_bases()?;
    Ok(filling.done)
}

/// One that counts nothing yet.
fn coverage_of(source: &Side<'_>, destination: &Side<'_>) -> Coverage {
    let of = |archive: &Archive| ArchiveCoverage {
        seconds_per_point: archive.seconds_per_point,
        has_archive: destination.ring_of(archive.seconds_per_point.into()).is_some(),
        ..ArchiveCoverage::default()
    };
    Coverage { archives: source.header.archives.iter().map(of).collect() }
}

/// One of the two files.
struct Side<'f> {
    file: &'f File,
    header: Header,
    /// The finest first.
    rings: Vec<Ring>,
    /// The first slots that were written into empty archives: where, and their times.
    begun: Vec<(Archive, u32)>,
}

/// An archive, and what positions in it count from; 0 if it is empty.
#[derive(Clone, Copy)]
struct Ring {
    archive: Archive,
    base: u32,
}

impl Ring {
    fn step(&self) -> i64 {
        i64::from(self.archive.seconds_per_point)
    }

    /// The oldest slot inside the window at `now`.
    fn oldest(&self, now: u32) -> i64 {
        let outside = i64::from(now) - self.step() * i64::from(self.archive.points);
        (outside.div_euclid(self.step()) + 1).max(1) * self.step()
    }

    /// The slots from `from` on that lie before or at `until`, inside the window at `now`: the first, and how many.
    fn span(&self, from: i64, until: i64, now: u32) -> Option<(i64, usize)> {
        let step = self.step();
        let first = (from.div_euclid(step) + i64::from(from.rem_euclid(step) != 0)) * step;
        let first = first.max(self.oldest(now));
        let slots = (until - first).div_euclid(step) + 1;
        usize::try_from(slots).ok().filter(|slots| *slots > 0).map(|slots| (first, slots))
    }

    fn position(&self, t: i64) -> Option<u32> {
        position_of(&self.archive, self.base, u32::try_from(t).ok()?)
    }

    /// Whether `slot`, stored where slot `t` belongs, holds a point of another time that belongs there as well.
    fn other_turn(&self, slot: &Slot, t: i64) -> Option<i64> {
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
    fn of(file: &'f File) -> io::Result<Result<Self, UnfitError>> {
        let len_bytes = file.metadata()?.len();
        let mut head = vec![0; usize::try_from(len_bytes.min(Header::SIZE_MAX_BYTES)).unwrap_or(0)];
        file.read_exact_at(&mut head, 0)?;
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
                rings.push(Ring { archive, base: read_base(file, &archive)? });
            }
        }
        Ok(Ok(Self { file, header, rings, begun: Vec::new() }))
    }

    fn ring_of(&self, step: i64) -> Option<usize> {
        self.rings.iter().position(|ring| ring.step() == step)
    }

    /// What is stored where the `slots` slots from `first` on belong: zeros in an empty archive.
    fn stored(&self, ring: &Ring, first: i64, slots: usize) -> io::Result<Vec<Slot>> {
        let mut stored = vec![[0; Point::SIZE_BYTES]; slots];
        let Some(position) = ring.position(first) else { return Ok(stored) };
        let position = position as usize;
        let before_end = slots.min((ring.archive.points as usize).saturating_sub(position));
        let (up_to_end, from_start) = stored.split_at_mut(before_end);
        let at = |position: usize| u64::from(ring.archive.offset) + position as u64 * SLOT_BYTES;
        self.file.read_exact_at(up_to_end.as_flattened_mut(), at(position))?;
        self.file.read_exact_at(from_start.as_flattened_mut(), at(0))?;
        Ok(stored)
    }

    /// Writes slots that follow each other, the first of which is slot `first`.
    fn write(&mut self, ring: usize, first: i64, slots: &[Slot]) -> Result<(), LargeFillError> {
        let Some(found) = self.rings.get_mut(ring) else { return Ok(()) };
        if found.base == 0 {
            if read_base(self.file, &found.archive)? != 0 {
                return Err(LargeFillError::Disturbed);
            }
            found.base = u32::try_from(first).unwrap_or(0);
            self.begun.push((found.archive, found.base));
        }
        let Some(position) = found.position(first) else { return Ok(()) };
        let before_end = slots.len().min((found.archive.points - position) as usize);
        let (up_to_end, from_start) = slots.split_at(before_end);
        let at = u64::from(found.archive.offset);
        self.file.write_all_at(up_to_end.as_flattened(), at + u64::from(position) * SLOT_BYTES)?;
        self.file.write_all_at(from_start.as_flattened(), at)?;
        Ok(())
    }

    /// Whether archives that were empty begin with what was written there, and not with what somebody else wrote after it.
    fn check_bases(&self) -> Result<(), LargeFillError> {
        for (archive, base) in &self.begun {
            if read_base(self.file, archive)? != *base {
                return Err(LargeFillError::Disturbed);
            }
        }
        Ok(())
    }
}

fn read_base(file: &File, archive: &Archive) -> io::Result<u32> {
    let mut base = [0; 4];
    file.read_exact_at(&mut base, archive.offset.into())?;
    Ok(u32::from_be_bytes(base))
}

fn timestamp(slot: &Slot) -> i64 {
    i64::from(Point::decode(slot).timestamp)
}

/// Whether `slot` holds a value for slot `t`.
fn is_valid(slot: &Slot, t: i64) -> bool {
    timestamp(slot) == t && !Point::decode(slot).value.is_nan()
}

/// The slots of one archive that lie in a window.
struct Part {
    /// The archive's place among those of its side.
    ring: usize,
    step: i64,
    first: i64,
    slots: Vec<Slot>,
}

impl Part {
    fn times(&self) -> impl Iterator<Item = (i64, &Slot)> {
        (0..).map(|number: i64| self.first + number * self.step).zip(&self.slots)
    }

    fn slot_mut(&mut self, t: i64) -> Option<&mut Slot> {
        let number = usize::try_from((t - self.first).div_euclid(self.step)).ok()?;
        self.slots.get_mut(number)
    }

    /// Says in the first slot where the others lie, if it holds no point: a time without a value.
    fn anchor(&mut self) {
        let timestamp = u32::try_from(self.first).unwrap_or(0);
        if let Some(slot) = self.slots.first_mut()
            && !is_valid(slot, self.first)
        {
            *slot = Point { timestamp, value: f64::NAN }.encode();
        }
    }
}

/// Both files while the one is filled from the other.
struct Filling<'f> {
    source: Side<'f>,
    destination: Side<'f>,
    options: FillOptions,
    done: LargeFill,
}

impl Filling<'_> {
    fn now(&self) -> u32 {
        self.options.clocks.latest
    }

    fn fill_windows(&mut self, window_slots: u32) -> Result<(), LargeFillError> {
        let now = self.now();
        let coarsest = self.destination.rings.last().map_or(1, Ring::step);
        let oldest = self.source.rings.iter().map(|ring| ring.oldest(now)).min().unwrap_or(0);
        let rings = || self.source.rings.iter().chain(&self.destination.rings);
        // As many slots of the finest archive as a window has in all, were it of that alone.
        let finest = rings().map(Ring::step).min().unwrap_or(1);
        let slots_each = i64::from(window_slots) / i64::try_from(rings().count()).unwrap_or(1);
        let seconds = (finest * slots_each / coarsest).max(2) * coarsest;
        let most = |ring: &Ring| {
            ((seconds + 2 * coarsest) / ring.step()).min(i64::from(ring.archive.points))
        };
        if rings().map(most).sum::<i64>() > WINDOW_SLOTS_MOST {
            return Err(LargeFillError::Destination(UnfitError::Layout));
        }
        let end = (i64::from(now) / coarsest + 1) * coarsest;
        let mut from = oldest.div_euclid(coarsest) * coarsest;
        while from < end {
            // The slot of the coarsest archive that is under way is rolled up, too, if the finer ones have enough before it.
            let is_last = from + seconds + 2 * coarsest > end;
            let until = if is_last { end } else { from + seconds };
            self.fill_window(from, until)?;
            from = until;
        }
        Ok(())
    }

    /// Fills the slots from `from` on, before `until`.
    fn fill_window(&mut self, from: i64, until: i64) -> Result<(), LargeFillError> {
        let last = (until - 1).min(i64::from(self.now()));
        let mut sources = parts(&self.source, from, last, self.now())?;
        self.look_ahead(&sources)?;
        for part in &mut sources {
            let (step, first) = (part.step, part.first);
            for (number, slot) in (0..).zip(&mut part.slots) {
                if !is_valid(slot, first + step * number) {
                    *slot = [0; Point::SIZE_BYTES];
                }
            }
        }
        if sources.iter().all(|part| part.slots.iter().all(|slot| timestamp(slot) == 0)) {
            return Ok(());
        }
        let mut destinations = parts(&self.destination, from, last, self.now())?;
        for part in &mut destinations {
            let same = sources.iter_mut().find(|source| source.step == part.step);
            let step = part.step;
            for t in settle_newer(part, same) {
                self.note_not_held(step, t, NotHeld::Displaced);
            }
        }
        if destinations.is_empty() {
            // It does not reach back to here.
            for part in &sources {
                for (t, _) in part.times().filter(|(t, slot)| is_valid(slot, *t)) {
                    self.note_not_held(part.step, t, NotHeld::ByLayout);
                }
            }
            return Ok(());
        }
        let now = u32::try_from(last).unwrap_or(u32::MAX);
        let options = FillOptions { clocks: Clocks::at(now), ..self.options };
        sources.iter_mut().for_each(Part::anchor);
        let is_empty = |part: &Part, side: &Side<'_>| {
            side.rings.get(part.ring).is_none_or(|ring| ring.base == 0)
        };
        for part in &mut destinations {
            if !is_empty(part, &self.destination) {
                part.anchor();
            }
        }
        let from_image = image_of(&self.source.header, &sources);
        let mut into_image = image_of(&self.destination.header, &destinations);
        let plan = {
            let parse =
                |bytes| Image::parse(bytes).map_err(|error| io::Error::other(error.to_string()));
            fill(&parse(&from_image)?, &parse(&into_image)?, options)
        };
        self.write_plan(&plan, &destinations)?;
        plan.apply(&mut into_image);
        self.count(&sources, &into_image, now)
    }

    /// Counts the points of the source that lie in the future, by a clock that was ahead: those are not filled.
    fn look_ahead(&mut self, sources: &[Part]) -> Result<(), LargeFillError> {
        for part in sources {
            let Some(ring) = self.source.rings.get(part.ring).copied() else { continue };
            let others = part.times().filter_map(|(t, slot)| ring.other_turn(slot, t));
            let ahead: Vec<i64> = others.filter(|t| *t > i64::from(self.now())).collect();
            for t in ahead {
                let same =
                    self.destination.ring_of(part.step).map(|same| self.destination.rings[same]);
                let is_held = match same {
                    Some(same) => is_valid(&self.destination.stored(&same, t, 1)?[0], t),
                    None => false,
                };
                self.note(part.step, t, is_held, NotHeld::Displaced);
            }
        }
        Ok(())
    }

    fn write_plan(&mut self, plan: &FillPlan, parts: &[Part]) -> Result<(), LargeFillError> {
        self.done.points_filled += plan.points_filled();
        self.done.points_rolled_up += plan.points_rolled_up();
        let header_bytes = header_bytes(parts.len());
        for run in plan.runs() {
            let mut end = header_bytes;
            let part = parts.iter().find(|part| {
                end += part.slots.len() as u64 * SLOT_BYTES;
                run.offset < end
            });
            let Some(part) = part else { continue };
            let (slots, _) = run.bytes.as_chunks::<{ Point::SIZE_BYTES }>();
            // The image's ring may begin anew in the middle of a run; times do not go back in the file's.
            let follows = |one: &Slot, next: &Slot| timestamp(next) == timestamp(one) + part.step;
            for slots in slots.chunk_by(follows) {
                if let Some(first) = slots.first() {
                    self.destination.write(part.ring, timestamp(first), slots)?;
                }
            }
        }
        Ok(())
    }

    /// Counts which points of `sources` the destination holds, of which `image` is this window.
    fn count(&mut self, sources: &[Part], image: &[u8], now: u32) -> Result<(), LargeFillError> {
        let image = Image::parse(image).map_err(|error| io::Error::other(error.to_string()))?;
        for part in sources {
            let same = image
                .archives()
                .find(|view| i64::from(view.archive().seconds_per_point) == part.step);
            for (t, _) in part.times().filter(|(t, slot)| is_valid(slot, *t)) {
                let time = u32::try_from(t).unwrap_or(0);
                let is_held = same.is_some_and(|view| view.valid(time, now).is_some());
                self.note(part.step, t, is_held, NotHeld::ByLayout);
            }
        }
        Ok(())
    }

    fn note(&mut self, step: i64, t: i64, is_held: bool, otherwise: NotHeld) {
        if !is_held {
            self.note_not_held(step, t, otherwise);
        } else if let Some(archive) = self.coverage_mut(step) {
            archive.held += 1;
        }
    }

    fn note_not_held(&mut self, step: i64, t: i64, why: NotHeld) {
        let earliest = self.options.clocks.earliest;
        let same = self.destination.ring_of(step).and_then(|ring| self.destination.rings.get(ring));
        let has_place = same.is_some_and(|ring| t >= ring.oldest(earliest));
        let Some(archive) = self.coverage_mut(step) else { return };
        match why {
            _ if !has_place => {
                archive.without_place += 1;
                let t = u32::try_from(t).unwrap_or(u32::MAX);
                let (oldest, newest) = archive.span_without_place.unwrap_or((t, t));
                archive.span_without_place = Some((oldest.min(t), newest.max(t)));
            }
            NotHeld::Displaced => archive.displaced += 1,
            NotHeld::ByLayout => archive.missing += 1,
        }
    }

    fn coverage_mut(&mut self, step: i64) -> Option<&mut ArchiveCoverage> {
        let archives = self.done.coverage.archives.iter_mut();
        archives.into_iter().find(|archive| i64::from(archive.seconds_per_point) == step)
    }

    /// The slots that have expired by the later clock, and not by the earlier one. Nothing is rolled up from them.
    fn fill_edges(&mut self) -> Result<(), LargeFillError> {
        let Clocks { earliest, latest } = self.options.clocks;
        let earliest = earliest.max(latest.saturating_sub(CLOCKS_APART_MOST));
        for ring in self.source.rings.clone() {
            let until = ring.oldest(latest) - 1;
            let Some((first, slots)) = ring.span(ring.oldest(earliest), until, earliest) else {
                continue;
            };
            let stored = self.source.stored(&ring, first, slots)?;
            for (t, slot) in (0..).map(|number| first + ring.step() * number).zip(&stored) {
                if is_valid(slot, t) {
                    let is_held = self.fill_edge(&ring, t, slot, earliest)?;
                    self.note(ring.step(), t, is_held, NotHeld::Displaced);
                }
            }
        }
        Ok(())
    }

    /// Fills one such slot, and says whether the destination holds it then.
    fn fill_edge(
        &mut self,
        ring: &Ring,
        t: i64,
        slot: &Slot,
        earliest: u32,
    ) -> Result<bool, LargeFillError> {
        let Some(number) = self.destination.ring_of(ring.step()) else { return Ok(false) };
        let Some(same) = self.destination.rings.get(number).copied() else { return Ok(false) };
        if t < same.oldest(earliest) || same.base == 0 {
            return Ok(false);
        }
        let there = self.destination.stored(&same, t, 1)?;
        let Some(there) = there.first() else { return Ok(false) };
        if is_valid(there, t) {
            return Ok(true);
        }
        if timestamp(there) > t {
            // A newer turn stands for it; anything else is damage, or of a clock that was ahead.
            return Ok(same.other_turn(there, t).is_some_and(|turn| turn <= i64::from(self.now())));
        }
        self.destination.write(number, t, &[*slot])?;
        self.done.points_filled += 1;
        Ok(true)
    }
}

/// The parts of all archives of a side that lie from `from` to `last`, as they are stored.
fn parts(side: &Side<'_>, from: i64, last: i64, now: u32) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (number, ring) in side.rings.iter().enumerate() {
        if let Some((first, slots)) = ring.span(from, last, now) {
            let slots = side.stored(ring, first, slots)?;
            parts.push(Part { ring: number, step: ring.step(), first, slots });
        }
    }
    Ok(parts)
}

/// Takes out of a window what is not of its time: older turns, which may be written over, and newer ones, which may not;
/// so what the source has there is taken out of it as well. Those points of the source are displaced; it tells their times.
fn settle_newer(part: &mut Part, mut same: Option<&mut Part>) -> Vec<i64> {
    let mut displaced = Vec::new();
    for (number, slot) in (0..).zip(&mut part.slots) {
        let t = part.first + part.step * number;
        if timestamp(slot) > t
            && let Some(offered) = same.as_mut().and_then(|same| same.slot_mut(t))
        {
            if timestamp(offered) != 0 {
                displaced.push(t);
            }
            *offered = [0; Point::SIZE_BYTES];
        }
        if timestamp(slot) != t {
            *slot = [0; Point::SIZE_BYTES];
        }
    }
    displaced
}

fn header_bytes(archives: usize) -> u64 {
    16 + 12 * archives as u64
}

/// A file of these parts, each an archive.
fn image_of(of: &Header, parts: &[Part]) -> Vec<u8> {
    let mut offset = header_bytes(parts.len());
    let mut archives = Vec::with_capacity(parts.len());
    for part in parts {
        let points = u32::try_from(part.slots.len()).unwrap_or(u32::MAX);
        archives.push(Archive {
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            seconds_per_point: u32::try_from(part.step).unwrap_or(u32::MAX),
            points,
        });
        offset += u64::from(points) * SLOT_BYTES;
    }
    let mut bytes = Header { archives, ..of.clone() }.encode();
    bytes.reserve_exact(usize::try_from(offset).unwrap_or(0).saturating_sub(bytes.len()));
    parts.iter().for_each(|part| bytes.extend_from_slice(part.slots.as_flattened()));
    bytes
}

#[cfg(test)]
mod tests;
