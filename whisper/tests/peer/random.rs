//! Numbers that look random and are the same in every run.

/// The seeds of all random cases.
pub(crate) const SEEDS: std::ops::Range<u64> = 1..9;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).unwrap()
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(u32::try_from(choices.len()).unwrap()) as usize]
    }

    /// A value as metrics have them, or one that is difficult for floating-point arithmetic.
    ///
    /// No sum of a few of them overflows: which NaN two infinities give depends on the processor.
    pub(crate) fn value(&mut self) -> f64 {
        let small = f64::from(self.below(2_000)) - 1_000.0;
        match self.below(12) {
            0 => 0.0,
            1 => -0.0,
            2 => 1e300,
            3 => -1e300,
            4 => f64::NAN,
            5 => f64::from_bits(1),
            6..9 => small,
            _ => small / 10.0,
        }
    }
}
