//! Names of metrics as paths of files, and back.

use std::path::{Path, PathBuf};

use bucky_whisper::MetricName;

use crate::chain;

/// Where Graphite stores its files.
pub(crate) const STORAGE_DIR: &str = "/opt/graphite/storage/whisper";

/// The file of a metric, below `folder` if there is one. The error is the reason why it has no path.
pub(crate) fn to_path(name: &str, folder: Option<&Path>) -> Result<PathBuf, String> {
    if name.contains(';') && !name.starts_with("_tagged.") {
        return Err(format!(
            "{name:?} is a tagged series; its file is below _tagged, named by a hash"
        ));
    }
    let metric = MetricName::parse(name).map_err(|error| chain(&error))?;
    let below = metric.relative_path();
    Ok(folder.map_or_else(|| below.clone(), |folder| folder.join(&below)))
}

/// The metric of a file; `path` is below `folder`, or relative to it.
pub(crate) fn to_name(path: &str, folder: &Path) -> Result<String, String> {
    let path = Path::new(path);
    let below = path.strip_prefix(folder).unwrap_or(path);
    let below = below.strip_prefix(".").unwrap_or(below);
    if below.is_absolute() {
        return Err(format!(
            "{} is not below {}; give the storage folder with -d",
            path.display(),
            folder.display()
        ));
    }
    let name = MetricName::from_relative_path(below).map_err(|error| chain(&error))?;
    Ok(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_each_others_inverse() {
        let folder = Path::new("/w");
        for (name, path) in [
            ("a.b.c", "a/b/c.wsp"),
            ("top", "top.wsp"),
            ("_tagged.a.b.x;k=v", "_tagged/a/b/x;k=v.wsp"),
        ] {
            assert_eq!(to_path(name, None), Ok(PathBuf::from(path)));
            assert_eq!(to_path(name, Some(folder)), Ok(folder.join(path)));
            for path in [path.to_owned(), format!("/w/{path}"), format!("./{path}")] {
                assert_eq!(to_name(&path, folder), Ok(name.to_owned()), "{path}");
            }
        }
    }

    /// Carbonate turns each of these into something: the name or file of another metric.
    #[test]
    fn a_name_or_path_without_a_metric_is_refused() {
        for path in ["/elsewhere/a.wsp", "a.b/c.wsp", "a/b.txt", "../a.wsp", "", "x.wsp.y/z.wsp"] {
            assert!(to_name(path, Path::new("/w")).is_err(), "{path}");
        }
        for name in ["", "a..b", ".a", "a.", "cpu;host=a", "a\tb"] {
            assert!(to_path(name, None).is_err(), "{name}");
        }
    }
}
