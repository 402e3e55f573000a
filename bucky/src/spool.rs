//! Files that are too long for memory. Each is in a temporary file without a name, which is gone when it is
//! closed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bucky_whisper::{Digest, DigestBuilder, Header, ImageError, is_compressed};

/// The longest file that is held in memory; longer ones go into temporary files.
pub(crate) const HELD_FILE_BYTES: u64 = 32 << 20;
/// The length of a block that becomes a hole if it has only zeros.
const HOLE_BYTES: usize = 4096;

/// A file's content, in memory or on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// In memory.
    Held(Vec<u8>),
    /// In a temporary file.
    Spooled(Spool),
}

impl Content {
    /// How many bytes of it are in memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        match self {
            Self::Held(content) => content.len() as u64,
            Self::Spooled(_) => 0,
        }
    }

    /// The content in a temporary file.
    ///
    /// # Errors
    /// Those of the temporary file; they say what to do.
    pub(crate) fn into_spool(self) -> io::Result<Spool> {
        match self {
            Self::Spooled(spool) => Ok(spool),
            Self::Held(content) => {
                let mut writer = SpoolWriter::begin()?;
                writer.write(&content)?;
                writer.finish()
            }
        }
    }
}

/// A file's content in a temporary file.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    file: Arc<File>,
    len_bytes: u64,
    digest: Digest,
}

/// Two spools are equal if their contents are.
impl PartialEq for Spool {
    fn eq(&self, other: &Self) -> bool {
        (self.len_bytes, self.digest) == (other.len_bytes, other.digest)
    }
}

impl Eq for Spool {}

impl Spool {
    /// Its length.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The digest of its content.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The temporary file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Reads all of it, from its beginning.
    pub(crate) fn reader(&self) -> SpoolReader {
        self.part(0, self.len_bytes)
    }

    /// Reads `bytes` from `offset` on.
    pub(crate) fn part(&self, offset: u64, bytes: u64) -> SpoolReader {
        SpoolReader { file: Arc::clone(&self.file), at: offset, left: bytes }
    }

    /// The whole content, in memory.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub(crate) fn content(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.reader().read_to_end(&mut content)?;
        Ok(content)
    }

    /// The header, if the content is a valid Whisper file, or else what is wrong.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub(crate) fn kind(&self) -> io::Result<Result<Header, ImageError>> {
        let mut head = Vec::new();
        self.part(0, self.len_bytes.min(Header::SIZE_MAX_BYTES)).read_to_end(&mut head)?;
        if is_compressed(&head) {
            return Ok(Err(ImageError::Compressed));
        }
        Ok(Header::parse(&head, self.len_bytes).map_err(ImageError::Header))
    }

    /// The spool with its new digest, after the file was written to.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub(crate) fn changed(self) -> io::Result<Self> {
        let (digest, _) = Digest::read(self.reader(), self.len_bytes)?;
        Ok(Self { digest, ..self })
    }
}

/// Reads a part of a temporary file; others may read it at the same time.
pub(crate) struct SpoolReader {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        match self.file.read_at(buffer, self.at)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.at += read as u64;
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}

/// A temporary file that is being written.
pub(crate) struct SpoolWriter {
    file: File,
    at: u64,
    digest: DigestBuilder,
}

impl SpoolWriter {
    /// An empty temporary file.
    ///
    /// # Errors
    /// If it cannot be created; the error says what to do.
    pub(crate) fn begin() -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder()).map_err(explained)?;
        Ok(Self { file, at: 0, digest: DigestBuilder::new() })
    }

    /// Adds a piece. Blocks of zeros become holes.
    ///
    /// # Errors
    /// If there is no room for it; the error says what to do.
    pub(crate) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.digest.update(piece);
        for block in piece.chunks(HOLE_BYTES) {
            if block.iter().any(|byte| *byte != 0) {
                self.file.write_all_at(block, self.at).map_err(explained)?;
            }
            self.at += block.len() as u64;
        }
        Ok(())
    }

    /// Adds `bytes` bytes of `reader`, which must have that many.
    ///
    /// # Errors
    /// The errors of [`Self::write`], and those of the reader, unchanged: `UnexpectedEof` if it has fewer.
    pub(crate) fn copy(&mut self, reader: &mut impl Read, bytes: u64) -> Result<(), CopyError> {
        let mut piece = vec![0; 64 * HOLE_BYTES];
        let mut left = bytes;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let Some(piece) = piece.get_mut(..wanted) else { break };
            reader.read_exact(piece).map_err(CopyError::Read)?;
            self.write(piece).map_err(CopyError::Write)?;
            left -= wanted as u64;
        }
        Ok(())
    }

    /// Adds `bytes` zeros, without writing them.
    pub(crate) fn hole(&mut self, bytes: u64) {
        let zeros = [0; HOLE_BYTES];
        let mut left = bytes;
        while left > 0 {
            let some = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
            self.digest.update(&zeros[..some]);
            left -= some as u64;
        }
        self.at += bytes;
    }

    /// How many bytes were written.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.at
    }

    /// The file with everything that was written.
    ///
    /// # Errors
    /// If its length cannot be set; the error says what to do.
    pub(crate) fn finish(self) -> io::Result<Spool> {
        self.file.set_len(self.at).map_err(explained)?;
        let digest = self.digest.finish();
        Ok(Spool { file: Arc::new(self.file), len_bytes: self.at, digest })
    }
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// The reader.
    Read(io::Error),
    /// The temporary file.
    Write(io::Error),
}

/// The folder of temporary files: `TMPDIR`, or else a folder on disk, because `/tmp` may be in memory.
fn folder() -> PathBuf {
    let on_disk = Path::new("/var/tmp");
    if std::env::var_os("TMPDIR").is_none() && on_disk.is_dir() {
        return on_disk.to_owned();
    }
    std::env::temp_dir()
}

fn explained(error: io::Error) -> io::Error {
    let text = format!(
        "cannot write a temporary file in {} ({error}); set TMPDIR to a folder with more room",
        folder().display()
    );
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_is_read_in_whole_and_in_part_and_zeros_are_holes() {
        let mut content = vec![0; 100_000];
        content[50_000..50_100].fill(7);
        let mut writer = SpoolWriter::begin().unwrap();
        for piece in content[..90_000].chunks(30_000) {
            writer.write(piece).unwrap();
        }
        writer.hole(10_000);
        let spool = writer.finish().unwrap();
        assert_eq!((spool.len_bytes(), spool.digest()), (100_000, Digest::of(&content)));
        assert_eq!(spool.content().unwrap(), content);
        let mut part = Vec::new();
        spool.part(49_999, 3).read_to_end(&mut part).unwrap();
        assert_eq!(part, [0, 7, 7]);
        spool.file().write_all_at(&[1], 0).unwrap();
        content[0] = 1;
        assert_eq!(spool.changed().unwrap().digest(), Digest::of(&content));
    }

    #[test]
    fn a_failed_copy_reports_which_side_failed() {
        let mut writer = SpoolWriter::begin().unwrap();
        let copied = writer.copy(&mut &b"abc"[..], 4);
        assert!(
            matches!(copied, Err(CopyError::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof)
        );
        let text = explained(io::ErrorKind::StorageFull.into()).to_string();
        assert!(text.contains("TMPDIR") && text.contains("no storage space"), "{text}");
    }
}
