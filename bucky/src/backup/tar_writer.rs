//! Writes a tar that GNU tar and other readers understand: ustar headers, with records before a member only
//! for what a header cannot hold.
//!
//! Only [`TarWriter::finish`] writes the end of the archive. An archive that was given up has no end, so a
//! reader sees that it is not complete. Sources: "ustar Interchange Format" and "pax Extended Header" in
//! POSIX.1-2001; "Storing Sparse Files, PAX Format, Version 1.0" in GNU tar's manual.

use std::io::{self, BufReader, Read, Write};

use bucky_api::archive::FileMeta;
use bucky_whisper::Digest;
use tar::{EntryType, Header};

use crate::spool::Spool;
use crate::tar_records::{BLOCK, COMMENT, Digests, STRETCHES_MOST, Stretch, record};

/// The unit of holes; nearly all file systems use it.
const HOLE: usize = 4096;
/// How much of a temporary file is read at a time.
const BUFFER_BYTES: usize = 256 * 1024;
/// The longest member whose length fits into a header.
const HEADER_BYTES_MOST: u64 = 0o77_777_777_777;
/// The longest name in a header that only serves readers without support for records.
const NAME_BYTES: usize = 100;

/// How the contents of members are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TarForm {
    /// Byte for byte.
    Whole,
    /// Without blocks that are all zeros.
    Sparse,
}

/// Writes a tar.
pub(crate) struct TarWriter<W> {
    writer: W,
    form: TarForm,
}

impl<W: Write> TarWriter<W> {
    /// An archive without members.
    pub(crate) fn new(writer: W, form: TarForm) -> Self {
        Self { writer, form }
    }

    /// Adds the file at `path`.
    ///
    /// # Errors
    /// Those of the inner writer. The archive is not usable then.
    pub(crate) fn append(&mut self, path: &str, meta: FileMeta, content: &[u8]) -> io::Result<()> {
        let stretches = match self.form {
            TarForm::Whole => None,
            TarForm::Sparse => stretches(content)?,
        };
        let file =
            MemberInfo { meta, digest: Digest::of(content), len_bytes: content.len() as u64 };
        let bytes = self.begin(path, &file, stretches.as_deref())?;
        match stretches {
            None => self.writer.write_all(content)?,
            Some(stretches) => {
                for stretch in stretches {
                    self.writer.write_all(part(content, stretch))?;
                }
            }
        }
        self.fill_up(bytes)
    }

    /// Adds the file at `path`, with its content from a temporary file.
    ///
    /// # Errors
    /// Those of the inner writer, and of the temporary file. The archive is not usable then.
    pub(crate) fn append_spooled(
        &mut self,
        path: &str,
        meta: FileMeta,
        spool: &Spool,
    ) -> io::Result<()> {
        let stretches = match self.form {
            TarForm::Whole => None,
            TarForm::Sparse => stretches(BufReader::with_capacity(BUFFER_BYTES, spool.reader()))?,
        };
        let file = MemberInfo { meta, digest: spool.digest(), len_bytes: spool.len_bytes() };
        let bytes = self.begin(path, &file, stretches.as_deref())?;
        let all = [Stretch { offset: 0, bytes: spool.len_bytes() }];
        for Stretch { offset, bytes } in stretches.as_deref().unwrap_or(&all) {
            let mut reader = BufReader::with_capacity(BUFFER_BYTES, spool.part(*offset, *bytes));
            io::copy(&mut reader, &mut self.writer)?;
        }
        self.fill_up(bytes)
    }

    /// Writes what comes before a file's content, including the map of its data. Returns the length of the
    /// member.
    fn begin(
        &mut self,
        path: &str,
        file: &MemberInfo,
        stretches: Option<&[Stretch]>,
    ) -> io::Result<u64> {
        let MemberInfo { meta, digest, len_bytes } = *file;
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        let fits = path.is_ascii() && header.set_path(path).is_ok();
        let digests = Digests {
            content: digest,
            path: (!fits || stretches.is_some()).then(|| Digest::of(path.as_bytes())),
        };
        let mut records = record(COMMENT, digests.to_comment().as_bytes());
        let (mut bytes, mut map_of_data) = (len_bytes, Vec::new());
        if let Some(stretches) = stretches {
            records.extend(sparse_records(path, len_bytes));
            map_of_data = map(stretches);
            let data = stretches.iter().map(|stretch| stretch.bytes).sum::<u64>();
            bytes = map_of_data.len() as u64 + data;
            set_plain_name(&mut header, &format!("GNUSparseFile.0/{path}"))?;
        } else if !fits {
            records.extend(record("path", path.as_bytes()));
            set_plain_name(&mut header, path)?;
        }
        if bytes > HEADER_BYTES_MOST {
            records.extend(record("size", bytes.to_string().as_bytes()));
        }
        self.extension(path, meta, &records)?;
        self.header(&mut header, meta, bytes)?;
        self.writer.write_all(&map_of_data)?;
        Ok(bytes)
    }

    /// Writes the end of the archive, and returns the inner writer.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.writer.write_all(&[0; 2 * BLOCK])?;
        Ok(self.writer)
    }

    /// Writes a block that is not a member.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub(crate) fn raw(&mut self, block: &[u8]) -> io::Result<()> {
        self.writer.write_all(block)
    }

    /// The inner writer; the archive has no end.
    pub(crate) fn into_writer(self) -> W {
        self.writer
    }

    /// Writes the records for the next member.
    fn extension(&mut self, path: &str, meta: FileMeta, records: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        set_plain_name(&mut header, &format!("PaxHeaders/{path}"))?;
        header.set_entry_type(EntryType::XHeader);
        self.header(&mut header, meta, records.len() as u64)?;
        self.writer.write_all(records)?;
        self.fill_up(records.len() as u64)
    }

    fn header(&mut self, header: &mut Header, meta: FileMeta, bytes: u64) -> io::Result<()> {
        header.set_mode(meta.mode & 0o7777);
        header.set_mtime(meta.mtime);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(bytes);
        header.set_cksum();
        self.writer.write_all(header.as_bytes())
    }

    /// Writes zeros up to the next block.
    fn fill_up(&mut self, bytes: u64) -> io::Result<()> {
        let over = usize::try_from(bytes % BLOCK as u64).unwrap_or(0);
        if over == 0 { Ok(()) } else { self.writer.write_all(&[0; BLOCK][over..]) }
    }
}

/// A file without its content.
#[derive(Clone, Copy)]
struct MemberInfo {
    meta: FileMeta,
    digest: Digest,
    len_bytes: u64,
}

/// Sets the name in the header, which a record overrides. It is cut to fit, and `_` replaces what is not
/// ASCII.
fn set_plain_name(header: &mut Header, path: &str) -> io::Result<()> {
    let plain: String = path.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
    header.set_path(plain.get(..NAME_BYTES).unwrap_or(&plain).trim_end_matches('/'))
}

fn sparse_records(path: &str, bytes: u64) -> Vec<u8> {
    let bytes = bytes.to_string();
    let pairs = [("major", "1"), ("minor", "0"), ("name", path), ("realsize", &bytes)];
    let record =
        |(key, value): (&str, &str)| record(&format!("GNU.sparse.{key}"), value.as_bytes());
    pairs.into_iter().flat_map(record).collect()
}

/// The stretches of data in units of [`HOLE`]. `None` if leaving out the holes saves less than the map costs,
/// or if the map would be longer than readers accept.
fn stretches(mut content: impl Read) -> io::Result<Option<Vec<Stretch>>> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut offset = 0;
    let mut block = Vec::with_capacity(HOLE);
    loop {
        block.clear();
        let bytes = content.by_ref().take(HOLE as u64).read_to_end(&mut block)? as u64;
        if bytes == 0 {
            break;
        }
        if block.iter().any(|byte| *byte != 0) {
            match stretches.last_mut() {
                Some(last) if last.offset + last.bytes == offset => last.bytes += bytes,
                _ => stretches.push(Stretch { offset, bytes }),
            }
            // A hole at the end may need one more stretch.
            if stretches.len() >= STRETCHES_MOST {
                return Ok(None);
            }
        }
        offset += bytes;
    }
    let data: u64 = stretches.iter().map(|stretch| stretch.bytes).sum();
    // An empty stretch at the end marks a file that ends in a hole.
    if stretches.last().is_none_or(|last| last.offset + last.bytes < offset) {
        stretches.push(Stretch { offset, bytes: 0 });
    }
    let map_bytes = map(&stretches).len() as u64;
    Ok((data + map_bytes < offset).then_some(stretches))
}

/// The map of a sparse member, which comes before its data: numbers, one a line, padded to whole blocks.
fn map(stretches: &[Stretch]) -> Vec<u8> {
    let mut map = format!("{}\n", stretches.len());
    for Stretch { offset, bytes } in stretches {
        map.push_str(&format!("{offset}\n{bytes}\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

fn part(content: &[u8], stretch: Stretch) -> &[u8] {
    let start = usize::try_from(stretch.offset).unwrap_or(usize::MAX);
    let bytes = usize::try_from(stretch.bytes).unwrap_or(0);
    content.get(start..start.saturating_add(bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Content;

    const META: FileMeta = FileMeta { mode: 0o640, mtime: 1_700_000_000 };

    fn archive(form: TarForm, files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new(), form);
        for (path, content) in files {
            writer.append(path, META, content).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn an_archive_of_nothing_is_two_empty_blocks() {
        assert_eq!(archive(TarForm::Whole, &[]), vec![0; 1024]);
    }

    #[test]
    fn members_have_their_paths_modes_and_times_and_no_owner() {
        let long = format!("{}/{}.wsp", "d".repeat(120), "f".repeat(150));
        let files: [(&str, &[u8]); 4] =
            [("a/b.wsp", b"one"), ("é/ü.wsp", b""), (&long, &[7; 512]), ("z.wsp", &[8; 513])];
        let bytes = archive(TarForm::Whole, &files);
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut reader = tar::Archive::new(bytes.as_slice());
        let mut seen = 0;
        for (entry, (path, content)) in reader.entries().unwrap().zip(files) {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!(entry.path().unwrap().to_str(), Some(path));
            assert_eq!(header.as_bytes()[156], b'0', "the kind, as POSIX has it");
            assert_eq!((header.mode().unwrap(), header.mtime().unwrap()), (0o640, META.mtime));
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert!(header.username().unwrap().is_none_or(str::is_empty));
            let mut read = Vec::new();
            entry.read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
            seen += 1;
        }
        assert_eq!(seen, files.len());
    }

    #[test]
    fn a_name_stands_in_a_record_only_where_the_header_cannot_hold_it() {
        let has_path = |path: &str| {
            let bytes = archive(TarForm::Whole, &[(path, b"x")]);
            bytes.windows(6).any(|window| window == b" path=")
        };
        assert!(!has_path("a/b.wsp"));
        assert!(!has_path(&format!("{}/{}.wsp", "d".repeat(150), "f".repeat(90))));
        assert!(has_path(&format!("{}.wsp", "f".repeat(101))));
        assert!(has_path("é.wsp"));
    }

    #[test]
    fn an_archive_that_was_given_up_has_no_end() {
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes, TarForm::Whole);
        writer.append("a.wsp", META, &[1; 512]).unwrap();
        writer.into_writer();
        assert!(bytes.ends_with(&[1; 512]));
    }

    #[test]
    fn a_file_in_a_temporary_file_is_written_as_one_in_memory() {
        let mut content = vec![0; 100_000];
        content[50_000..60_000].fill(3);
        let spool = Content::Held(content.clone()).into_spool().unwrap();
        for form in [TarForm::Whole, TarForm::Sparse] {
            let mut writer = TarWriter::new(Vec::new(), form);
            writer.append_spooled("a/b.wsp", META, &spool).unwrap();
            let held = archive(form, &[("a/b.wsp", &content)]);
            assert!(writer.finish().unwrap() == held, "{form:?}");
        }
    }

    #[test]
    fn zeros_are_left_out_where_that_pays() {
        let stretches = |content: &[u8]| stretches(content).unwrap();
        let mut content = vec![0; 100_000];
        content[50_000] = 1;
        let found = stretches(&content).unwrap();
        assert_eq!(
            found,
            [Stretch { offset: 49_152, bytes: 4096 }, Stretch { offset: 100_000, bytes: 0 }]
        );
        assert!(archive(TarForm::Sparse, &[("a.wsp", &content)]).len() < 10_000);
        assert_eq!(stretches(&vec![1; 100_000]), None);
        assert_eq!(stretches(b""), None);
        assert_eq!(stretches(&[0; 100]), None, "the map is longer");
        let all_zeros = stretches(&[0; 10_000]).unwrap();
        assert_eq!(all_zeros, [Stretch { offset: 10_000, bytes: 0 }]);
    }
}
