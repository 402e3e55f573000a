//! PAX records in the extension headers of a tar: `LENGTH SPACE KEY=VALUE LF`. The length counts the whole
//! record.
//!
//! Records are separated by their lengths, as POSIX requires, so that a value can contain a line end. Source:
//! `pax`, "pax Extended Header", in POSIX.1-2001.

/// The records in `bytes`, each a key and a value, in their order. `None` if a record is malformed.
pub(super) fn records(mut bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let digits = std::str::from_utf8(bytes.get(..space)?).ok()?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (record, rest) = bytes.split_at_checked(digits.parse().ok()?)?;
        let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        records.push((pair.get(..equals)?, pair.get(equals + 1..)?));
        bytes = rest;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn a_value_goes_as_far_as_its_length_says() {
        let two = b"12 path=a\nb\n9 k=v=w\n\n";
        assert_eq!(records(two).unwrap(), [(&b"path"[..], &b"a\nb"[..]), (b"k", b"v=w\n")]);
        assert_eq!(records(b"").unwrap(), []);
    }

    #[test]
    fn a_malformed_record_is_none() {
        for text in [
            "x",
            "5 a=b",
            "7 a=b\n",
            "5 a=b\n",
            " a=b\n",
            "+6 a=b\n",
            "6 a-b\n",
            "3 \n",
            "0 a=b\n",
            "99999999999999999999 a=b\n",
            "6 a=b\n6 a=b",
        ] {
            assert_eq!(records(text.as_bytes()), None, "{text:?}");
        }
    }
}
