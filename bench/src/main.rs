//! `scripts/bench`: the speed of whole commands, each as a ratio to a public peer or a physical limit in the
//! same run.
//!
//! - `figure`: the figures and their bars; `table` collects them, and prints them with a description of the
//!   `machine`
//! - `measure` runs programs and measures time, processor time and memory; `turns` times two short operations
//!   alternately; `lay` creates the data; `rebalance` runs one
//! - `owners`, `fills`: the cost of one look-up, and of one fill; `moves`: a rebalance compared with `tar |
//!   tar`, `sync` and `rm`; `link`: one over a slow link with a long round trip; `scans`: a store of many
//!   names compared with `find`; `growth`: cost against size; `verifies`: a verification compared with
//!   `md5sum`; `costs`: the cost of a metric by its length; `planner`: the client alone, with the `fleet` of
//!   simulated daemons
//!
//! Machines are noisy: each figure is measured several times, ours and the peer's alternately. The table
//! shows the median, the smallest and the greatest of the ratios.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

mod costs;
mod figure;
mod fills;
mod fleet;
mod growth;
mod lay;
mod link;
mod machine;
mod measure;
mod moves;
mod owners;
mod planner;
mod rebalance;
mod scans;
mod table;
mod turns;
mod verifies;

use std::path::PathBuf;

use bucky_tests::Programs;
use clap::Parser;

use crate::machine::Machine;
use crate::table::Table;

/// Measures Bucky against tar, find, grep and carbonate, and against physical limits
#[derive(Parser)]
struct Args {
    /// The folder with the programs `bucky` and `buckyd` under test
    #[arg(long)]
    programs: PathBuf,
    /// How many times each figure is measured
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only figures whose name contains this text
    #[arg(long)]
    only: Option<String>,
    /// The share of the metrics to use, such as 0.1 for a quick check
    #[arg(long, default_value_t = 1.0)]
    size: f64,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// The settings of a run.
struct Plan {
    programs: Programs,
    runs: usize,
    size: f64,
}

impl Plan {
    /// `count` metrics of the full bench, scaled to the requested size.
    fn scaled(&self, count: u32) -> usize {
        let scaled = (f64::from(count) * self.size).max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 1, and small"
        )]
        let scaled = scaled as usize;
        scaled
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let program = |name: &str| -> anyhow::Result<&'static str> {
        let path = args.programs.join(name).canonicalize()?;
        Ok(path.to_string_lossy().into_owned().leak())
    };
    let programs = Programs { bucky: program("bucky")?, buckyd: program("buckyd")? };
    let plan = Plan { programs, runs: args.runs.max(1), size: args.size };
    let machine = Machine::look()?;
    let mut table = Table::new(args.only);
    owners::measure(&plan, &mut table);
    fills::measure(&plan, &mut table);
    moves::measure(&plan, &mut table);
    verifies::measure(&plan, &mut table);
    scans::measure(&plan, &mut table);
    link::measure(&plan, &mut table);
    growth::measure(&plan, &mut table);
    costs::measure(&plan, &mut table);
    planner::measure(&plan, &mut table);
    table.print(&machine, args.size, args.json)
}
