//! Runs operations with whisper.py.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How long a lock may take. A child process of another test holds our locks until its exec.
pub(crate) const LOCK_LIMIT: Duration = Duration::from_secs(60);

/// The environment variable that names a Python that has whisper.py.
const PYTHON: &str = "BUCKY_PEERS_PYTHON";

/// The Python that has whisper.py.
pub(crate) fn python() -> OsString {
    std::env::var_os(PYTHON).unwrap_or_else(|| {
        panic!("{PYTHON} is not set: it names a Python that has whisper.py 1.1.10; scripts/test sets it up")
    })
}

/// Operations for one Python process.
#[derive(Default)]
pub(crate) struct Operations {
    lines: Vec<String>,
    arguments: Vec<&'static str>,
}

impl Operations {
    /// Operations for a Python that uses its own set order.
    pub(crate) fn in_python_set_order() -> Self {
        Self { arguments: vec!["--python-set-order"], ..Self::default() }
    }

    /// Adds an operation, and returns the number of its answer.
    pub(crate) fn add(&mut self, operation: &Value) -> usize {
        self.lines.push(operation.to_string());
        self.lines.len() - 1
    }

    /// Runs all operations, and returns one answer for each, in the same order.
    pub(crate) fn run(&self) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("operations");
        let mut file = File::create(&input).unwrap();
        for line in &self.lines {
            writeln!(file, "{line}").unwrap();
        }
        let output = Command::new(python())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/driver.py"))
            .args(&self.arguments)
            .stdin(File::open(&input).unwrap())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the driver failed: {}", output.status);
        let answers: Vec<Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(answers.len(), self.lines.len(), "an answer for each operation");
        answers
    }
}

/// The bits of a value, in the driver's format.
pub(crate) fn to_bits(value: f64) -> Value {
    Value::String(format!("{:016x}", value.to_bits()))
}

/// The value in the driver's answer.
pub(crate) fn from_bits(value: &Value) -> Option<f64> {
    let digits = value.as_str()?;
    Some(f64::from_bits(u64::from_str_radix(digits, 16).unwrap()))
}

/// Bytes in the driver's format.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
