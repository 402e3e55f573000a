//! An archive stream as received from the network, in pieces of any size.
//!
//! Bytes: the size of a piece (1), the stream.

use std::io::Read;

use bucky_api::archive::{ArchiveWriter, Limits, Member, ReadArchiveError, read_archive};
use bucky_api::{ArchiveReport, chain};

/// Small, so that the tests reach the limits.
const LIMITS: Limits = Limits { member_bytes: 64 * 1024, members: 32 };

pub(super) fn check(mut bytes: &[u8]) {
    let piece_bytes = usize::from(super::first(&mut bytes)).max(1);
    let (members, result) = read(bytes);
    let (same_members, same_result) = read(InPieces { bytes, piece_bytes });
    assert_eq!(summary(&members), summary(&same_members), "in pieces, other members come");
    assert_eq!(ending(&result), ending(&same_result), "in pieces, it ends otherwise");
    assert!(members.len() as u64 <= LIMITS.members);
    members.iter().for_each(assert_stays_below_the_prefix);
    if let Ok(report) = result {
        assert_eq!(report.metrics, members.len() as u64);
        assert_written_alike(&members, &report);
    }
}

/// Reads a stream to its end, or as far as it can be read.
pub(super) fn read(stream: impl Read) -> (Vec<Member>, Result<ArchiveReport, ReadArchiveError>) {
    let mut members = Vec::new();
    let result = read_archive(stream, LIMITS, |member| members.push(member));
    (members, result)
}

/// Checks that a member has a plain path as its name, no more bytes than allowed, and ordinary permissions.
pub(super) fn assert_stays_below_the_prefix(member: &Member) {
    let path = member.metric.relative_path();
    assert!(
        path.components().all(|part| matches!(part, std::path::Component::Normal(_))),
        "{path:?} leads out"
    );
    assert!(!path.starts_with(".bucky"), "{path:?} is the daemon's own");
    assert!(path.extension().is_some_and(|extension| extension == "wsp"), "{path:?}");
    assert!(member.content.len() as u64 <= LIMITS.member_bytes);
    assert_eq!(member.meta.mode & !0o777, 0, "{path:?} has the mode {:o}", member.meta.mode);
}

/// Checks that the members are the same after they are written and read again.
fn assert_written_alike(members: &[Member], report: &ArchiveReport) {
    let mut writer = ArchiveWriter::new(Vec::new());
    for member in members {
        writer.append(&member.metric, member.meta, member.digest, &member.content).unwrap();
    }
    report.left_out.iter().for_each(|left_out| writer.leave_out(left_out.clone()).unwrap());
    let (again, result) = read(writer.finish().unwrap().as_slice());
    assert_eq!(result.expect("what we write can be read"), *report);
    for (member, again) in members.iter().zip(&again) {
        assert!(again.is_intact() && again.metric == member.metric);
        assert_eq!((again.digest, again.meta), (member.digest, member.meta));
    }
}

fn summary(members: &[Member]) -> Vec<(&str, String, bool)> {
    let summary = |member: &Member| (member.digest.to_string(), member.is_intact());
    members
        .iter()
        .map(|member| (member.metric.as_str(), summary(member).0, summary(member).1))
        .collect()
}

/// How a reading ended, without details that depend on the pieces.
fn ending(result: &Result<ArchiveReport, ReadArchiveError>) -> String {
    match result {
        Ok(report) => format!("{report:?}"),
        Err(error) => chain(error),
    }
}

/// A stream that never returns more than `piece_bytes` at once.
struct InPieces<'a> {
    bytes: &'a [u8],
    piece_bytes: usize,
}

impl Read for InPieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let wanted = buf.len().min(self.piece_bytes);
        self.bytes.read(&mut buf[..wanted])
    }
}
