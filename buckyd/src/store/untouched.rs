//! Whether a process has written to the old file of a reshaped metric since it was set aside.
//!
//! Before the exchange the file's mtime gets nanoseconds that a clock would produce only by chance. Any write
//! through any descriptor sets the mtime to the time of the write, and so removes the mark. A change of the
//! inode alone (chmod, chown, a rename, a backup that restores access times) leaves it.
//!
//! A file system that does not store nanoseconds loses the mark at once. Then the file counts as written to,
//! which is the safe side: its points are looked up.

use std::fs::File;

use rustix::fs::{Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

/// Not a multiple of ten: file systems that round times to 100 ns or more cannot produce it at a write.
const MARK_NANOSECONDS: i64 = 428_571_429;

/// Marks `file`, which had the times of `stat` when it was read. A file that was written to since then gets
/// no mark.
pub(super) fn mark_untouched(file: &File, stat: &Stat) -> Result<(), Errno> {
    let now = rustix::fs::fstat(file)?;
    if (now.st_mtime, now.st_mtime_nsec) != (stat.st_mtime, stat.st_mtime_nsec) {
        return Ok(());
    }
    let last_modification = Timespec { tv_sec: stat.st_mtime, tv_nsec: MARK_NANOSECONDS };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    rustix::fs::futimens(file, &Timestamps { last_access, last_modification })
}

/// Marks a file as a reshape does after reading it.
#[cfg(test)]
pub(crate) fn mark_as_set_aside(file: &File) -> Result<(), Errno> {
    mark_untouched(file, &rustix::fs::fstat(file)?)
}

/// Whether a file with these times still has its mark.
pub(super) fn is_marked_untouched(stat: &Stat) -> bool {
    i64::try_from(stat.st_mtime_nsec).is_ok_and(|nanoseconds| nanoseconds == MARK_NANOSECONDS)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn is_untouched(file: &File) -> bool {
        is_marked_untouched(&rustix::fs::fstat(file).unwrap())
    }

    fn marked() -> File {
        let file = tempfile::tempfile().unwrap();
        assert!(!is_untouched(&file));
        mark_untouched(&file, &rustix::fs::fstat(&file).unwrap()).unwrap();
        assert!(is_untouched(&file));
        file
    }

    #[test]
    fn a_change_of_the_inode_leaves_the_mark() {
        let file = marked();
        file.set_permissions(Permissions::from_mode(0o600)).unwrap();
        assert!(is_untouched(&file));
    }

    #[test]
    fn a_write_removes_the_mark_and_a_later_change_of_the_inode_does_not_bring_it_back() {
        let mut file = marked();
        file.write_all(b"late").unwrap();
        assert!(!is_untouched(&file));
        file.set_permissions(Permissions::from_mode(0o600)).unwrap();
        assert!(!is_untouched(&file));
    }

    #[test]
    fn a_file_that_was_written_to_since_it_was_read_gets_no_mark() {
        let mut file = tempfile::tempfile().unwrap();
        let last_modification = Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 };
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        rustix::fs::futimens(&file, &Timestamps { last_access, last_modification }).unwrap();
        let read = rustix::fs::fstat(&file).unwrap();
        file.write_all(b"late").unwrap();
        mark_untouched(&file, &read).unwrap();
        assert!(!is_untouched(&file));
    }
}
