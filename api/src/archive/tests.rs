//! Archive streams, both valid and malformed.

use std::io;

use bucky_whisper::Digest;
use tar::EntryType;

use super::*;
use crate::bounded::METRICS_MOST;
use crate::types::{ArchiveReport, LeftOut, Problem};

fn stream(names: &[&str]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new());
    for name in names {
        let content = name.repeat(100).into_bytes();
        let meta = FileMeta { mode: 0o640, mtime: 1_700_000_000 };
        writer.append(&name.parse().unwrap(), meta, Digest::of(&content), &content).unwrap();
    }
    writer.leave_out(left_out("no such file")).unwrap();
    writer.finish().unwrap()
}

fn left_out(reason: &str) -> LeftOut {
    let metric = "gone.one".parse().unwrap();
    LeftOut { metric, problem: Problem::SourceMissing, reason: reason.into() }
}

fn read(bytes: &[u8]) -> (Vec<Member>, Result<ArchiveReport, ReadArchiveError>) {
    let mut members = Vec::new();
    let result = read_archive(bytes, Limits::default(), |member| members.push(member));
    (members, result)
}

#[test]
fn written_members_are_read_with_digests_modes_times_and_the_report() {
    let long = format!("x.{}.{}", "long".repeat(50), "name".repeat(40));
    let (members, report) = read(&stream(&["a.b.c", &long, "_tagged.abc.def.d_DOT_x;k=v"]));
    let report = report.unwrap();
    assert_eq!(members.len(), 3);
    assert_eq!(report.metrics, 3);
    assert_eq!(report.left_out[0].problem, Problem::SourceMissing);
    assert_eq!(members[1].metric.as_str(), long);
    for member in &members {
        assert!(member.announced.is_some() && member.is_intact());
        assert_eq!(member.meta, FileMeta { mode: 0o640, mtime: 1_700_000_000 });
        assert_eq!(member.content, member.metric.as_str().repeat(100).into_bytes());
    }
}

/// One letter of a digest is damaged. The digest is then damaged, and not absent.
#[test]
fn an_unreadable_digest_matches_no_content() {
    let mut bytes = stream(&["a"]);
    let key = format!("{DIGEST_RECORD}=").into_bytes();
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    for wrong in [b'g', b'`', 0xff] {
        bytes[at + 5] = wrong;
        let (members, report) = read(&bytes);
        report.unwrap();
        assert!(members[0].announced.is_some() && !members[0].is_intact(), "{wrong}");
    }
}

/// Whatever single bit is flipped, no content comes under a wrong name, and no changed content counts as
/// intact.
#[test]
fn a_flipped_bit_anywhere_never_puts_a_content_under_another_name() {
    // Names that differ in one bit, some too long for the header.
    let long = |last: char| format!("x.{}.{}{last}", "long".repeat(40), "name".repeat(30));
    let names = [long('1'), long('3'), long('2'), "a.1".into(), "a.3".into()];
    let mut writer = ArchiveWriter::new(Vec::new());
    for name in &names {
        let meta = FileMeta { mode: 0o640, mtime: 1_700_000_000 };
        let content = name.as_bytes();
        writer.append(&name.parse().unwrap(), meta, Digest::of(content), content).unwrap();
    }
    let whole = writer.finish().unwrap();
    for (at, bit) in (0..whole.len() - 1024).flat_map(|at| [(at, 0), (at, 1), (at, 4)]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << bit;
        for member in read(&damaged).0.iter().filter(|member| member.is_intact()) {
            let is_its_own = member.content == member.metric.as_str().as_bytes();
            assert!(is_its_own, "byte {at}, bit {bit}: another content as {}", member.metric);
        }
    }
}

/// Otherwise `GET /v1/archive` of a store in which nothing can be read would note every metric.
#[test]
fn a_report_too_long_to_be_read_is_not_written() {
    let mut writer = ArchiveWriter::new(Vec::new());
    for _ in 0..METRICS_MOST {
        writer.leave_out(left_out("")).unwrap();
    }
    let error = writer.leave_out(left_out("")).unwrap_err().to_string();
    assert!(error.contains("65,537 metrics cannot be sent, the last one gone.one"), "{error}");
    let report = read(&writer.finish().unwrap()).1.unwrap();
    assert_eq!(report.left_out.len(), METRICS_MOST);

    let mut writer = ArchiveWriter::new(Vec::new());
    let long = left_out(&"x".repeat(1 << 20));
    assert_eq!((0..20).take_while(|_| writer.leave_out(long.clone()).is_ok()).count(), 15);
    assert!(read(&writer.finish().unwrap()).1.is_ok());
}

#[test]
fn a_stream_cut_anywhere_is_an_error_and_every_whole_member_before_it_came() {
    let whole = stream(&["a.b", "c.d"]);
    let report_starts = whole.len() - 1024 - 512 - 512;
    for cut in 0..report_starts + 512 + 1 {
        let (members, result) = read(&whole[..cut]);
        assert!(result.is_err(), "cut at {cut} of {}", whole.len());
        assert!(members.iter().all(Member::is_intact));
    }
}

#[test]
fn a_stream_that_lost_a_member_is_refused() {
    let whole = stream(&["a.b", "c.d"]);
    // Header and content of the extension, header and content of the metric.
    let member = 4 * 512;
    let (members, result) = read(&whole[member..]);
    assert_eq!(members.len(), 1);
    assert!(matches!(result, Err(ReadArchiveError::Miscounted { members: 1, sent: 2 })));
}

#[test]
fn a_whole_stream_is_read_to_its_end() {
    let whole = stream(&["a.b"]);
    let mut rest = whole.as_slice();
    read_archive(&mut rest, Limits::default(), |_| {}).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn a_flipped_byte_is_seen_by_the_digest() {
    let mut bytes = stream(&["a.b"]);
    let at = bytes.windows(6).position(|w| w == b"a.ba.b").unwrap();
    bytes[at] ^= 1;
    let (members, result) = read(&bytes);
    assert!(result.is_ok());
    assert!(!members[0].is_intact());
}

#[test]
fn bytes_that_are_not_a_tar_are_reported_as_that() {
    for bytes in [&b""[..], &b"hello"[..], &[7u8; 4096][..]] {
        let (_, result) = read(bytes);
        assert!(matches!(result, Err(ReadArchiveError::NotATar(_))), "{result:?}");
    }
}

#[test]
fn members_that_are_not_a_metric_end_the_reading_and_say_what_they_are() {
    let one = |path: &str, kind: EntryType| {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, io::empty()).unwrap();
        builder.into_inner().unwrap()
    };
    for (path, kind, said) in [
        ("a/b.wsp", EntryType::Symlink, "symbolic link"),
        ("a/b.wsp", EntryType::Link, "hard link"),
        ("a/b.wsp", EntryType::Char, "device"),
        ("/etc/a.wsp", EntryType::Regular, "not named as a metric"),
        ("../a.wsp", EntryType::Regular, "not named as a metric"),
        ("a/../../b.wsp", EntryType::Regular, "not named as a metric"),
        ("a/readme.txt", EntryType::Regular, "not named as a metric"),
    ] {
        let (members, result) = read(&one(path, kind));
        assert!(members.is_empty());
        assert!(result.unwrap_err().to_string().contains(said), "{path} {kind:?}");
    }
}

#[test]
fn a_member_that_announces_more_than_the_limit_is_refused_unread() {
    let mut header = tar::Header::new_gnu();
    header.set_path("a/b.wsp").unwrap();
    header.set_size(10 * 1024 * 1024 * 1024);
    header.set_cksum();
    let (_, result) = read(header.as_bytes());
    assert!(matches!(result, Err(ReadArchiveError::TooLarge { .. })), "{result:?}");
}

/// Each of these would unpack for hours from a small body.
#[test]
fn a_skipped_entry_may_not_be_long_either() {
    for kind in [EntryType::XGlobalHeader, EntryType::Directory, EntryType::XHeader] {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_path("a").unwrap();
        header.set_entry_type(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
        let (_, result) = read(&tar.into_inner().unwrap());
        assert!(
            matches!(result, Err(ReadArchiveError::TooLarge { bytes, .. }) if bytes == 1 << 40),
            "{kind:?}: {result:?}"
        );
    }
}

/// A receiver with little room.
struct Small {
    left: u64,
    asked: Vec<u64>,
}

impl Receiver for &mut Small {
    fn reserve(&mut self, bytes: u64) -> Result<(), NoRoom> {
        self.asked.push(bytes);
        self.left = self.left.checked_sub(bytes).ok_or_else(|| NoRoom("full".into()))?;
        Ok(())
    }

    fn take(&mut self, _: Member) -> Result<(), NoRoom> {
        Ok(())
    }
}

#[test]
fn memory_is_reserved_for_bytes_that_arrived_and_not_for_announced_ones() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_path("a.wsp").unwrap();
    header.set_size(200 << 20);
    header.set_cksum();
    // Three MiB of the announced two hundred arrive.
    tar.append(&header, vec![0; 3 << 20].as_slice()).unwrap();
    let bytes = tar.into_inner().unwrap();
    let mut small = Small { left: u64::MAX, asked: Vec::new() };
    let result = receive_archive(&bytes[..512 + (3 << 20)], Limits::default(), &mut small);
    assert!(matches!(result, Err(ReadArchiveError::CutOff { members: 0 })), "{result:?}");
    assert_eq!(small.asked, [1 << 20, 1 << 20, 2 << 20]);
    let mut small = Small { left: 3 << 20, asked: Vec::new() };
    let result = receive_archive(bytes.as_slice(), Limits::default(), &mut small);
    assert!(matches!(result, Err(ReadArchiveError::NoRoom { .. })), "{result:?}");
}

#[test]
fn more_members_than_allowed_are_refused() {
    let bytes = stream(&["a", "b", "c"]);
    let result = read_archive(bytes.as_slice(), Limits { members: 2, ..Limits::default() }, |_| {});
    assert!(matches!(result, Err(ReadArchiveError::TooMany { limit: 2 })), "{result:?}");
}

#[test]
fn a_member_takes_as_many_bytes_as_computed() {
    let mut writer = ArchiveWriter::new(Vec::new());
    let mut expected = 0;
    for (name, len) in [("a", 0), ("b.c", 1), ("d", 512), ("e", 513), ("f", 100_000)] {
        let content = vec![1; len];
        let meta = FileMeta { mode: 0o644, mtime: 1 };
        writer.append(&name.parse().unwrap(), meta, Digest::of(&content), &content).unwrap();
        expected += member_bytes(len as u64);
    }
    let stream = writer.finish().unwrap();
    let end = stream.len() as u64 - expected;
    assert!((1..=4096).contains(&end), "{end} bytes for the report and the end of the tar");
}

/// Takes long members piece by piece.
#[derive(Default)]
struct Spooling {
    members: Vec<Member>,
    large: Vec<(LargeMember, Vec<u8>)>,
    ended: usize,
}

impl Receiver for &mut Spooling {
    fn reserve(&mut self, _bytes: u64) -> Result<(), NoRoom> {
        Ok(())
    }

    fn begin_large(&mut self, member: &LargeMember) -> bool {
        self.large.push((member.clone(), Vec::new()));
        true
    }

    fn take_large_piece(&mut self, piece: &[u8]) -> Result<(), NoRoom> {
        if let Some((_, content)) = self.large.last_mut() {
            content.extend_from_slice(piece);
        }
        Ok(())
    }

    fn end_large(&mut self) -> Result<(), NoRoom> {
        self.ended += 1;
        Ok(())
    }

    fn take(&mut self, member: Member) -> Result<(), NoRoom> {
        self.members.push(member);
        Ok(())
    }
}

#[test]
fn a_long_member_comes_in_pieces_and_its_digest_in_the_report() {
    let meta = FileMeta { mode: 0o640, mtime: 1_700_000_000 };
    let content: Vec<u8> = (0..700_001_u32).map(|number| number.to_be_bytes()[3]).collect();
    let mut writer = ArchiveWriter::new(Vec::new());
    let of = |digest| Content { digest, len_bytes: content.len() as u64, is_sparse: true };
    writer.add(&"a.long".parse().unwrap(), meta, of(None), content.as_slice()).unwrap();
    let digest = Digest::of(&content);
    writer.append_as(&"a.known".parse().unwrap(), meta, of(Some(digest)), &content).unwrap();
    writer.append(&"a.short".parse().unwrap(), meta, Digest::of(b"short"), b"short").unwrap();
    let stream = writer.finish().unwrap();

    let limits = Limits { member_bytes: 1_000, ..Limits::default() };
    let mut spooling = Spooling::default();
    let report = receive_archive(stream.as_slice(), limits, &mut spooling).unwrap();
    let [(long, first), (known, second)] = spooling.large.as_slice() else { panic!() };
    assert!(*first == content && *second == content && spooling.ended == 2);
    assert_eq!((long.len_bytes, long.is_sparse, long.announced), (700_001, true, None));
    assert_eq!(known.announced, Some(digest));
    assert_eq!(spooling.members.len(), 1);
    assert!(!spooling.members[0].is_sparse);
    let metric = "a.long".parse().unwrap();
    assert_eq!(report.digests, [crate::MemberDigest { metric, digest }]);

    // A reader without room for long members stops here. A long member that is cut off has no digest.
    let refused = read_archive(stream.as_slice(), limits, |_| {});
    assert!(matches!(refused, Err(ReadArchiveError::TooLarge { .. })), "{refused:?}");
    let mut spooling = Spooling::default();
    let cut = receive_archive(&stream[..400_000], limits, &mut spooling);
    assert!(matches!(cut, Err(ReadArchiveError::CutOff { members: 0 })), "{cut:?}");
    assert_eq!(spooling.ended, 0);
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_sent_breaks_the_stream() {
    let mut writer = ArchiveWriter::new(Vec::new());
    let of = Content { digest: None, len_bytes: 10, is_sparse: false };
    let meta = FileMeta { mode: 0o640, mtime: 0 };
    let error = writer.add(&"a".parse().unwrap(), meta, of, &b"short"[..]).unwrap_err();
    assert!(error.to_string().contains("became shorter"), "{error}");
}
