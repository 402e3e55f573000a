//! The hash functions, and the position of a text on a ring.
//!
//! MD5 comes from its crate. FNV-1a and murmur3 take only a few lines each. FNV is also needed in the form of
//! carbon-c-relay on x86-64, with signed bytes, which no crate offers.

use md5::{Digest, Md5};

use crate::TaggedNames;

/// How a byte enters FNV-1a.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// As 0..=255, as FNV defines it.
    Unsigned,
    /// As C's `char` on x86-64: bytes from 0x80 on are sign-extended before the xor.
    Signed,
}

/// A series, and which part of it is hashed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) series: &'a str,
    pub(crate) tagged_names: TaggedNames,
}

impl<'a> Key<'a> {
    /// A key that hashes all of `text`.
    pub(crate) fn whole(text: &'a str) -> Self {
        Self { series: text, tagged_names: TaggedNames::Whole }
    }

    fn text(self) -> &'a [u8] {
        self.tagged_names.hashed_part(self.series).as_bytes()
    }

    /// Folds every byte of [`Self::text`] with `step`, beginning with `start`. Finds the end in the same
    /// pass, eight bytes at a time: a separate pass, or a check at every byte, would cost a quarter of an
    /// FNV.
    #[inline]
    fn fold<T>(self, start: T, step: impl Fn(T, u8) -> T) -> T {
        let cut = self.tagged_names == TaggedNames::BeforeSemicolon;
        let bytes = self.series.as_bytes();
        let (eights, rest) = bytes.as_chunks::<8>();
        let to_end = |taken: T, bytes: &[u8]| {
            let bytes = bytes.iter().take_while(|byte| !(cut && **byte == b';'));
            bytes.fold(taken, |taken, byte| step(taken, *byte))
        };
        let mut taken = start;
        for eight in eights {
            if cut && has_semicolon(*eight) {
                return to_end(taken, eight);
            }
            taken = eight.iter().fold(taken, |taken, byte| step(taken, *byte));
        }
        // The full chunks have no semicolon, so the last eight bytes show whether the rest has one.
        let may_end_earlier =
            cut && bytes.last_chunk::<8>().is_none_or(|last| has_semicolon(*last));
        if may_end_earlier {
            return to_end(taken, rest);
        }
        rest.iter().fold(taken, |taken, byte| step(taken, *byte))
    }
}

/// Whether a byte of `eight` is a semicolon. The subtraction sets the top bit of a byte that had it clear, if
/// the byte is 0 or a lower byte is 0.
fn has_semicolon(eight: [u8; 8]) -> bool {
    let zero_where_it_is = u64::from_ne_bytes(eight) ^ u64::from_ne_bytes([b';'; 8]);
    let borrowed = zero_where_it_is.wrapping_sub(u64::from_ne_bytes([1; 8]));
    borrowed & !zero_where_it_is & u64::from_ne_bytes([0x80; 8]) != 0
}

/// The hash of a ring, which gives the position of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PositionHash {
    /// `carbon_ch`: the first two bytes of the MD5, big-endian; 0..=65535.
    Md5,
    /// `fnv1a_ch`: 32-bit FNV-1a, upper half xor lower half; 0..=65535.
    Fnv1a(Bytes),
    /// `mmh3_ch`: murmur3, 32 bit, seed 0, as a signed number.
    Mmh3,
}

impl PositionHash {
    /// The position of `key`.
    #[inline]
    pub(crate) fn position(self, key: Key<'_>) -> i32 {
        match self {
            Self::Md5 => i32::from(md5_position(key)),
            Self::Fnv1a(bytes) => i32::from(fnv1a_position(key, bytes)),
            Self::Mmh3 => murmur3_32(key.text()).cast_signed(),
        }
    }
}

/// The hash of a name that a ring looks up. Rings with the same one can share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyHash {
    /// A position on a circle.
    Position(PositionHash),
    /// The 64-bit FNV-1a of a jump ring.
    Jump(Bytes),
}

impl KeyHash {
    /// The hash of `key`.
    pub(crate) fn of(self, key: Key<'_>) -> u64 {
        match self {
            Self::Position(hash) => u64::from(hash.position(key).cast_unsigned()),
            Self::Jump(bytes) => fnv1a_64(key, bytes),
        }
    }

    /// The position that [`Self::of`] returned for [`KeyHash::Position`].
    pub(crate) fn position(hash: u64) -> i32 {
        u32::try_from(hash).unwrap_or_default().cast_signed()
    }
}

/// The first two bytes of the MD5 of `key`, big-endian.
fn md5_position(key: Key<'_>) -> u16 {
    let digest = Md5::digest(key.text());
    u16::from_be_bytes([digest[0], digest[1]])
}

/// The 32-bit FNV-1a of `key` folded to 16 bits.
#[inline]
fn fnv1a_position(key: Key<'_>, bytes: Bytes) -> u16 {
    let [a, b, c, d] = fnv1a_32(key, bytes).to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

/// FNV-1a, 32 bit.
#[inline]
fn fnv1a_32(key: Key<'_>, bytes: Bytes) -> u32 {
    const BASIS: u32 = 0x811c_9dc5;
    let step = |hash: u32, widened: u32| (hash ^ widened).wrapping_mul(0x0100_0193);
    // A loop for each, so that neither checks the kind at every byte.
    match bytes {
        Bytes::Unsigned => key.fold(BASIS, |hash, byte| step(hash, u32::from(byte))),
        Bytes::Signed => {
            key.fold(BASIS, |hash, byte| step(hash, i32::from(byte.cast_signed()).cast_unsigned()))
        }
    }
}

/// FNV-1a, 64 bit.
#[inline]
pub(crate) fn fnv1a_64(key: Key<'_>, bytes: Bytes) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    let step = |hash: u64, widened: u64| (hash ^ widened).wrapping_mul(0x0000_0100_0000_01b3);
    match bytes {
        Bytes::Unsigned => key.fold(BASIS, |hash, byte| step(hash, u64::from(byte))),
        Bytes::Signed => {
            key.fold(BASIS, |hash, byte| step(hash, i64::from(byte.cast_signed()).cast_unsigned()))
        }
    }
}

/// MurmurHash3_x86_32 with seed 0.
fn murmur3_32(text: &[u8]) -> u32 {
    let mix =
        |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, tail) = text.as_chunks::<4>();
    let mut hash = blocks.iter().fold(0_u32, |hash, block| {
        let mixed = hash ^ mix(u32::from_le_bytes(*block));
        mixed.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    if !tail.is_empty() {
        let block = tail.iter().rev().fold(0_u32, |block, byte| block << 8 | u32::from(*byte));
        hash ^= mix(block);
    }
    hash ^= length_mod_2_32(text);
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[expect(clippy::cast_possible_truncation, reason = "murmur3 takes the length modulo 2^32")]
fn length_mod_2_32(text: &[u8]) -> u32 {
    text.len() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fnv1a_has_its_published_values() {
        let cases: &[(&str, u32, u64)] = &[
            ("", 0x811c_9dc5, 0xcbf2_9ce4_8422_2325),
            ("a", 0xe40c_292c, 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0xbf9c_f968, 0x8594_4171_f739_67e8),
        ];
        for &(text, hash_32, hash_64) in cases {
            assert_eq!(fnv1a_32(Key::whole(text), Bytes::Unsigned), hash_32, "{text}");
            assert_eq!(fnv1a_64(Key::whole(text), Bytes::Unsigned), hash_64, "{text}");
            assert_eq!(fnv1a_32(Key::whole(text), Bytes::Signed), hash_32, "{text}");
            assert_eq!(fnv1a_64(Key::whole(text), Bytes::Signed), hash_64, "{text}");
        }
    }

    #[test]
    fn signed_bytes_change_what_is_not_ascii() {
        let text = "café833";
        assert_eq!(fnv1a_position(Key::whole(text), Bytes::Unsigned), 1343);
        assert_eq!(fnv1a_position(Key::whole(text), Bytes::Signed), 61181);
        assert_eq!(fnv1a_64(Key::whole(text), Bytes::Unsigned), 0x37db_508c_9763_d1b9);
        assert_eq!(fnv1a_64(Key::whole(text), Bytes::Signed), 0xbf1e_0233_2e42_0bb9);
    }

    #[test]
    fn murmur3_has_its_known_values_for_every_length_of_tail() {
        let cases: &[(&[u8], u32)] = &[
            (b"", 0),
            (b"\0", 0x514e_28b7),
            (b"\0\0", 0x30f4_c306),
            (b"\0\0\0", 0x85f0_b427),
            (b"\0\0\0\0", 0x2362_f9de),
            (&[0x21, 0x43, 0x65, 0x87], 0xf55b_516b),
            (&[0x21, 0x43, 0x65], 0x7e4a_8634),
            (&[0x21, 0x43], 0xa0f7_b07a),
            (&[0x21], 0x7266_1cf4),
            (b"The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ];
        for (text, hash) in cases {
            assert_eq!(murmur3_32(text), *hash, "{text:?}");
        }
        assert_eq!(PositionHash::Mmh3.position(Key::whole("app.dev.p50840044")), -1_382_261_452);
    }

    #[test]
    fn entries_lie_where_the_relays_put_them() {
        assert_eq!(md5_position(Key::whole("('graphite-b1', None):0")), 6057);
        assert_eq!(fnv1a_position(Key::whole("0-None"), Bytes::Unsigned), 18379);
        assert_eq!(fnv1a_position(Key::whole("0-graphite-b1:2003"), Bytes::Unsigned), 43404);
    }

    proptest! {
        /// Semicolons, their neighbours, and bytes that differ only in the top bit (0xbb, in "»").
        #[test]
        fn a_cut_key_hashes_as_what_is_before_the_semicolon(series in "[;:<a»\\x00]{0,40}") {
            let cut = Key { series: &series, tagged_names: TaggedNames::BeforeSemicolon };
            let name = series.split(';').next().unwrap_or_default();
            for bytes in [Bytes::Unsigned, Bytes::Signed] {
                prop_assert_eq!(fnv1a_64(cut, bytes), fnv1a_64(Key::whole(name), bytes));
                prop_assert_eq!(fnv1a_32(cut, bytes), fnv1a_32(Key::whole(name), bytes));
            }
            prop_assert_eq!(md5_position(cut), md5_position(Key::whole(name)));
        }
    }
}
