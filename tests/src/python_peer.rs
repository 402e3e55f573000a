//! Asks a script that runs a Python peer about files: it reads their paths from standard input and answers each with
//! a line of JSON.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use crate::peer;

/// What `script`, of the folder of the compatibility tests, says about each of these `files`.
///
/// # Panics
/// If it fails, or does not answer for each.
#[track_caller]
pub fn ask_about<T: DeserializeOwned>(script: &str, files: &[String]) -> Vec<T> {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat").join(script);
    let mut command = Command::new(peer::python());
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = String::new();
    for (number, text) in files.iter().enumerate() {
        let path = folder.path().join(format!("{number}.conf"));
        std::fs::write(&path, text).unwrap();
        lines.push_str(&format!("{}\n", path.display()));
    }
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<T> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), files.len());
    answers
}
