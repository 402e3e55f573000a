//! The entries of one folder that matter to a scan.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bucky_api::NotServedKind;
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use crate::store::Tree;

pub(super) const EXTENSION: &[u8] = b".wsp";
/// The name of a daemon's state folder. Below the root of the prefix it belongs to another daemon.
const STATE_FOLDER: &[u8] = b".bucky";

/// An entry that matters: a folder, or a Whisper file without its extension.
pub(super) struct FolderEntry {
    pub(super) name: Box<[u8]>,
    /// Also true for a link to a folder that may be followed.
    pub(super) is_folder: bool,
    pub(super) is_link: bool,
}

impl FolderEntry {
    fn folder(name: &[u8], is_link: bool) -> Self {
        Self { name: name.into(), is_folder: true, is_link }
    }

    fn key(&self) -> impl Iterator<Item = u8> + '_ {
        self.name.iter().copied().chain(self.is_folder.then_some(b'.'))
    }
}

/// A symbolic link that is not followed.
pub(super) struct Link {
    pub(super) name: Box<[u8]>,
    pub(super) kind: NotServedKind,
    /// Its target.
    pub(super) target: String,
}

/// The content of one folder.
pub(super) struct Folder {
    /// In the reverse order of their names in the list.
    pub(super) entries: Vec<FolderEntry>,
    pub(super) links: Vec<Link>,
    /// Whether another daemon serves it.
    pub(super) is_others: bool,
}

impl Folder {
    /// Reads the folder `path` of `tree`. A link to a folder is an entry if `follows` accepts its path.
    ///
    /// # Errors
    /// The system's error. `XDEV` if the folder is on another mount or file system than the tree.
    pub(super) fn read(
        tree: &Tree,
        path: &Path,
        follows: impl Fn(&Path) -> bool,
    ) -> Result<Self, Errno> {
        let folder = tree.folder(path)?;
        // A subvolume is not a mount, but no rename can cross its border.
        if !tree.is_on_device(&folder)? {
            return Err(Errno::XDEV);
        }
        let (mut entries, mut links, mut has_state) = (Vec::new(), Vec::new(), false);
        let mut dir = Dir::read_from(&folder)?;
        while let Some(entry) = dir.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name.starts_with(b".") {
                has_state |= name == STATE_FOLDER;
                continue;
            }
            let kind = match entry.file_type() {
                // This file system does not report types, so this entry needs a stat.
                FileType::Unknown => kind_of(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .unwrap_or(FileType::Unknown),
                kind => kind,
            };
            match kind {
                FileType::Directory => entries.push(FolderEntry::folder(name, false)),
                FileType::RegularFile => {
                    if let Some(stem) = name.strip_suffix(EXTENSION) {
                        entries.push(FolderEntry {
                            name: stem.into(),
                            is_folder: false,
                            is_link: false,
                        });
                    }
                }
                FileType::Symlink => match link(&folder, entry.file_name()) {
                    Some(link)
                        if link.kind == NotServedKind::LinkedFolder
                            && follows(&path.join(OsStr::from_bytes(name))) =>
                    {
                        entries.push(FolderEntry::folder(name, true));
                    }
                    link => links.extend(link),
                },
                _ => {}
            }
        }
        entries.sort_unstable_by(|left, right| right.key().cmp(left.key()));
        let is_others = has_state && path != tree.at() && crate::store::is_served(&folder);
        Ok(Self { entries, links, is_others })
    }
}

/// The link `name`, if it leads to a folder or a Whisper file, or nowhere.
fn link(folder: &OwnedFd, name: &CStr) -> Option<Link> {
    let bytes = name.to_bytes();
    let target = rustix::fs::readlinkat(folder, name, Vec::new());
    let mut target = target.map_or_else(|_| String::new(), |target| display(target.as_bytes()));
    let kind = match kind_of(folder, name, AtFlags::empty()) {
        Ok(FileType::Directory) => NotServedKind::LinkedFolder,
        Ok(FileType::RegularFile) if bytes.ends_with(EXTENSION) => NotServedKind::LinkedFile,
        Ok(_) => return None,
        Err(errno) => {
            if errno != Errno::NOENT {
                target = format!("{target} ({errno})");
            }
            NotServedKind::DanglingLink
        }
    };
    Some(Link { name: bytes.into(), kind, target })
}

fn display(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

fn kind_of(folder: &OwnedFd, name: &CStr, flags: AtFlags) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::statat(folder, name, flags)?.st_mode))
}
