//! The list of metrics: built when it is requested, and not updated later.

use std::path::Path;

use super::files;

/// How many calls a scan takes, without the one that starts it.
const SCAN_CALLS: usize = 1;

/// The only list of a daemon.
#[derive(Debug, Default)]
pub(super) struct List {
    ready: Option<Vec<String>>,
    /// The names that a scan finds, and how many more calls it takes.
    scan: Option<(Vec<String>, usize)>,
}

impl List {
    /// The list that a call gets, or `None` while it is being built. With `force` a new scan begins, and the
    /// old list is returned (D18).
    pub(super) fn take(&mut self, prefix: &Path, force: bool) -> Option<Vec<String>> {
        match self.scan.take() {
            Some((names, calls)) if calls > 0 => {
                self.scan = Some((names, calls - 1));
                return None;
            }
            Some((names, _)) => self.ready = Some(names),
            None => {}
        }
        if force || self.ready.is_none() {
            self.scan = Some((files::walk(prefix), SCAN_CALLS));
        }
        self.ready.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_made_at_the_first_call_and_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("whisper");
        std::fs::create_dir(&prefix).unwrap();
        let put = |name: &str| std::fs::write(prefix.join(name), "").unwrap();
        put("a.wsp");
        let mut list = List::default();
        assert_eq!(list.take(&prefix, false), None, "the first call begins the scan");
        put("b.wsp");
        assert_eq!(list.take(&prefix, false), None);
        let old = Some(vec!["a".to_owned()]);
        assert_eq!(list.take(&prefix, false), old);
        assert_eq!(list.take(&prefix, true), old, "force answers with the old list");
        assert_eq!(list.take(&prefix, true), None, "a scan is running");
        assert_eq!(list.take(&prefix, false), Some(vec!["a".to_owned(), "b".to_owned()]));
    }
}
