//! Runs everything in the fuzz targets' corpora, on a stable toolchain: what a fuzzer has found is checked
//! again.
//!
//! `fuzz/README.md` says how to search for more.

#![expect(clippy::unwrap_used, reason = "a test, and all that only tests call, may fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bucky_tests::inputs::INPUTS;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fuzz")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_corpora_break_no_rule() {
    for input in INPUTS {
        let folder = fuzz_folder().join("corpus").join(input.name);
        let kept = names_in(&folder);
        assert!(!kept.is_empty(), "{folder:?} is empty");
        for name in kept {
            let path = folder.join(name);
            let bytes = std::fs::read(&path).unwrap();
            // The last line before a panic names the file.
            println!("{}", path.display());
            (input.check)(&bytes);
            for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
                (input.check)(&bytes[..cut]);
            }
        }
    }
}

#[test]
fn every_input_has_a_target_and_a_corpus_and_there_are_no_others() {
    let names: BTreeSet<String> = INPUTS.iter().map(|input| input.name.to_owned()).collect();
    let targets = names_in(&fuzz_folder().join("fuzz_targets"));
    let targets: BTreeSet<String> =
        targets.iter().map(|file| file.strip_suffix(".rs").unwrap().to_owned()).collect();
    assert_eq!(targets, names);
    assert_eq!(names_in(&fuzz_folder().join("corpus")), names);
    let manifest = std::fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not built");
        let target = fuzz_folder().join("fuzz_targets").join(format!("{name}.rs"));
        assert!(std::fs::read_to_string(target).unwrap().contains(&format!("\"{name}\"")));
    }
}
