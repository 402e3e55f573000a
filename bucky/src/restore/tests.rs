//! The reader of tars: what our writer creates, what is cut off or damaged, and numbers that must not be
//! trusted.

use std::io::Write;

use bucky_api::Encoding;
use bucky_api::archive::{ArchiveWriter, FileMeta};
use bucky_whisper::Digest;
use tar::{EntryType, Header};

use super::sparse::FILE_BYTES_MOST;
use super::tar_reader::{MemberKind, TarError, TarMember, TarReader};
use crate::backup::{TarForm, TarWriter};
use crate::spool::{Content, HELD_FILE_BYTES};
use crate::tar_records::record;

const META: FileMeta = FileMeta { mode: 0o640, mtime: 1_700_000_000 };

/// All members, and how it ended. The result must be the same with files in memory and in temporary files.
fn read(bytes: &[u8]) -> (Vec<TarMember>, Result<(), TarError>) {
    let (held, end) = read_holding(bytes, HELD_FILE_BYTES);
    let (spooled, end_of_spooled) = read_holding(bytes, 0);
    assert_eq!(held, spooled);
    assert_eq!(format!("{end:?}"), format!("{end_of_spooled:?}"));
    (held, end)
}

fn read_holding(bytes: &[u8], held_bytes: u64) -> (Vec<TarMember>, Result<(), TarError>) {
    let mut reader = TarReader::holding_at_most(bytes, held_bytes);
    let mut members = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(TarMember {
                kind: MemberKind::File { content: Content::Spooled(spool), digest, is_sparse },
                path,
                meta,
            })) => {
                let content = Content::Held(spool.content().unwrap());
                members.push(TarMember {
                    kind: MemberKind::File { content, digest, is_sparse },
                    path,
                    meta,
                });
            }
            Ok(Some(member)) => {
                if let MemberKind::File { content: Content::Held(content), .. } = &member.kind {
                    assert!(content.len() as u64 <= held_bytes, "{:?}", member.path);
                }
                members.push(member);
            }
            Ok(None) => return (members, Ok(())),
            Err(error) => return (members, Err(error)),
        }
    }
}

fn whole(bytes: &[u8]) -> Vec<TarMember> {
    let (members, end) = read(bytes);
    end.unwrap();
    members
}

fn file(path: &str, content: &[u8]) -> TarMember {
    let (digest, content) = (Digest::of(content), Content::Held(content.to_vec()));
    let kind = MemberKind::File { content, digest, is_sparse: false };
    TarMember { path: path.into(), meta: META, kind }
}

/// Contents with and without holes, under short, long and non-ASCII names.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut holes = vec![0; 50_000];
    holes[5_000..5_100].fill(1);
    holes[30_000] = 2;
    let names = ["a/b.wsp".to_owned(), format!("{}/x.wsp", "d".repeat(200)), "é/ü.wsp".into()];
    let contents = [holes, vec![0; 20_000], vec![7; 700]];
    let files =
        contents.into_iter().flat_map(|content| names.clone().map(|name| (name, content.clone())));
    files.collect()
}

fn archive(form: TarForm) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new(), form);
    for (path, content) in files() {
        writer.append(&path, META, &content).unwrap();
    }
    writer.finish().unwrap()
}

/// One member of this kind with this header field, and records before it.
fn one(records: &[u8], prepare: impl Fn(&mut Header), content: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut add = |header: &mut Header, content: &[u8]| {
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    };
    if !records.is_empty() {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(records.len() as u64);
        add(&mut header, records);
    }
    let mut header = Header::new_gnu();
    header.set_path("a.wsp").unwrap();
    header.set_mode(META.mode);
    header.set_mtime(META.mtime);
    header.set_size(content.len() as u64);
    prepare(&mut header);
    add(&mut header, content);
    tar.extend_from_slice(&[0; 1024]);
    tar
}

fn unusable(bytes: &[u8]) -> String {
    match whole(bytes).remove(0).kind {
        MemberKind::Unusable(reason) => reason,
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn a_written_archive_is_read_with_holes_and_without() {
    for form in [TarForm::Whole, TarForm::Sparse] {
        let read = whole(&archive(form));
        assert_eq!(read.len(), files().len());
        for (mut member, (path, content)) in read.into_iter().zip(files()) {
            if let MemberKind::File { is_sparse, .. } = &mut member.kind {
                // The file with holes is sparse again.
                let has_holes = content.iter().filter(|byte| **byte == 0).count() > 4096;
                assert_eq!(
                    std::mem::take(is_sparse),
                    form == TarForm::Sparse && has_holes,
                    "{path}"
                );
            }
            assert!(member == file(&path, &content), "{form:?}: {path}");
        }
    }
    assert!(archive(TarForm::Sparse).len() < archive(TarForm::Whole).len() / 3);
    assert_eq!(whole(&[0; 1024]), []);
    assert_eq!(whole(&[0; 10_240]), []);
}

#[test]
fn an_archive_of_a_daemon_is_read_too() {
    let mut writer = ArchiveWriter::new(Vec::new());
    writer.append(&"a.b".parse().unwrap(), META, Digest::of(b"x"), b"x").unwrap();
    let members = whole(&writer.finish().unwrap());
    assert_eq!(members[0], file("a/b.wsp", b"x"));
    assert_eq!(members[1].path, b".bucky-report.json");
}

/// Wherever it is cut off, what is read is what was written, and the missing part is noticed.
#[test]
fn an_archive_that_is_cut_off_anywhere_is_noticed() {
    for form in [TarForm::Whole, TarForm::Sparse] {
        let bytes = archive(form);
        let expected = whole(&bytes);
        let end = bytes.len() - 1024;
        for at in (0..end).step_by(97).chain([end, end + 1, end + 511, end - 512, end - 1]) {
            let (members, ended) = read(&bytes[..at]);
            assert!(ended.is_err(), "cut off at {at} of {}", bytes.len());
            assert_eq!(members, expected[..members.len()], "cut off at {at}");
        }
        // Some programs write only one of the two empty blocks.
        assert!(read(&bytes[..end + 512]).1.is_ok());
    }
}

#[test]
fn a_compressed_archive_that_is_cut_off_is_noticed() {
    let bytes = archive(TarForm::Whole);
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let mut encoder = encoding.encoder(Vec::new()).unwrap();
        encoder.write_all(&bytes).unwrap();
        let encoded = encoder.finish().unwrap();
        for cut in [1, 4, 9, 100, encoded.len() / 2] {
            let left = encoded.get(..encoded.len() - cut).unwrap_or_default();
            let mut reader = TarReader::new(encoding.decoder(left).unwrap());
            let ended = loop {
                match reader.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            assert!(ended.is_err(), "{encoding} without its last {cut} bytes");
        }
    }
}

/// Whisper files have no checksums: a flipped byte would become points.
#[test]
fn no_damaged_byte_gets_into_a_file_or_a_name() {
    for form in [TarForm::Whole, TarForm::Sparse] {
        let bytes = archive(form);
        let expected = whole(&bytes);
        for at in (0..bytes.len() - 1024).step_by(61) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            for member in read(&damaged).0 {
                let is_file = matches!(member.kind, MemberKind::File { .. });
                let is_known = expected
                    .iter()
                    .any(|known| (known.kind == member.kind) && (known.path == member.path));
                assert!(!is_file || is_known, "{form:?}: byte {at}: {:?}", member.path);
            }
        }
    }
}

#[test]
fn data_after_the_end_is_not_ignored() {
    let mut two = archive(TarForm::Whole);
    two.extend(archive(TarForm::Whole));
    let (members, ended) = read(&two);
    assert_eq!(members.len(), files().len());
    assert!(matches!(ended, Err(TarError::MoreBehind)), "{ended:?}");
    for text in [&b""[..], b"hello", &[b'x'; 4096]] {
        let ended = read(text).1;
        assert!(matches!(ended, Err(TarError::NotATar)), "{ended:?}");
    }
}

/// Records and a long name describe a member: without one, something is missing.
#[test]
fn an_extension_without_its_member_is_damage() {
    for (kind, content) in [
        (EntryType::XHeader, record("path", b"b/c.wsp")),
        (EntryType::GNULongName, b"b/c.wsp\0".to_vec()),
    ] {
        let bytes = one(&[], |header| header.set_entry_type(kind), &content);
        let (members, end) = read(&bytes);
        assert!(members.is_empty());
        assert!(matches!(end, Err(TarError::Damaged { at: 1024 })), "{kind:?}: {end:?}");
    }
    let global = one(&[], |header| header.set_entry_type(EntryType::XGlobalHeader), b"");
    assert_eq!(whole(&global), []);
}

#[test]
fn a_member_that_is_not_a_file_is_reported_by_its_kind() {
    for (kind, expected) in [
        (EntryType::Directory, MemberKind::Folder),
        (EntryType::new(b'D'), MemberKind::Folder),
        (EntryType::Symlink, MemberKind::Other("a symbolic link")),
        (EntryType::Link, MemberKind::Other("a hard link")),
        (EntryType::Fifo, MemberKind::Other("a FIFO")),
        (EntryType::Char, MemberKind::Other("a device")),
    ] {
        let bytes = one(b"", |header| header.set_entry_type(kind), b"");
        assert_eq!(whole(&bytes)[0].kind, expected, "{kind:?}");
    }
}

#[test]
fn no_number_in_an_archive_is_trusted() {
    let long = one(b"", |header| header.set_size(FILE_BYTES_MOST + 1), b"x");
    assert!(matches!(read(&long).1, Err(TarError::CutOff { .. })));
    let long = one(b"", |header| header.set_size(HELD_FILE_BYTES + 1), b"x");
    assert!(matches!(read(&long).1, Err(TarError::CutOff { .. })));
    let long = one(&record("size", b"99999999999999999999"), |_| (), b"x");
    assert!(matches!(read(&long).1, Err(TarError::Damaged { .. })));
    let long = one(&record("size", b"18446744073709551615"), |_| (), b"x");
    assert!(matches!(read(&long).1, Err(TarError::CutOff { .. })));
    let extension = |header: &mut Header| {
        header.set_entry_type(EntryType::XHeader);
        header.set_size(1 << 40);
    };
    assert!(matches!(read(&one(b"", extension, b"")).1, Err(TarError::LongExtension { .. })));
    let sparse = |pairs: &[(&str, &str)]| -> Vec<u8> {
        let record =
            |(key, value): &(&str, &str)| record(&format!("GNU.sparse.{key}"), value.as_bytes());
        pairs.iter().flat_map(record).collect()
    };
    for (records, content, said) in [
        (sparse(&[("size", "999999999999"), ("map", "0,1")]), &b"x"[..], "the limit is"),
        (sparse(&[("size", "10"), ("map", "0,1,2")]), b"x", "not valid"),
        (sparse(&[("size", "10"), ("map", "0,-1")]), b"x", "cannot read"),
        (sparse(&[("size", "10"), ("map", "9,2")]), b"xx", "damaged"),
        (sparse(&[("map", "0,1")]), b"x", "real length"),
        (
            sparse(&[("major", "2"), ("minor", "0"), ("realsize", "1")]),
            b"x",
            "unknown sparse format",
        ),
        (sparse(&[("major", "1"), ("minor", "0"), ("realsize", "1")]), b"9\n0\n", "cannot read"),
        (
            sparse(&[("major", "1"), ("minor", "0"), ("realsize", "1")]),
            b"99999999999\n0\n1\n",
            "cannot read",
        ),
    ] {
        let reason = unusable(&one(&records, |_| (), content));
        assert!(reason.contains(said), "{reason}");
    }
    let old = one(b"", |header| header.set_entry_type(EntryType::GNUSparse), b"x");
    assert!(unusable(&old).contains("real length") || unusable(&old).contains("holes"));
}

/// If a thread panics, the channel is closed, as at the end of an archive.
#[tokio::test]
async fn a_thread_that_stops_early_is_not_the_end() {
    let (sender, mut members) = tokio::sync::mpsc::channel(2);
    sender.send(Ok(Some(file("a.wsp", b"x")))).await.unwrap();
    sender.send(Ok(None)).await.unwrap();
    drop(sender);
    assert!(matches!(super::next_of(&mut members).await, Ok(Some(_))));
    assert!(matches!(super::next_of(&mut members).await, Ok(None)));
    assert!(matches!(super::next_of(&mut members).await, Err(TarError::Unfinished)));
}
