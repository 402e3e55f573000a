//! `bucky du`: how many bytes metrics take together.

use std::sync::Arc;

use super::discover;
use super::each_metric_args::EachMetricArgs;
use crate::inventory::{Detail, Merged, Query, Sought};
use crate::names::Nothing;
use crate::outcome::Outcome;
use crate::output::Output;

/// After how many metrics a line of progress comes.
const PROGRESS_EVERY: u64 = 100_000;

/// Arguments of `bucky du`.
#[derive(clap::Args)]
#[command(
    about = "Add up the size of metrics",
    long_about = "Add up the size of metrics (the lengths of their files). A metric on two nodes counts twice."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) each: EachMetricArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let args = args.each;
    let selection = args.select.selection(Nothing::IsRefused, std::io::stdin())?;
    let cluster = discover(&args.cluster, output).await?;
    cluster.tell_findings(output);
    let mut sought = Sought::new(&selection);
    let query = Query { selection, detail: Detail::Stat, workers: args.workers };
    let mut merged = Merged::begin(&cluster, query, args.select.force, output).await?;
    let (mut bytes, mut metrics, mut outcome) = (0u64, 0u64, Outcome::Done);
    while let Some((_, entry)) = merged.next().await {
        sought.found(&entry.name);
        match entry.stat {
            Ok(stat) => {
                bytes = bytes.saturating_add(stat.bytes);
                metrics += 1;
                if metrics % PROGRESS_EVERY == 0 {
                    output.say(format_args!("Progress: {metrics} metrics"));
                }
            }
            Err(reason) => {
                output.say(reason);
                outcome = Outcome::SomeFailed;
            }
        }
    }
    outcome = outcome.and(sought.tell(output)).and(merged.tell_failures(output));
    let lines = lines(bytes);
    if args.json {
        output.data_line(format_args!("{{\"metrics\":{metrics},\"bytes\":{bytes}}}"))?;
    } else {
        output.data_line(&lines)?;
    }
    if outcome == Outcome::Done {
        output.say("Du operation complete.");
    } else {
        output.say("Errors occured in du operation.");
    }
    // Where standard output is not looked at, the result is where the Go tool has it.
    if !output.is_terminal() {
        output.say(lines);
    }
    Ok(outcome.and(cluster.outcome()))
}

fn lines(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mebibytes = bytes as f64 / 1024.0 / 1024.0;
    format!("{bytes} Bytes\n{mebibytes:.2} MiB\n{:.2} GiB", mebibytes / 1024.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_is_told_as_the_go_tool_tells_it() {
        assert_eq!(super::lines(444), "444 Bytes\n0.00 MiB\n0.00 GiB");
        assert_eq!(super::lines(3 << 29), "1610612736 Bytes\n1536.00 MiB\n1.50 GiB");
    }
}
