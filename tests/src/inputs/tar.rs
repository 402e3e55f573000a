//! A tar whose headers have valid checksums, so that their fields are examined.
//!
//! Bytes, for each member: the kind (1), the notation of the size (1), the announced size (4), the length of
//! the name (1), the name, the length of the content (1), the content. A last kind of 255 ends it with a
//! correct report.

use super::archive::{assert_stays_below_the_prefix, read};

const BLOCK: usize = 512;
/// Every kind of member that a tar can have, and some invalid ones.
const KINDS: &[u8] = b"0\x0001234567xgLKSVD~";

pub(super) fn check(mut bytes: &[u8]) {
    let mut tar = Vec::new();
    while !bytes.is_empty() && tar.len() < 64 * BLOCK {
        let kind = super::first(&mut bytes);
        if kind == u8::MAX {
            add_report(&mut tar, super::number(&mut bytes));
            continue;
        }
        let style = super::first(&mut bytes);
        let announced = super::number(&mut bytes);
        let name_bytes = usize::from(super::first(&mut bytes));
        let name = super::take(&mut bytes, name_bytes);
        let content_bytes = usize::from(super::first(&mut bytes));
        let content = super::take(&mut bytes, content_bytes);
        let size = match style % 4 {
            0 => Size::Octal(content.len() as u64),
            1 => Size::Octal(announced.into()),
            2 => Size::Binary(u64::from(announced) << 32 | u64::from(announced)),
            _ => Size::Raw(announced),
        };
        add(&mut tar, KINDS[usize::from(kind) % KINDS.len()], name, size, content);
    }
    let (members, _) = read(tar.as_slice());
    members.iter().for_each(assert_stays_below_the_prefix);
}

/// The notation of a member's length.
enum Size {
    /// Octal, as in all tars.
    Octal(u64),
    /// Binary, as GNU tar writes lengths of 8 GiB and more.
    Binary(u64),
    /// Bytes that need not be a number.
    Raw(u32),
}

fn add(tar: &mut Vec<u8>, kind: u8, name: &[u8], size: Size, content: &[u8]) {
    let mut header = [0; BLOCK];
    let name = &name[..name.len().min(100)];
    header[..name.len()].copy_from_slice(name);
    header[100..107].copy_from_slice(b"0000644");
    match size {
        Size::Octal(size) => header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes()),
        Size::Binary(size) => {
            header[124] = 0x80;
            header[128..136].copy_from_slice(&size.to_be_bytes());
        }
        Size::Raw(size) => header[124..128].copy_from_slice(&size.to_be_bytes()),
    }
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let checksum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

fn add_report(tar: &mut Vec<u8>, metrics: u32) {
    let report = format!("{{\"metrics\":{metrics},\"left_out\":[]}}");
    let size = Size::Octal(report.len() as u64);
    add(tar, b'0', b".bucky-report.json", size, report.as_bytes());
}
