//! A Whisper file as plain numbers: a reader and writer of forty lines that shares no code with the code
//! under test.
//!
//! A slot has the same position as in `whisper.py`: the first slot's time is the base, and a time's position
//! is `(time - base) / step`, modulo the number of slots. A slot without a point has the time 0.

/// A file.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainFile {
    /// The code in the header: 1 is average.
    pub aggregation: u32,
    /// The share of finer points that a coarser one needs.
    pub x_files_factor: f32,
    /// In the order of the header.
    pub archives: Vec<PlainArchive>,
}

/// An archive.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainArchive {
    /// The seconds between two slots.
    pub step: u32,
    /// The time and the value of each slot.
    pub slots: Vec<(u32, f64)>,
}

impl PlainFile {
    /// A file without points, of archives with these steps and numbers of slots.
    pub fn empty(layout: &[(u32, u32)], aggregation: u32, x_files_factor: f32) -> Self {
        let archive = |(step, slots): &(u32, u32)| PlainArchive {
            step: *step,
            slots: vec![(0, 0.0); *slots as usize],
        };
        Self { aggregation, x_files_factor, archives: layout.iter().map(archive).collect() }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let reach = self.archives.iter().map(PlainArchive::reach).max().unwrap();
        let count = u32::try_from(self.archives.len()).unwrap();
        let mut bytes = Vec::new();
        let mut words = vec![self.aggregation, reach, self.x_files_factor.to_bits(), count];
        let mut offset = 16 + 12 * count;
        for archive in &self.archives {
            words.extend([offset, archive.step, archive.len()]);
            offset += 12 * archive.len();
        }
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
        for (time, value) in self.archives.iter().flat_map(|archive| &archive.slots) {
            bytes.extend_from_slice(&time.to_be_bytes());
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    /// Decodes a file.
    ///
    /// # Panics
    /// If the bytes are not a Whisper file.
    pub fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let archives = (0..word(12) as usize).map(|number| {
            let at = 16 + 12 * number;
            let (offset, step, slots) = (word(at) as usize, word(at + 4), word(at + 8) as usize);
            let slot = |slot: usize| {
                let at = offset + 12 * slot;
                let value = f64::from_be_bytes(bytes[at + 4..at + 12].try_into().unwrap());
                (word(at), value)
            };
            PlainArchive { step, slots: (0..slots).map(slot).collect() }
        });
        Self {
            aggregation: word(0),
            x_files_factor: f32::from_bits(word(8)),
            archives: archives.collect(),
        }
    }

    /// Its archive of this step.
    pub fn archive(&self, step: u32) -> Option<&PlainArchive> {
        self.archives.iter().find(|archive| archive.step == step)
    }

    /// Its layout, as operators write it.
    pub fn layout(&self) -> String {
        let archives = self.archives.iter();
        let texts: Vec<String> =
            archives.map(|archive| format!("{}s:{}s", archive.step, archive.reach())).collect();
        texts.join(",")
    }
}

impl PlainArchive {
    /// How many seconds it reaches back.
    pub fn reach(&self) -> u32 {
        self.step * self.len()
    }

    /// Stores a point in its slot, unless the slot has a newer point.
    pub fn put(&mut self, time: u32, value: f64) {
        let position = self.position(time).unwrap_or(0);
        if self.slots[position].0 < time {
            self.slots[position] = (time, value);
        }
    }

    /// What is stored in the slot of `time`: the point of that time, of an older turn or of a newer one.
    pub fn stored(&self, time: u32) -> Option<(u32, f64)> {
        Some(self.slots[self.position(time)?]).filter(|(stored, _)| *stored != 0)
    }

    /// The value of `time`, if its slot has that time.
    pub fn value(&self, time: u32) -> Option<f64> {
        self.stored(time).filter(|(stored, _)| *stored == time).map(|(_, value)| value)
    }

    /// Whether the slot of `time` has that point or a newer turn.
    pub fn holds(&self, time: u32) -> bool {
        self.stored(time).is_some_and(|(stored, _)| stored >= time)
    }

    /// Whether `time` has not expired at `now`.
    pub fn reaches(&self, time: u32, now: u32) -> bool {
        u64::from(time) + u64::from(self.reach()) > u64::from(now)
    }

    /// Its points that have not expired at `now`.
    pub fn valid(&self, now: u32) -> impl Iterator<Item = (u32, f64)> {
        let is_valid = move |(time, _): &(u32, f64)| {
            *time != 0 && self.reaches(*time, now) && self.value(*time).is_some()
        };
        self.slots.iter().copied().filter(is_valid)
    }

    fn position(&self, time: u32) -> Option<usize> {
        let base = self.slots[0].0;
        let turns = (i64::from(time) - i64::from(base)) / i64::from(self.step);
        let position = turns.rem_euclid(i64::from(self.len()));
        (base != 0).then(|| usize::try_from(position).unwrap())
    }

    fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use bucky_whisper::Image;

    use super::*;

    #[test]
    fn it_reads_what_it_writes_as_the_code_under_test_does() {
        let mut file = PlainFile::empty(&[(10, 6), (60, 10)], 2, 0.5);
        let now = 1_700_000_030;
        for age in [3, 0, 5] {
            file.archives[0].put(now - now % 10 - age * 10, f64::from(age));
        }
        // An older turn, and a time in the future.
        file.archives[1].put(now - now % 60 - 600, 7.0);
        file.archives[1].put(now - now % 60 + 60, 8.0);
        let bytes = file.encode();
        assert_eq!(PlainFile::decode(&bytes), file);
        let image = Image::parse(&bytes).unwrap();
        for (view, archive) in image.archives().zip(&file.archives) {
            let mut plain: Vec<_> = archive.valid(now).collect();
            plain.sort_by_key(|point| point.0);
            let read: Vec<_> = view.points_valid(now).map(|p| (p.timestamp, p.value)).collect();
            assert_eq!(plain, read);
        }
        assert_eq!(file.layout(), "10s:60s,60s:600s");
    }
}
