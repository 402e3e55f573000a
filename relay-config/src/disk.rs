//! Configuration files on the disk: the only module of this crate that opens a file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::carbon::settings::rules_in;
use crate::{
    ChoiceError, Configuration, FoundRing, Need, NeedKind, OtherFiles, Program, Refusal,
    RefusalKind, SourceFile, Wanted, read,
};

/// The longest file that is read. Relays with thousands of destinations have a few hundred kilobytes.
const FILE_MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The most files that the includes of one configuration name.
const FILES_MOST: usize = 1024;

/// The name that means standard input.
const STDIN: &str = "-";

/// A configuration file, and which of its rings is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingFile {
    /// The file; `-` is standard input.
    pub path: PathBuf,
    /// The program whose file it is; `None` to go by its content.
    pub program: Option<Program>,
    /// The ring that is meant; `None` if it is the only one.
    pub wanted: Option<Wanted>,
    /// The aggregation rules, if they are not in the file that the configuration names.
    pub aggregation_rules: Option<PathBuf>,
}

/// The ring that a file gave.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedRing {
    /// The program whose file it is.
    pub program: Program,
    /// The section, cluster or route; empty if the file has one ring without a name.
    pub name: String,
    /// The ring.
    pub found: FoundRing,
}

/// Why a file gives no ring.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read as its program reads it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Aggregation rules were given for a ring that has none.
    #[error("--aggregation-rules {}: this ring is not of aggregated hashing", path.display())]
    NoUseForRules {
        /// The file of the rules.
        path: PathBuf,
    },
    /// It is not clear which ring is meant, or that one is refused.
    #[error("{}", path.display())]
    Choice {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ChoiceError,
    },
}

impl RingFile {
    /// Reads the file, with those that it includes.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn configuration(&self) -> Result<Configuration, LoadError> {
        let path = self.path.as_path();
        let bytes = bytes_of(path)
            .map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?;
        let file = source_file(path, bytes)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(read(&file, self.program, &mut Disk { folder, files: 0 })?)
    }

    /// Reads the file and takes the ring that is meant.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(&self) -> Result<LoadedRing, LoadError> {
        let configuration = self.configuration()?;
        match configuration.choose(self.wanted.as_ref()) {
            Ok((name, found)) => Ok(LoadedRing {
                program: configuration.program,
                name,
                found: self.with_rules(found)?,
            }),
            Err(ChoiceError::Refused(refusal)) => Err(refusal.into()),
            Err(source) => Err(LoadError::Choice { path: self.path.clone(), source }),
        }
    }

    /// `found` with the aggregation rules of the file that was named for them.
    fn with_rules(&self, mut found: FoundRing) -> Result<FoundRing, LoadError> {
        let uses_rules = |need: &Need| need.kind == NeedKind::AggregationRules;
        let Some(path) = &self.aggregation_rules else { return Ok(found) };
        if found.spec.aggregation.is_none() && !found.needs.iter().any(uses_rules) {
            return Err(LoadError::NoUseForRules { path: path.clone() });
        }
        let bytes = bytes_of(path)
            .map_err(|source| LoadError::Unreadable { path: path.clone(), source })?;
        let rules = rules_in(&source_file(path, bytes)?)?;
        found.needs.retain(|need| !uses_rules(need));
        found.spec.aggregation = Some(Arc::new(rules));
        Ok(found)
    }
}

/// The files beside a configuration file, and those that it includes.
struct Disk {
    /// The folder of the configuration file.
    folder: PathBuf,
    /// How many files were read.
    files: usize,
}

impl Disk {
    fn source(&mut self, path: &Path) -> Result<SourceFile, String> {
        self.files += 1;
        if self.files > FILES_MOST {
            return Err(format!("more than {FILES_MOST} files are included"));
        }
        let bytes = bytes_of(path).map_err(|error| format!("{}: {error}", path.display()))?;
        source_file(path, bytes).map_err(|refusal| refusal.to_string())
    }
}

impl OtherFiles for Disk {
    /// As glob(3): names in their order; `*` does not match a leading dot.
    fn include(&mut self, pattern: &str) -> Result<Vec<SourceFile>, String> {
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        let found =
            glob::glob_with(&as_glob_reads(pattern), options).map_err(|error| error.to_string())?;
        let paths =
            found.collect::<Result<Vec<PathBuf>, _>>().map_err(|error| error.to_string())?;
        if paths.is_empty() {
            return Err(
                "no file of this name; relative names start in the relay's working folder, \
                        so start bucky there too"
                    .to_owned(),
            );
        }
        paths.iter().map(|path| self.source(path)).collect()
    }

    fn beside(&mut self, name: &str) -> Result<Option<SourceFile>, String> {
        let path = self.folder.join(name);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => self.source(&path).map(Some),
        }
    }
}

/// `pattern` for the glob crate: to glob(3), `**` is `*`, and a backslash takes the next character as it is.
fn as_glob_reads(pattern: &str) -> String {
    let mut read = String::new();
    let mut left = pattern.chars();
    while let Some(next) = left.next() {
        match next {
            '*' if read.ends_with('*') => {}
            '\\' => match left.next() {
                Some(taken @ ('*' | '?' | '[')) => read.extend(['[', taken, ']']),
                Some(taken) => read.push(taken),
                None => read.push(next),
            },
            other => read.push(other),
        }
    }
    read
}

/// Refuses what could be waited for without end: a named pipe, a socket, a terminal. What the shell hands over
/// (`<(…)`) is a pipe too.
fn check_kind(path: &Path) -> io::Result<()> {
    let kind = std::fs::metadata(path)?.file_type();
    let is_handed_over = ["/dev/fd", "/dev/stdin", "/proc/self/fd", "/dev/null"]
        .iter()
        .any(|folder| path.starts_with(folder));
    if kind.is_file() || kind.is_dir() || is_handed_over {
        return Ok(());
    }
    let what = if kind.is_fifo() { "a named pipe" } else { "a device or a socket" };
    Err(io::Error::other(format!("it is {what}, not a file")))
}

fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path == Path::new(STDIN) {
        Box::new(io::stdin())
    } else {
        check_kind(path)?;
        Box::new(File::open(path)?)
    };
    source.take(FILE_MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MOST_BYTES {
        return Err(io::Error::other(format!("longer than {} MiB", FILE_MOST_BYTES >> 20)));
    }
    Ok(bytes)
}

fn source_file(path: &Path, bytes: Vec<u8>) -> Result<SourceFile, Refusal> {
    let name = if path == Path::new(STDIN) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile::new(&name, &text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let found = bytes.get(valid).copied().unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes[..valid]);
            Err(Refusal {
                kind: RefusalKind::Syntax,
                place: SourceFile::new(&name, &text).place(text.len()),
                message: format!("byte 0x{found:02x} is not UTF-8; save the file as UTF-8"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        folder
    }

    #[test]
    fn bytes_that_are_no_text_are_named_by_their_place() {
        let folder = folder(&[("f.conf", b"\xef\xbb\xbfa\nb\xff\n")]);
        let path = folder.path().join("f.conf");
        let error =
            RingFile { path: path.clone(), program: None, wanted: None, aggregation_rules: None }
                .load();
        let said = error.expect_err("no text").to_string();
        let place = format!("{}:2:2: byte 0xff is not UTF-8", path.display());
        assert!(said.starts_with(&place), "{said}");
        let none = RingFile {
            path: folder.path().join("none"),
            program: None,
            wanted: None,
            aggregation_rules: None,
        };
        assert!(none.load().expect_err("no file").to_string().starts_with("cannot read "));
    }

    #[test]
    fn what_could_be_waited_for_without_end_is_refused() {
        let folder = folder(&[]);
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let refused = bytes_of(&path).expect_err("a pipe").to_string();
        assert_eq!(refused, "it is a named pipe, not a file");
        assert!(
            bytes_of(Path::new("/dev/zero"))
                .expect_err("a device")
                .to_string()
                .contains("a device")
        );
        assert_eq!(bytes_of(Path::new("/dev/null")).expect("nothing"), b"");
    }

    #[test]
    fn a_glob_gives_the_files_in_the_order_of_their_names() {
        let folder = folder(&[("b.conf", b"b"), ("a.conf", b"a"), (".c.conf", b"c"), ("d", b"d")]);
        let mut disk = Disk { folder: folder.path().to_owned(), files: 0 };
        let texts = |disk: &mut Disk, pattern: &str| {
            let pattern = folder.path().join(pattern).display().to_string();
            disk.include(&pattern)
                .map(|files| files.into_iter().map(|file| file.text).collect::<String>())
        };
        assert_eq!(texts(&mut disk, "*.conf"), Ok("ab".to_owned()));
        assert_eq!(texts(&mut disk, "d"), Ok("d".to_owned()));
        std::fs::create_dir(folder.path().join("sub")).expect("a folder");
        std::fs::write(folder.path().join("sub/e.conf"), "e").expect("written");
        assert_eq!(texts(&mut disk, "**/*.conf"), Ok("e".to_owned()), "as */*.conf");
        assert_eq!(texts(&mut disk, "\\d"), Ok("d".to_owned()));
        assert!(texts(&mut disk, "*.none").expect_err("no file").contains("working folder"));
        assert_eq!(
            disk.beside("b.conf").expect("a file").map(|file| file.text).as_deref(),
            Some("b")
        );
        assert_eq!(disk.beside("none").map(|file| file.is_some()), Ok(false));
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).expect("a link");
        assert!(disk.beside("link").expect_err("dangling").contains("link"));
        disk.files = FILES_MOST;
        assert!(texts(&mut disk, "d").expect_err("too many").contains("more than 1024 files"));
    }
}
