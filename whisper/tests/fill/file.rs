//! Whisper files in memory, encoded and decoded by this test code, not by the crate under test.

use bucky_whisper::{AggregationSix, Clocks, FillOptions, FillPlan, Image, fill};

/// A file to encode, or a decoded one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct File {
    /// The header's first field: the aggregation's code, 1 to 8, or the time that old files begin with.
    pub(crate) aggregation: u32,
    pub(crate) x_files_factor: f32,
    /// In the order of the file.
    pub(crate) archives: Vec<Archive>,
}

/// An archive of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Archive {
    pub(crate) step: u32,
    /// The stored timestamps and values, by position.
    pub(crate) slots: Vec<(u32, f64)>,
}

impl Archive {
    pub(crate) fn empty(step: u32, points: u32) -> Self {
        Self { step, slots: vec![(0, 0.0); points as usize] }
    }

    /// Stores a point as a writer would: the first one becomes the base.
    pub(crate) fn store(&mut self, t: u32, value: f64) {
        let base = if self.base() == 0 { t } else { self.base() };
        let position = self.position(base, t);
        self.slots[position] = (t, value);
    }

    pub(crate) fn base(&self) -> u32 {
        self.slots[0].0
    }

    pub(crate) fn retention(&self) -> i64 {
        i64::from(self.step) * self.slots.len() as i64
    }

    /// The position of `t` if the first slot holds `base`, as whisper.py computes it.
    pub(crate) fn position(&self, base: u32, t: u32) -> usize {
        let distance = (i64::from(t) - i64::from(base)).div_euclid(i64::from(self.step));
        usize::try_from(distance.rem_euclid(self.slots.len() as i64)).unwrap()
    }

    /// The value of slot `t` if it is valid at `now`.
    pub(crate) fn valid(&self, t: u32, now: u32) -> Option<f64> {
        let (stored, value) = self.slots[self.position(self.base(), t)];
        let valid = self.base() != 0
            && stored == t
            && t != 0
            && t.is_multiple_of(self.step)
            && !value.is_nan()
            && i64::from(t) > i64::from(now) - self.retention();
        valid.then_some(value)
    }

    /// All slots that are valid at `now`, oldest first.
    pub(crate) fn points(&self, now: u32) -> Vec<(u32, f64)> {
        let mut stored: Vec<u32> = self.slots.iter().map(|(t, _)| *t).collect();
        stored.sort_unstable();
        stored.dedup();
        stored.into_iter().filter_map(|t| Some((t, self.valid(t, now)?))).collect()
    }
}

impl File {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let longest = self.archives.iter().map(|archive| archive.retention()).max().unwrap();
        let mut bytes = Vec::new();
        bytes.extend(self.aggregation.to_be_bytes());
        bytes.extend(u32::try_from(longest).unwrap().to_be_bytes());
        bytes.extend(self.x_files_factor.to_be_bytes());
        bytes.extend(u32::try_from(self.archives.len()).unwrap().to_be_bytes());
        let mut offset = 16 + 12 * self.archives.len();
        for archive in &self.archives {
            bytes.extend(u32::try_from(offset).unwrap().to_be_bytes());
            bytes.extend(archive.step.to_be_bytes());
            bytes.extend(u32::try_from(archive.slots.len()).unwrap().to_be_bytes());
            offset += 12 * archive.slots.len();
        }
        for (t, value) in self.archives.iter().flat_map(|archive| &archive.slots) {
            bytes.extend(t.to_be_bytes());
            bytes.extend(value.to_be_bytes());
        }
        bytes
    }

    /// The reverse of [`Self::bytes`].
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let archive = |at: usize| {
            let (offset, points) = (word(at) as usize, word(at + 8) as usize);
            let slot = |at: usize| {
                (word(at), f64::from_be_bytes(bytes[at + 4..at + 12].try_into().unwrap()))
            };
            let slots = (0..points).map(|position| slot(offset + 12 * position)).collect();
            Archive { step: word(at + 4), slots }
        };
        Self {
            aggregation: word(0),
            x_files_factor: f32::from_bits(word(8)),
            archives: (0..word(12) as usize).map(|number| archive(16 + 12 * number)).collect(),
        }
    }

    /// The numbers of the archives, finest first; of archives with equal steps, only the first.
    pub(crate) fn finest_first(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.archives.len()).collect();
        numbers.sort_by_key(|number| self.archives[*number].step);
        numbers.dedup_by_key(|number| self.archives[*number].step);
        numbers
    }
}

/// The plan for two files at `now`, with whisper.py's meaning of aggregation 6.
pub(crate) fn plan(source: &[u8], destination: &[u8], now: u32) -> FillPlan {
    plan_with(
        source,
        destination,
        FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::AvgZero },
    )
}

pub(crate) fn plan_with(source: &[u8], destination: &[u8], options: FillOptions) -> FillPlan {
    fill(&Image::parse(source).unwrap(), &Image::parse(destination).unwrap(), options)
}

/// The destination after a fill at `now`.
pub(crate) fn filled(source: &[u8], destination: &[u8], now: u32) -> Vec<u8> {
    let mut bytes = destination.to_vec();
    plan(source, destination, now).apply(&mut bytes);
    bytes
}
