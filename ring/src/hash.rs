//! The hash functions, and where a text lies on a ring.
//!
//! MD5 comes from its crate. FNV-1a and murmur3 are a few lines each, and FNV is needed in the form that
//! carbon-c-relay has on x86-64, with signed bytes, which no crate offers.

use md5::{Digest, Md5};

/// How a byte enters FNV-1a.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// As 0..=255, as FNV has it.
    Unsigned,
    /// As C's `char` on x86-64: from 0x80 on widened with ones before the xor.
    Signed,
}

/// What a ring hashes with, and so where on it a text lies.
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
    /// The position of `text`.
    pub(crate) fn position(self, text: &[u8]) -> i32 {
        match self {
            Self::Md5 => i32::from(md5_position(text)),
            Self::Fnv1a(bytes) => i32::from(fnv1a_position(text, bytes)),
            Self::Mmh3 => murmur3_32(text).cast_signed(),
        }
    }
}

/// The first two bytes of the MD5 of `text`, big-endian.
pub(crate) fn md5_position(text: &[u8]) -> u16 {
    let digest = Md5::digest(text);
    u16::from_be_bytes([digest[0], digest[1]])
}

/// The 32-bit FNV-1a of `text` folded to 16 bits.
pub(crate) fn fnv1a_position(text: &[u8], bytes: Bytes) -> u16 {
    let [a, b, c, d] = fnv1a_32(text, bytes).to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

/// FNV-1a, 32 bit.
pub(crate) fn fnv1a_32(text: &[u8], bytes: Bytes) -> u32 {
    text.iter().fold(0x811c_9dc5, |hash: u32, byte| {
        let widened = match bytes {
            Bytes::Unsigned => u32::from(*byte),
            Bytes::Signed => i32::from(byte.cast_signed()).cast_unsigned(),
        };
        (hash ^ widened).wrapping_mul(0x0100_0193)
    })
}

/// FNV-1a, 64 bit.
pub(crate) fn fnv1a_64(text: &[u8], bytes: Bytes) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        let widened = match bytes {
            Bytes::Unsigned => u64::from(*byte),
            Bytes::Signed => i64::from(byte.cast_signed()).cast_unsigned(),
        };
        (hash ^ widened).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// MurmurHash3_x86_32 with seed 0.
pub(crate) fn murmur3_32(text: &[u8]) -> u32 {
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
    use super::*;

    #[test]
    fn fnv1a_has_its_published_values() {
        let cases: &[(&str, u32, u64)] = &[
            ("", 0x811c_9dc5, 0xcbf2_9ce4_8422_2325),
            ("a", 0xe40c_292c, 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0xbf9c_f968, 0x8594_4171_f739_67e8),
        ];
        for &(text, hash_32, hash_64) in cases {
            assert_eq!(fnv1a_32(text.as_bytes(), Bytes::Unsigned), hash_32, "{text}");
            assert_eq!(fnv1a_64(text.as_bytes(), Bytes::Unsigned), hash_64, "{text}");
            assert_eq!(fnv1a_32(text.as_bytes(), Bytes::Signed), hash_32, "{text}");
            assert_eq!(fnv1a_64(text.as_bytes(), Bytes::Signed), hash_64, "{text}");
        }
    }

    #[test]
    fn signed_bytes_change_what_is_not_ascii() {
        let text = "café833".as_bytes();
        assert_eq!(fnv1a_position(text, Bytes::Unsigned), 1343);
        assert_eq!(fnv1a_position(text, Bytes::Signed), 61181);
        assert_eq!(fnv1a_64(text, Bytes::Unsigned), 0x37db_508c_9763_d1b9);
        assert_eq!(fnv1a_64(text, Bytes::Signed), 0xbf1e_0233_2e42_0bb9);
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
        assert_eq!(PositionHash::Mmh3.position(b"app.dev.p50840044"), -1_382_261_452);
    }

    #[test]
    fn entries_lie_where_the_relays_put_them() {
        assert_eq!(md5_position(b"('graphite-b1', None):0"), 6057);
        assert_eq!(fnv1a_position(b"0-None", Bytes::Unsigned), 18379);
        assert_eq!(fnv1a_position(b"0-graphite-b1:2003", Bytes::Unsigned), 43404);
    }
}
