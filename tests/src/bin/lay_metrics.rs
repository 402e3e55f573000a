//! Writes Whisper files to their owners in a ring: `lay-metrics --ring FILE --count N FOLDER`.
//!
//! FOLDER gets a prefix for each host of the ring, named after the host. Used by scripts/demo.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bucky_ring::{Ring, RingDocument};
use bucky_tests::ledger::owner_hosts;
use bucky_tests::metrics::{self, LAYOUTS};
use clap::Parser;

#[derive(Parser)]
struct Args {
    /// The ring document, as returned by `GET /hashring`.
    #[arg(long)]
    ring: PathBuf,
    /// How many metrics to write.
    #[arg(long, default_value_t = 3000)]
    count: usize,
    /// The folder in which the prefixes are created.
    folder: PathBuf,
}

#[expect(clippy::print_stdout, reason = "its output is for the reader of the demo")]
fn main() -> Result<()> {
    let args = Args::parse();
    let document = std::fs::read(&args.ring).with_context(|| args.ring.display().to_string())?;
    let ring = Ring::new(RingDocument::from_json(&document)?.to_spec()?)?;
    let now = metrics::now();
    let mut points = 0;
    for number in 0..args.count {
        let metric = metrics::name(number);
        let layout = &LAYOUTS[number % LAYOUTS.len()];
        let history = metrics::history(layout, now, number);
        for host in owner_hosts(&ring, &metric).unwrap_or_default() {
            metrics::write(&args.folder.join(host), &metric, layout, &history);
            points += history.len();
        }
    }
    println!("{} metrics with {points} points written, the newest of this minute", args.count);
    Ok(())
}
