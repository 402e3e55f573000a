//! go-carbon's list of files (its `file-list-cache`, version 2), read as a stream.
//!
//! The file is gzip. Its content begins with the bytes `7f "flc02"`. Then each file has the length of its
//! path (8 bytes, big-endian), the path, 32 bytes of figures, and a line feed. At most [`PATH_LIMIT_BYTES`]
//! are read for a path, whatever the file says. A list without a regular end is an error: its readable part
//! says nothing about the rest.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

const MAGIC: &[u8; 6] = b"\x7fflc02";
/// The longest path: go-carbon's own limit.
const PATH_LIMIT_BYTES: u64 = 8192;
const FIGURES_BYTES: usize = 32;
const SEPARATOR: u8 = b'\n';
/// The size of the read buffer. Also the number of bytes that are decompressed to recognise a list.
const BUFFER_BYTES: usize = 64 * 1024;

/// Why a list cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileListError {
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// It is not a gzip file, or its blocks or checksums are damaged.
    #[error("it cannot be read, or is not a complete gzip file")]
    Read(#[source] io::Error),
    /// It is a list of another version, such as go-carbon's first, which has one path per line.
    #[error(
        "it does not begin with {:?} but with {}; only version 2 of go-carbon's format can be read",
        MAGIC.escape_ascii().to_string(),
        found.escape_ascii()
    )]
    Version {
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// An entry has a length that is too long for a path.
    #[error("entry {entry} has a path of {len_bytes} bytes; the limit is {PATH_LIMIT_BYTES}")]
    PathTooLong {
        /// The entry, counted from 0.
        entry: u64,
        /// The length in the entry.
        len_bytes: u64,
    },
    /// It ends inside an entry.
    #[error("it is cut off in entry {entry}")]
    CutOff {
        /// The entry, counted from 0.
        entry: u64,
    },
    /// The byte after an entry is not the separator.
    #[error("entry {entry} ends with byte {found:#04x} and not with a line feed")]
    Separator {
        /// The entry, counted from 0.
        entry: u64,
        /// The byte that was found.
        found: u8,
    },
}

/// A list that is being read.
pub(super) struct FileList<R: Read> {
    reader: BufReader<MultiGzDecoder<BufReader<R>>>,
    /// How many entries were read.
    entries: u64,
    /// The entry's path, its figures and the separator.
    entry: Vec<u8>,
}

impl<R: Read> FileList<R> {
    /// Opens a list at its first byte.
    ///
    /// # Errors
    /// [`FileListError`] if it is not a list of version 2.
    pub(super) fn open(reader: R) -> Result<Self, FileListError> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        if reader.fill_buf().map_err(FileListError::Read)?.is_empty() {
            return Err(FileListError::Empty);
        }
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(reader));
        let mut found = Vec::new();
        let head = (&mut reader).take(MAGIC.len() as u64).read_to_end(&mut found);
        head.map_err(FileListError::Read)?;
        if found != MAGIC {
            return Err(FileListError::Version { found });
        }
        Ok(Self { reader, entries: 0, entry: Vec::new() })
    }

    /// The path of the next entry. `None` at the regular end.
    ///
    /// # Errors
    /// [`FileListError`]. Nothing can be read after an error.
    pub(super) fn next_path(&mut self) -> Result<Option<&[u8]>, FileListError> {
        let entry = self.entries;
        // This also reads the end of the gzip stream and verifies its checksum.
        if self.reader.fill_buf().map_err(FileListError::Read)?.is_empty() {
            return Ok(None);
        }
        let mut length = [0; 8];
        self.reader.read_exact(&mut length).map_err(|error| broken(entry, error))?;
        let len_bytes = u64::from_be_bytes(length);
        let path_len = usize::try_from(len_bytes)
            .ok()
            .filter(|_| len_bytes <= PATH_LIMIT_BYTES)
            .ok_or(FileListError::PathTooLong { entry, len_bytes })?;
        self.entry.resize(path_len + FIGURES_BYTES + 1, 0);
        self.reader.read_exact(&mut self.entry).map_err(|error| broken(entry, error))?;
        match self.entry.last() {
            Some(&SEPARATOR) => {}
            found => {
                let found = found.copied().unwrap_or_default();
                return Err(FileListError::Separator { entry, found });
            }
        }
        self.entries += 1;
        Ok(self.entry.get(..path_len))
    }
}

fn broken(entry: u64, error: io::Error) -> FileListError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FileListError::CutOff { entry },
        _ => FileListError::Read(error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    pub(in crate::inventory) fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn plain<P: AsRef<[u8]>>(paths: &[P]) -> Vec<u8> {
        let mut content = MAGIC.to_vec();
        for path in paths {
            let path = path.as_ref();
            content.extend_from_slice(&(path.len() as u64).to_be_bytes());
            content.extend_from_slice(path);
            content.extend_from_slice(&[7; FIGURES_BYTES]);
            content.push(SEPARATOR);
        }
        content
    }

    /// A list of these paths, as go-carbon writes it.
    pub(in crate::inventory) fn list_of<P: AsRef<[u8]>>(paths: &[P]) -> Vec<u8> {
        gzip(&plain(paths))
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, FileListError> {
        let mut list = FileList::open(bytes)?;
        let mut paths = Vec::new();
        while let Some(path) = list.next_path()? {
            paths.push(path.to_vec());
        }
        Ok(paths)
    }

    #[test]
    fn the_paths_of_a_list_are_read_in_its_order() {
        let paths = ["/a/b.wsp", "c.wsp", "/dir", ""];
        assert_eq!(read(&list_of(&paths)).unwrap(), paths.map(|path| path.as_bytes().to_vec()));
        assert_eq!(read(&list_of::<&str>(&[])).unwrap(), Vec::<Vec<u8>>::new());
        let longest = "x".repeat(8192);
        assert_eq!(read(&list_of(&[&longest])).unwrap(), [longest.into_bytes()]);
    }

    #[test]
    fn d12_d17_a_list_that_is_damaged_anywhere_is_an_error_that_says_where() {
        let entry = plain(&["/a.wsp"]);
        let mut top_bit = entry.clone();
        top_bit[6] = 0x80;
        let mut separator = entry.clone();
        *separator.last_mut().unwrap() = b'x';
        let (mut damaged, whole) = (gzip(&entry), gzip(&entry));
        let sum = damaged.len() - 8;
        damaged[sum] ^= 1;
        for (bytes, said) in [
            (Vec::new(), "it is empty"),
            (b"/a.wsp\n/b.wsp\n".to_vec(), "not a complete gzip file"),
            (gzip(b""), "does not begin with"),
            (gzip(b"/a.wsp\n/b.wsp\n"), "but with /a.wsp"),
            (gzip(&top_bit), "entry 0 has a path of 9223372036854775814 bytes"),
            (list_of(&["x".repeat(8193)]), "entry 0 has a path of 8193 bytes"),
            (gzip(&separator), "entry 0 ends with byte 0x78"),
            (gzip(&entry[..entry.len() - 1]), "cut off in entry 0"),
            (gzip(&entry[..MAGIC.len() + 3]), "cut off in entry 0"),
            (damaged, "not a complete gzip file"),
            (whole[..whole.len() - 9].to_vec(), "cut off"),
            (whole[..whole.len() - 4].to_vec(), "cut off"),
            ([&whole[..], b"junk"].concat(), "not a complete gzip file"),
        ] {
            let error = read(&bytes).map(|paths| panic!("{said}: {paths:?}")).unwrap_err();
            let text = bucky_api::chain(&error);
            assert!(text.contains(said) || said == "cut off", "{said}: {text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(paths in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            prop_assert_eq!(read(&list_of(&paths)).unwrap(), paths);
        }

        /// The magic bytes are there, so that the entries are reached.
        #[test]
        fn d12_no_bytes_at_all_make_the_reader_panic_or_believe_a_length(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            zip in any::<bool>(),
        ) {
            let content = [&MAGIC[..], &bytes].concat();
            let _ = read(&if zip { gzip(&content) } else { bytes });
        }

        #[test]
        fn d17_a_list_that_was_cut_anywhere_is_never_taken_for_whole(
            paths in prop::collection::vec("[a-z/]{1,20}", 1..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = list_of(&paths);
            prop_assert!(read(&whole[..cut.index(whole.len())]).is_err());
        }
    }
}
