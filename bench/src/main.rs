//! `scripts/bench`: how fast whole commands are, each as a ratio to a public peer or a physical limit in the same run.
//!
//! - `figure`: what is measured, and how good it has to be; `table` gathers it, and prints it under the outline of the `machine`
//! - `measure` runs programs and tells time, processor time and memory; `turns` times two short acts in turn; `lay` makes
//!   the data; `rebalance` runs one
//! - `owners`, `fills`: what one look-up, and one fill, costs; `moves`: a rebalance beside `tar | tar`, `sync` and `rm`;
//!   `link`: one over a long, narrow link; `scans`: a store of many names beside `find`; `growth`: cost against size;
//!   `verifies`: a verification beside `md5sum`; `costs`: what a metric costs, by its length; `planner`: the client alone,
//!   against the `fleet` of simulated daemons
//!
//! Machines are noisy: each figure is taken several times, ours and the peer's in turn, and told as the median of the ratios
//! with the least and the greatest.

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

/// Measures Bucky against tar, find, grep, carbonate, and what no program can do without.
#[derive(Parser)]
struct Args {
    /// The folder with the programs `bucky` and `buckyd` under test
    #[arg(long)]
    programs: PathBuf,
    /// How often each figure is taken
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only figures in whose name this is found
    #[arg(long)]
    only: Option<String>,
    /// This share of the metrics, such as 0.1 for a look that takes little time
    #[arg(long, default_value_t = 1.0)]
    size: f64,
    /// Print JSON in place of the table
    #[arg(long)]
    json: bool,
}

/// What a figure needs to know.
struct Plan {
    programs: Programs,
    runs: usize,
    size: f64,
}

impl Plan {
    /// `count` of the full bench, at the size that was asked for.
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
