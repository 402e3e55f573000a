//! Where an archive is read from: a file or standard input, plain or compressed. The first bytes show the
//! compression.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The largest zstd window that is accepted, as a power of two: what `zstd -d` itself accepts.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// How much is read at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// How compressed archives begin. Those with the name of a program cannot be read here.
const CODINGS: [(&[u8], Coding); 5] = [
    (&[0x1f, 0x8b], Coding::Gzip),
    (&[0x28, 0xb5, 0x2f, 0xfd], Coding::Zstd),
    (b"BZh", Coding::Other("bzip2")),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], Coding::Other("xz")),
    (&[0x04, 0x22, 0x4d, 0x18], Coding::Other("lz4")),
];

/// A compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
    Zstd,
    /// A compression that cannot be read here, with the name of its program.
    Other(&'static str),
}

/// Where an archive is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArchiveSource {
    /// From standard input.
    Stdin,
    /// From this file.
    File(PathBuf),
}

/// The reason why an archive cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The file does not exist, or cannot be read.
    #[error("cannot read {path}")]
    Open { path: String, source: io::Error },
    /// Its first bytes cannot be read.
    #[error("cannot read {path}")]
    Begin { path: String, source: io::Error },
    /// It has a compression that cannot be read here.
    #[error(
        "{path} is compressed with {program}, which restore cannot read; run `{program} -dc {path} | bucky \
         restore -`"
    )]
    Coding { path: String, program: &'static str },
}

impl ArchiveSource {
    /// `-` is standard input, anything else a file.
    pub(crate) fn of(text: &Path) -> Self {
        if text == Path::new("-") { Self::Stdin } else { Self::File(text.into()) }
    }

    /// Opens the archive; the reader returns uncompressed bytes.
    ///
    /// # Errors
    /// [`InputError`].
    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>, InputError> {
        match self {
            Self::Stdin => plain(io::stdin(), "standard input"),
            Self::File(path) => {
                let shown = path.display().to_string();
                let file = File::open(path)
                    .map_err(|source| InputError::Open { path: shown.clone(), source })?;
                plain(file, &shown)
            }
        }
    }
}

fn plain(
    reader: impl Read + Send + 'static,
    path: &str,
) -> Result<Box<dyn Read + Send>, InputError> {
    let begin = |source| InputError::Begin { path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, FullReads(reader));
    Ok(match coding_of(reader.fill_buf().map_err(begin)?) {
        Coding::Plain => Box::new(reader),
        Coding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader).map_err(begin)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(begin)?;
            Box::new(decoder)
        }
        Coding::Other(program) => {
            return Err(InputError::Coding { path: path.to_owned(), program });
        }
    })
}

fn coding_of(first: &[u8]) -> Coding {
    // The output of pzstd begins with a skippable frame, which has one of 16 magic numbers.
    if let [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] = first {
        return Coding::Zstd;
    }
    let coding = CODINGS.iter().find(|(magic, _)| first.starts_with(magic));
    coding.map_or(Coding::Plain, |(_, coding)| *coding)
}

/// A reader that fills the buffer unless it is at its end: a pipe may return its first bytes one by one.
struct FullReads<R>(R);

impl<R: Read> Read for FullReads<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read(rest) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled == 0 => return Err(error),
                // The next call returns the error; the bytes before it count.
                Err(_) => break,
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_api::Encoding;
    use std::io::Write;

    #[test]
    fn the_compression_of_an_archive_is_found_by_its_content() {
        let text: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.of.any.name");
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let mut encoder = encoding.encoder(Vec::new()).unwrap();
            encoder.write_all(&text).unwrap();
            std::fs::write(&path, encoder.finish().unwrap()).unwrap();
            let mut read = Vec::new();
            ArchiveSource::of(&path).open().unwrap().read_to_end(&mut read).unwrap();
            assert!(read == text, "{encoding}");
        }
        let mut skipped = b"\x5a\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        skipped.extend(zstd::encode_all(text.as_slice(), 1).unwrap());
        std::fs::write(&path, skipped).unwrap();
        let mut read = Vec::new();
        ArchiveSource::of(&path).open().unwrap().read_to_end(&mut read).unwrap();
        assert!(read == text, "behind a frame that is passed over");
        assert_eq!(ArchiveSource::of(Path::new("-")), ArchiveSource::Stdin);
    }

    #[test]
    fn an_unreadable_archive_is_reported_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let error = |source: &Path| ArchiveSource::of(source).open().err().unwrap().to_string();
        assert!(error(&path).contains("cannot read"));
        std::fs::write(&path, b"\xfd7zXZ\0...").unwrap();
        assert!(error(&path).contains("xz -dc"), "{}", error(&path));
        std::fs::write(&path, b"").unwrap();
        let mut read = Vec::new();
        ArchiveSource::of(&path).open().unwrap().read_to_end(&mut read).unwrap();
        assert!(read.is_empty());
    }
}
