//! A compressed body, read up to a limit as the daemon reads it.
//!
//! Bytes: the coding (1), the limit in steps of 256 bytes (1), the body.

use std::io::{Read, Write};

use bucky_api::Encoding;

const CODINGS: [Encoding; 4] =
    [Encoding::Zstd, Encoding::Gzip, Encoding::Snappy, Encoding::Identity];

pub(super) fn check(mut bytes: &[u8]) {
    let coding = CODINGS[usize::from(super::first(&mut bytes)) % CODINGS.len()];
    let limit = u64::from(super::first(&mut bytes)) * 256;
    let mut plain = Vec::new();
    let read = coding.decoder(bytes).and_then(|body| body.take(limit).read_to_end(&mut plain));
    assert!(plain.len() as u64 <= limit, "{coding} gave {} bytes of {limit}", plain.len());
    if read.is_ok() && coding == Encoding::Identity {
        assert_eq!(plain, bytes[..plain.len()]);
    }

    let mut encoder = coding.encoder(Vec::new()).unwrap();
    encoder.write_all(bytes).unwrap();
    let encoded = encoder.finish().unwrap();
    let mut again = Vec::new();
    coding.decoder(encoded.as_slice()).unwrap().read_to_end(&mut again).unwrap();
    assert_eq!(again, bytes, "{coding} does not give back what it was given");
}
