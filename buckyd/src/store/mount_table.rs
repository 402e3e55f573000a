//! The position of folders in their file systems, from the kernel's list of mounts.
//!
//! With a bind mount a folder has two paths, and the path of a folder need not show that it is below another.
//! Only the list of mounts does.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::unplaced::mount_of;

/// The mounts that this process sees.
pub(super) struct Mounts(Vec<Mount>);

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: String,
    /// The folder of the file system that is mounted.
    root: PathBuf,
    /// The mount point.
    point: PathBuf,
}

/// The position of a folder in its file system, independent of mount points.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Position {
    mount: u64,
    device: String,
    path: PathBuf,
}

impl Mounts {
    /// The present list. It is empty if the kernel shows none.
    pub(super) fn read() -> Self {
        Self::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Parses lines of `ID PARENT MAJOR:MINOR ROOT MOUNT_POINT …`; see proc(5).
    fn parse(text: &[u8]) -> Self {
        let mount = |line: &[u8]| {
            let mut fields = line.split(|byte| *byte == b' ');
            let text = |field: &[u8]| String::from_utf8(field.to_vec()).ok();
            let id = text(fields.next()?)?.parse().ok()?;
            let device = text(fields.nth(1)?)?;
            let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
            Some(Mount { id, device, root, point })
        };
        Self(text.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// The position of the open folder. `None` if it cannot be determined.
    pub(super) fn position_of(&self, folder: &File) -> Option<Position> {
        let id = mount_of(folder)?;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()?;
        self.position_at(id, &path)
    }

    /// The path of the open folder within its file system. `None` if it cannot be determined.
    pub(super) fn path_within(&self, folder: &File) -> Option<PathBuf> {
        self.position_of(folder).map(|position| position.path)
    }

    fn position_at(&self, id: u64, path: &Path) -> Option<Position> {
        let mount = self.0.iter().find(|mount| mount.id == id)?;
        let path = mount.root.join(path.strip_prefix(&mount.point).ok()?);
        Some(Position { mount: id, device: mount.device.clone(), path })
    }

    /// The paths, with their mounts, at which the folders above `position` can be reached, other than through
    /// its own mount.
    pub(super) fn above_elsewhere<'a>(
        &'a self,
        position: &'a Position,
    ) -> impl Iterator<Item = (u64, PathBuf)> + 'a {
        let others = self.0.iter().filter(move |mount| {
            mount.id != position.mount
                && mount.device == position.device
                && mount.root != position.path
        });
        others.flat_map(move |mount| {
            let below = position.path.strip_prefix(&mount.root).ok();
            let above = below.into_iter().flat_map(|below| below.ancestors().skip(1));
            above.map(move |folder| (mount.id, mount.point.join(folder)))
        })
    }
}

/// Decodes a path in which the kernel wrote blanks, tabs, line feeds and backslashes as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let (mut path, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped.filter(|_| byte == b'\\') {
            Some(escaped) => {
                path.push(escaped);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                path.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 8:2 / /disk\\0402 rw - xfs /dev/sdb rw
41 22 8:2 /graphite /srv/graphite rw - xfs /dev/sdb rw
42 22 8:2 /graphite/whisper/team /mnt/team rw - xfs /dev/sdb rw
43 22 0:30 / /tmp rw - tmpfs tmpfs rw
";

    #[test]
    fn a_folder_is_placed_by_its_mount_and_found_below_others_by_theirs() {
        let mounts = Mounts::parse(LIST);
        let position = mounts.position_at(42, Path::new("/mnt/team/a")).unwrap();
        assert_eq!(position.path, Path::new("/graphite/whisper/team/a"));
        let above: Vec<_> = mounts.above_elsewhere(&position).collect();
        let path = |id, path: &str| (id, PathBuf::from(path));
        assert_eq!(
            above,
            [
                path(40, "/disk 2/graphite/whisper/team"),
                path(40, "/disk 2/graphite/whisper"),
                path(40, "/disk 2/graphite"),
                path(40, "/disk 2/"),
                path(41, "/srv/graphite/whisper/team"),
                path(41, "/srv/graphite/whisper"),
                path(41, "/srv/graphite/"),
            ]
        );
        let position = mounts.position_at(43, Path::new("/tmp/x")).unwrap();
        assert_eq!(mounts.above_elsewhere(&position).count(), 0);
        assert_eq!(mounts.position_at(41, Path::new("/elsewhere")), None);
    }

    #[test]
    fn lines_that_are_not_mounts_are_skipped() {
        assert!(Mounts::parse(b"\nx\n1 2\n").0.is_empty());
    }
}
