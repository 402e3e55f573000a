//! The parts of the machine that explain the figures.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

/// A machine, without its name.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory_gib: u64,
    kernel: String,
    /// The type of the file system that holds the data.
    file_system: String,
    rust: String,
}

impl Machine {
    /// Describes this machine.
    pub(crate) fn look() -> anyhow::Result<Self> {
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: value_of("/proc/cpuinfo", "model name")?,
            memory_gib: memory_gib()?,
            kernel: kernel()?,
            file_system: file_system_of(&std::env::temp_dir().canonicalize()?)?,
            rust: rust(),
        })
    }
}

impl Display for Machine {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, memory_gib, kernel, file_system, rust } = self;
        write!(
            formatter,
            "{cores} cores ({processor}), {memory_gib} GiB of memory, {file_system}, Linux {kernel}, Rust {rust}"
        )
    }
}

/// The value of a line `KEY : VALUE` in a file below `/proc`.
fn value_of(file: &str, key: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(found, _)| found.trim() == key);
    Ok(found.map_or("unknown", |(_, value)| value.trim()).to_owned())
}

fn memory_gib() -> anyhow::Result<u64> {
    let total = value_of("/proc/meminfo", "MemTotal")?;
    let kib: u64 = total.trim_end_matches(" kB").parse()?;
    Ok((kib + (1 << 19)) >> 20)
}

/// The numeric part of the version: a vendor's suffix says little about the kernel.
fn kernel() -> anyhow::Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let is_of_version = |letter: char| letter.is_ascii_digit() || letter == '.';
    Ok(release.chars().take_while(|&letter| is_of_version(letter)).collect())
}

/// The type of the file system that contains `path`.
fn file_system_of(path: &Path) -> anyhow::Result<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mounts = mounts.lines().filter_map(|line| {
        let (mount, device) = line.split_once(" - ")?;
        Some((PathBuf::from(mount.split(' ').nth(4)?), device.split(' ').next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    // If two are mounted at one point, the later one hides the earlier one.
    let deepest = above.max_by_key(|(point, _)| point.components().count());
    Ok(deepest.map_or("unknown", |(_, kind)| kind).to_owned())
}

/// The version of the compiler in the path, which `scripts/bench` has just used.
fn rust() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = text.ok().and_then(|text| text.split(' ').nth(1).map(str::to_owned));
    version.unwrap_or_else(|| "unknown".to_owned())
}
