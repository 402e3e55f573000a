//! The programs that the tests compare with: their paths, and whisper.py's reading of Whisper files.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bucky_whisper::Point;

/// The environment variable that names a Python that has whisper.py.
const PYTHON: &str = "BUCKY_PEERS_PYTHON";
const SCRIPT: &str = include_str!("read_points.py");

/// The known points of each archive of a file, by its seconds per point.
pub type Reading = BTreeMap<u32, Vec<Point>>;

/// The Python that has whisper.py and carbon.
///
/// # Panics
/// If none was named.
#[track_caller]
pub fn python() -> PathBuf {
    let python = std::env::var_os(PYTHON).unwrap_or_else(|| {
        panic!("{PYTHON} is not set: it names a Python that has whisper.py 1.1.10; scripts/test sets it up")
    });
    python.into()
}

/// A program of the peers: the one beside their Python, or else the one in the path.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let beside = python().with_file_name(name);
    if beside.exists() { beside } else { name.into() }
}

/// Reads `files` as whisper.py does at the time `now`.
///
/// # Panics
/// If there is no Python with whisper.py, or it cannot read a file.
#[track_caller]
pub fn read(files: &[PathBuf], now: u32) -> Vec<Reading> {
    let mut command = Command::new(python());
    command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let paths: Vec<String> = files.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    // Written in a separate thread, because otherwise both sides might wait for each other.
    let writer = std::thread::spawn(move || {
        writeln!(input, "{now}").unwrap();
        paths.iter().for_each(|path| writeln!(input, "{path}").unwrap());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "whisper.py could not read all files: {}", output.status);
    let readings: Vec<Reading> =
        String::from_utf8(output.stdout).unwrap().lines().map(reading).collect();
    assert_eq!(readings.len(), files.len(), "a line for each file");
    readings
}

fn reading(line: &str) -> Reading {
    let archives: BTreeMap<u32, Vec<(u32, String)>> = serde_json::from_str(line).unwrap();
    let point = |(timestamp, bits): (u32, String)| {
        let bits = u64::from_str_radix(&bits, 16).unwrap();
        Point { timestamp, value: f64::from_bits(bits) }
    };
    archives
        .into_iter()
        .map(|(step, points)| (step, points.into_iter().map(point).collect()))
        .collect()
}
