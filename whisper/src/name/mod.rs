//! Names of metrics, and the files they stand for.
//!
//! Name `a.b.c` is the file `a/b/c.wsp` below the prefix. A name that has passed [`MetricName::parse`] can be
//! joined to a prefix without leaving it, fits every Linux file system, and means exactly one file.
//! [`MetricName::from_relative_path`] refuses every file that no name stands for.

use std::borrow::Cow;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The extension of the files of metrics.
const EXTENSION: &str = ".wsp";
/// The longest file or folder name that Linux file systems accept, in bytes.
const COMPONENT_MAX_BYTES: usize = 255;
/// The longest path that Linux accepts, in bytes.
const PATH_MAX_BYTES: usize = 4_096;
/// The folder below which carbon stores tagged series.
const TAGGED_FOLDER: &str = "_tagged";
/// What carbon writes for a `.` of a tagged series in a file's name. Source: `TaggedSeries.encode` in carbon.
const ENCODED_DOT: &str = "_DOT_";
/// How many digits the name of a file has that carbon names by the hash of its series (TAG_HASH_FILENAMES).
const SERIES_HASH_DIGITS: usize = 64;

/// The name of a metric, components separated by `.`. It is valid and names exactly one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MetricName(String);

/// Why a text is not the name of a metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("the name of a metric is empty")]
    Empty,
    /// It begins with a dot: the first component is empty, or the file would be hidden.
    #[error("the name {name:?} begins with a dot")]
    LeadingDot {
        /// The text that was found.
        name: String,
    },
    /// Two dots or slashes follow each other (as in `a/../b`), or the text ends in one.
    #[error("the name {name:?} has an empty component")]
    EmptyComponent {
        /// The text that was found.
        name: String,
    },
    /// It has a NUL, which no path can contain, or another control character. A newline, for example, would
    /// split a line of a list.
    #[error("the name {name:?} has a control character")]
    ControlCharacter {
        /// The text that was found.
        name: String,
    },
    /// A folder's name, or the file's together with its `.wsp`, would be over 255 bytes.
    #[error(
        "a component of the name {name:?} makes a file name of {len_bytes} bytes; the limit is 255"
    )]
    ComponentTooLong {
        /// The text that was found.
        name: String,
        /// The length of that file or folder name.
        len_bytes: usize,
    },
    /// The path would be over 4,096 bytes.
    #[error(
        "a name makes a path of {len_bytes} bytes; the limit is 4096 (it begins with {start:?})"
    )]
    PathTooLong {
        /// The name's first characters.
        start: String,
        /// The length of the path below the prefix.
        len_bytes: usize,
    },
}

/// Why a file does not have the name of a metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAddressable {
    /// The path is not UTF-8.
    #[error("{path:?} is not UTF-8; rename the file")]
    NotUtf8 {
        /// The path below the prefix.
        path: PathBuf,
    },
    /// It does not end in `.wsp`.
    #[error("{path:?} does not end in .wsp")]
    NotWhisper {
        /// The path below the prefix.
        path: PathBuf,
    },
    /// It is absolute, or has a `.` or `..` component.
    #[error("{path:?} is not a plain path below the prefix")]
    NotBelowPrefix {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder's name, or the file's name before its `.wsp`, contains a dot: as the name of a metric, this
    /// would mean a file in another folder.
    #[error(
        "{path:?} has a dot inside {component:?}, so its name would mean another file; rename it"
    )]
    DotInside {
        /// The path below the prefix.
        path: PathBuf,
        /// The part of it that has the dot.
        component: String,
    },
    /// The name that the path would have is not valid.
    #[error("{path:?} is not the path of a metric")]
    Name {
        /// The path below the prefix.
        path: PathBuf,
        /// The rule that it breaks.
        source: NameError,
    },
}

/// What a relay hashes to place a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Series<'a> {
    /// The name of the series, including its tags.
    Known(Cow<'a, str>),
    /// The file is named by a hash of its series. The series is unknown, so no ring can name the owner.
    Unplaceable,
}

impl MetricName {
    /// Checks that `text` is the name of a metric. A `/` means `.`, as in the Go tool.
    ///
    /// # Errors
    /// [`NameError`] with the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let path_bytes = text.len() + EXTENSION.len();
        if path_bytes > PATH_MAX_BYTES {
            let start = text.chars().take(60).collect();
            return Err(NameError::PathTooLong { start, len_bytes: path_bytes });
        }
        let name = text.replace('/', ".");
        if name.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(NameError::ControlCharacter { name });
        }
        if name.starts_with('.') {
            return Err(NameError::LeadingDot { name });
        }
        if name.split('.').any(str::is_empty) {
            return Err(NameError::EmptyComponent { name });
        }
        if let Some(len_bytes) = too_long_component(&name) {
            return Err(NameError::ComponentTooLong { name, len_bytes });
        }
        Ok(Self(name))
    }

    /// Whether `text` is a valid name in its final form: one that [`Self::parse`] accepts and does not
    /// change.
    ///
    /// For callers that check many names and keep none of them.
    pub fn is_one(text: &str) -> bool {
        let mut component_bytes = 0;
        for byte in text.bytes() {
            match byte {
                b'.' if (1..=COMPONENT_MAX_BYTES).contains(&component_bytes) => component_bytes = 0,
                b'.' | b'/' => return false,
                byte if byte.is_ascii_control() => return false,
                _ => component_bytes += 1,
            }
        }
        component_bytes > 0
            && component_bytes + EXTENSION.len() <= COMPONENT_MAX_BYTES
            && text.len() + EXTENSION.len() <= PATH_MAX_BYTES
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file it stands for, below the prefix: `a/b/c.wsp`.
    pub fn relative_path(&self) -> PathBuf {
        let mut path = self.0.replace('.', "/");
        path.push_str(EXTENSION);
        PathBuf::from(path)
    }

    /// The name that stands for the file at `path` below the prefix: the inverse of [`Self::relative_path`].
    ///
    /// # Errors
    /// [`NotAddressable`] if there is no such name.
    pub fn from_relative_path(path: &Path) -> Result<Self, NotAddressable> {
        let owned = || path.to_owned();
        let mut components = Vec::new();
        for component in path.components() {
            let Component::Normal(component) = component else {
                return Err(NotAddressable::NotBelowPrefix { path: owned() });
            };
            let component =
                component.to_str().ok_or_else(|| NotAddressable::NotUtf8 { path: owned() })?;
            components.push(component);
        }
        let stem = components
            .pop()
            .and_then(|file| file.strip_suffix(EXTENSION))
            .ok_or_else(|| NotAddressable::NotWhisper { path: owned() })?;
        components.push(stem);
        if let Some(component) = components.iter().find(|component| component.contains('.')) {
            let component = (*component).to_owned();
            return Err(NotAddressable::DotInside { path: owned(), component });
        }
        Self::parse(&components.join("."))
            .map_err(|source| NotAddressable::Name { path: owned(), source })
    }

    /// The name of the series that a relay hashes. For a file below `_tagged` that is its last component,
    /// with carbon's `_DOT_` turned back into `.`; for all others the name itself.
    pub fn series(&self) -> Series<'_> {
        Series::of(&self.0)
    }
}

impl<'a> Series<'a> {
    /// The series of the metric `name`, which must be valid ([`MetricName::is_one`]): see
    /// [`MetricName::series`].
    pub fn of(name: &'a str) -> Self {
        let below = name.strip_prefix(TAGGED_FOLDER).and_then(|below| below.strip_prefix('.'));
        let Some(below) = below else {
            return Series::Known(Cow::Borrowed(name));
        };
        let last = below.rsplit('.').next().unwrap_or(below);
        if last.len() == SERIES_HASH_DIGITS && last.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Series::Unplaceable;
        }
        if last.contains(ENCODED_DOT) {
            Series::Known(Cow::Owned(last.replace(ENCODED_DOT, ".")))
        } else {
            Series::Known(Cow::Borrowed(last))
        }
    }
}

/// The length of the first file or folder name that is too long for a file system, if there is one.
fn too_long_component(name: &str) -> Option<usize> {
    let (folders, stem) = name.rsplit_once('.').unwrap_or(("", name));
    let folders = folders.split('.').map(str::len);
    folders.chain([stem.len() + EXTENSION.len()]).find(|len_bytes| *len_bytes > COMPONENT_MAX_BYTES)
}

impl fmt::Display for MetricName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl AsRef<str> for MetricName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for MetricName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for MetricName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<MetricName> for String {
    fn from(name: MetricName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests;
