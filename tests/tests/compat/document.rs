//! `docs/internals/compatibility.md` names tests. A name without a test would be a promise that nothing
//! checks.

use std::collections::BTreeSet;
use std::path::Path;

use walkdir::WalkDir;

/// Folders of the workspace that contain tests.
const SOURCES: [&str; 7] = ["api", "bucky", "buckyd", "flags", "ring", "tests", "whisper"];

#[test]
fn every_test_that_the_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("docs/internals/compatibility.md")).unwrap();
    let tests = tests_below(root);
    let mut rows = 0;
    for line in document.lines().filter(|line| line.starts_with("| ")) {
        let Some(held_by) = line.trim_end().trim_end_matches('|').rsplit(" | ").next() else {
            continue;
        };
        if held_by.trim() == "test" || held_by.trim().starts_with("---") {
            continue;
        }
        let names: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        assert!(
            !names.is_empty() || held_by.trim().starts_with("cannot apply:"),
            "no test: {line}"
        );
        for name in names {
            assert!(tests.contains(name), "{name} is no test: {line}");
        }
        rows += 1;
    }
    assert!(rows > 0, "the document has no rows");
}

/// The names of all test functions.
fn tests_below(root: &Path) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in SOURCES.iter().flat_map(|folder| WalkDir::new(root.join(folder))) {
        let file = file.unwrap();
        if file.path().extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(file.path()).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                let name = rest.split(['(', '<']).next().unwrap_or(rest);
                tests.insert(name.to_owned());
                is_test = false;
            }
        }
    }
    tests
}
