//! How bytes travel: plain or compressed.
//!
//! Compressors and decompressors are streams over `Read` and `Write`. A decompressor never holds more than
//! its window, so a small body that unpacks to a large one costs time, not memory.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest zstd window that is accepted, as a power of two: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Whisper files are runs of similar numbers: the fastest level has most of the gain.
const ZSTD_LEVEL: i32 = 1;

/// A content coding of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Plain bytes.
    #[default]
    Identity,
    /// Zstandard.
    Zstd,
    /// Gzip.
    Gzip,
    /// Snappy's framing format, as in the Go tool.
    Snappy,
}

/// An unknown content coding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown encoding {0:?}; known are identity, zstd, gzip, snappy")]
pub struct UnknownEncoding(pub String);

impl Encoding {
    /// The name in `Content-Encoding` and `Accept-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
        }
    }

    /// The best encoding that an `Accept-Encoding` header allows: zstd, then gzip, then snappy.
    ///
    /// A coding with `q=0` is not allowed. Other weights are ignored.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let Some(accept) = accept else { return Self::Identity };
        let allowed = |name: &str| {
            accept.split(',').any(|item| {
                let mut parts = item.split(';').map(str::trim);
                let named = parts.next().is_some_and(|n| n.eq_ignore_ascii_case(name));
                named && !parts.any(|p| p.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
            })
        };
        [Self::Zstd, Self::Gzip, Self::Snappy]
            .into_iter()
            .find(|encoding| allowed(encoding.as_str()))
            .unwrap_or(Self::Identity)
    }

    /// A reader of the plain bytes in `reader`.
    ///
    /// # Errors
    /// If the decompressor cannot be set up.
    pub fn decoder<'a>(
        self,
        reader: impl Read + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::Identity => Box::new(reader),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(reader))),
            Self::Snappy => Box::new(snap::read::FrameDecoder::new(reader)),
        })
    }

    /// A writer that encodes plain bytes and passes them to `writer`. [`Encoder::finish`] must be called at
    /// the end.
    ///
    /// # Errors
    /// If the compressor cannot be set up.
    pub fn encoder<W: Write>(self, writer: W) -> io::Result<Encoder<W>> {
        Ok(match self {
            Self::Identity => Encoder::Identity(writer),
            Self::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(writer, ZSTD_LEVEL)?),
            Self::Gzip => {
                Encoder::Gzip(flate2::write::GzEncoder::new(writer, flate2::Compression::fast()))
            }
            Self::Snappy => Encoder::Snappy(Box::new(snap::write::FrameEncoder::new(writer))),
        })
    }
}

/// A writer that encodes.
pub enum Encoder<W: Write> {
    /// Plain.
    Identity(W),
    /// Zstandard.
    Zstd(zstd::stream::write::Encoder<'static, W>),
    /// Gzip.
    Gzip(flate2::write::GzEncoder<W>),
    /// Snappy frames.
    Snappy(Box<snap::write::FrameEncoder<W>>),
}

impl<W: Write> Encoder<W> {
    /// Writes buffered data and the trailer of the encoding.
    ///
    /// # Errors
    /// Those of the underlying writer.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Identity(writer) => Ok(writer),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Snappy(encoder) => encoder.into_inner().map_err(|error| error.into_error()),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Identity(writer) => writer.write(buf),
            Self::Zstd(encoder) => encoder.write(buf),
            Self::Gzip(encoder) => encoder.write(buf),
            Self::Snappy(encoder) => encoder.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Identity(writer) => writer.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Snappy(encoder) => encoder.flush(),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Identity, Self::Zstd, Self::Gzip, Self::Snappy]
            .into_iter()
            .find(|encoding| encoding.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownEncoding(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_bytes_decode_to_themselves() {
        let plain: Vec<u8> = (0..200_000u32).flat_map(|i| (i / 7).to_be_bytes()).collect();
        for encoding in [Encoding::Identity, Encoding::Zstd, Encoding::Gzip, Encoding::Snappy] {
            let mut encoder = encoding.encoder(Vec::new()).unwrap();
            encoder.write_all(&plain).unwrap();
            let encoded = encoder.finish().unwrap();
            let mut decoded = Vec::new();
            encoding.decoder(encoded.as_slice()).unwrap().read_to_end(&mut decoded).unwrap();
            assert!(decoded == plain, "{encoding}");
        }
    }

    #[test]
    fn the_best_encoding_that_the_header_allows_is_taken() {
        for (accept, taken) in [
            (None, Encoding::Identity),
            (Some(""), Encoding::Identity),
            (Some("gzip, deflate, br, zstd"), Encoding::Zstd),
            (Some("gzip;q=1.0, zstd;q=0"), Encoding::Gzip),
            (Some("snappy"), Encoding::Snappy),
            (Some("br"), Encoding::Identity),
        ] {
            assert_eq!(Encoding::negotiate(accept), taken, "{accept:?}");
        }
    }
}
