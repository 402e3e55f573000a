//! `bucky stat`: size and modification time of metrics.

use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::cluster::discover;
use crate::args::each_metric::EachMetricArgs;
use crate::inventory::{ListDetail, MergedLists, Query, Stat, UnfoundNames};
use crate::names::Nothing;
use crate::outcome::Outcome;
use crate::output::{Output, json_string};

/// Arguments of `bucky stat`.
#[derive(clap::Args)]
#[command(
    about = "Show the size and modification time of metrics",
    long_about = "Show the size (length of the file) and the modification time (UTC) of metrics, sorted by name.",
    after_help = "Examples:\n\
        \x20 bucky stat -h graphite-1 app.requests.count\n\
        \x20 bucky stat -h graphite-1 -r '^app\\.'"
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
    let mut outcome = Outcome::Done;
    while let Some((node, entry)) = merged.next().await {
        unfound.found(&entry.name);
        match entry.stat {
            Ok(stat) if args.json => {
                let node = cluster.members.get(node).map(|member| member.addr().to_string());
                output.data_line(json_line(&entry.name, &node.unwrap_or_default(), stat))?;
            }
            Ok(stat) => output.data_line(text_line(&entry.name, stat))?,
            Err(reason) => {
                output.say(reason);
                outcome = Outcome::SomeFailed;
            }
        }
    }
    outcome = outcome.and(unfound.report(output)).and(merged.report_failures(output));
    merged.report_returned(&cluster, output);
    let end = if outcome == Outcome::Done { "complete" } else { "ended with errors" };
    output.say(format_args!("Stat operation {end}."));
    Ok(outcome.and(cluster.outcome()))
}

fn text_line(name: &str, stat: Stat) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let kibibytes = stat.bytes as f64 / 1024.0;
    format!("{kibibytes:.2}KiB\t{}\t{name}", time_text(stat.mtime))
}

fn json_line(name: &str, node: &str, stat: Stat) -> String {
    format!(
        "{{\"metric\":{},\"node\":{},\"bytes\":{},\"mtime\":{}}}",
        json_string(name),
        json_string(node),
        stat.bytes,
        stat.mtime
    )
}

/// Seconds since 1970 as RFC 3339 in UTC; a number that is not a date stays a number.
fn time_text(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_go_tools() {
        let stat = Stat { bytes: 148, mtime: 1_795_353_616 };
        assert_eq!(text_line("dup.x", stat), "0.14KiB\t2026-11-22T13:20:16Z\tdup.x");
        assert_eq!(
            json_line("dup.x", "a:4242", stat),
            r#"{"metric":"dup.x","node":"a:4242","bytes":148,"mtime":1795353616}"#
        );
    }

    #[test]
    fn a_time_out_of_range_stays_a_number() {
        assert_eq!(time_text(i64::MAX), i64::MAX.to_string());
    }
}
