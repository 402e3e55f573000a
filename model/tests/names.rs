//! The model accompanies the code: each step is named after the function that performs it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

use bucky_model::Name;

#[test]
fn every_step_has_the_name_of_a_function_that_does_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in Name::ALL {
        let (function, folder) = name.function();
        if function.is_empty() {
            continue;
        }
        let begins = [format!("fn {function}("), format!("fn {function}<")];
        let is_there = sources(&root.join(folder))
            .iter()
            .any(|source| begins.iter().any(|begin| source.contains(begin.as_str())));
        assert!(
            is_there,
            "{folder} has no function `{function}` any more: what does \"{}\" now? Change model/src/step.rs, and the \
             model with it where the protocol has changed",
            name.description()
        );
    }
}

/// The contents of all Rust files below `folder`.
fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    texts
}
