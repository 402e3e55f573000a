//! `bucky du`: the total size of metrics.

use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::args::cluster::discover;
use crate::args::each_metric::EachMetricArgs;
use crate::inventory::{ListDetail, MergedLists, Query, UnfoundNames};
use crate::names::Nothing;
use crate::outcome::Outcome;
use crate::output::Output;

/// A line of progress is printed after each this many metrics.
const PROGRESS_EVERY: u64 = 100_000;

/// How each line of the Go tool's log begins; in UTC here, so that it is the same for all nodes.
const GO_LOG_TIME: &[FormatItem<'_>] =
    format_description!("[year]/[month]/[day] [hour]:[minute]:[second]");

/// Arguments of `bucky du`.
#[derive(clap::Args)]
#[command(
    about = "Add up the size of metrics",
    long_about = "Add up the size of metrics (the lengths of their files). A metric on two nodes counts twice. \
                  As in the Go tool, the result is also printed on standard error, after the time.",
    after_help = "Examples:\n\
        \x20 bucky du -h graphite-1 -r '^app\\.'"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) each: EachMetricArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let args = args.each;
    let selection = args.select.selection(Nothing::IsRefused, std::io::stdin())?;
    let cluster = discover(&args.cluster, output).await?;
    cluster.print_findings(output);
    cluster.report_not_served(output);
    let mut unfound = UnfoundNames::new(&selection);
    let query = Query { selection, detail: ListDetail::Stat, workers: args.workers };
    let mut merged = MergedLists::begin(&cluster, query, args.select.force, output).await?;
    let (mut bytes, mut metrics, mut outcome) = (0u64, 0u64, Outcome::Done);
    while let Some((_, entry)) = merged.next().await {
        unfound.found(&entry.name);
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
    outcome = outcome.and(unfound.report(output)).and(merged.report_failures(output));
    merged.report_returned(&cluster, output);
    print(Sum { metrics, bytes }, args.json, outcome, output)?;
    Ok(outcome.and(cluster.outcome()))
}

/// The total so far.
#[derive(Clone, Copy)]
struct Sum {
    metrics: u64,
    bytes: u64,
}

/// The Go tool prints its result only on standard error, after the time, and scripts look for it there. It is
/// data, so it belongs on standard output. So it is printed on both, but only once if both are one, as in
/// scripts with `2>&1`.
fn print(sum: Sum, json: bool, outcome: Outcome, output: &Output) -> anyhow::Result<()> {
    let lines = lines(sum.bytes);
    let writes_for_people = !(output.streams_are_one() && output.is_terminal());
    if json {
        let Sum { metrics, bytes } = sum;
        output.data_line(format_args!("{{\"metrics\":{metrics},\"bytes\":{bytes}}}"))?;
    } else if !output.streams_are_one() || !writes_for_people {
        output.data_line(&lines)?;
    }
    output.flush()?;
    output.say(match outcome {
        Outcome::Done => "Du operation complete.",
        _ => "Errors occured in du operation.",
    });
    if writes_for_people {
        let time = OffsetDateTime::now_utc().format(GO_LOG_TIME)?;
        lines.lines().for_each(|line| output.say(format_args!("{time} {line}")));
    }
    Ok(())
}

fn lines(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mebibytes = bytes as f64 / 1024.0 / 1024.0;
    format!("{bytes} Bytes\n{mebibytes:.2} MiB\n{:.2} GiB", mebibytes / 1024.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_is_printed_as_the_go_tool_prints_it() {
        assert_eq!(super::lines(444), "444 Bytes\n0.00 MiB\n0.00 GiB");
        assert_eq!(super::lines(3 << 29), "1610612736 Bytes\n1536.00 MiB\n1.50 GiB");
    }
}
