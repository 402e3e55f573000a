//! Checks that every point of every file still exists after a move: `check-points --ring FILE BEFORE AFTER`.
//!
//! BEFORE is a copy of AFTER from before the move; both have a prefix for each host, named after the host.
//! Exits with 1 if a point is missing or changed, or if a file is on a host that does not own it. Used by
//! scripts/demo.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use bucky_ring::{Ring, RingDocument};
use bucky_tests::Ledger;
use clap::Parser;

/// How many problems are shown.
const SHOWN: usize = 20;

#[derive(Parser)]
struct Args {
    /// The ring document, as returned by `GET /hashring`.
    #[arg(long)]
    ring: PathBuf,
    /// The prefixes before the move.
    before: PathBuf,
    /// The prefixes after the move.
    after: PathBuf,
}

#[expect(clippy::print_stdout, reason = "its output is for the reader of the demo")]
fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let document = std::fs::read(&args.ring).with_context(|| args.ring.display().to_string())?;
    let ring = Ring::new(RingDocument::from_json(&document)?.to_spec()?)?;
    let before = Ledger::read(&hosts(&args.before)?);
    let after = Ledger::read(&hosts(&args.after)?);
    let findings = before.compare(&after, &ring);
    println!(
        "before: {} metrics, {} not with their owner",
        before.metrics(),
        before.misplaced(&ring)
    );
    println!(
        "after:  {} metrics, {} not with their owner",
        after.metrics(),
        after.misplaced(&ring)
    );
    println!(
        "looked for {} points, roll-ups included: {} missing, changed or misplaced",
        findings.points,
        findings.problems.len()
    );
    for problem in findings.problems.iter().take(SHOWN) {
        println!("  {problem}");
    }
    let passed = findings.problems.is_empty() && findings.points > 0;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The prefixes in `folder`, by their hosts.
fn hosts(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut hosts = Vec::new();
    for entry in entries {
        let entry = entry?;
        hosts.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    hosts.sort();
    Ok(hosts)
}
