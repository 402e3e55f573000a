//! `bucky list --not-served`: what is below the nodes' prefixes and not in any list, or unplaceable.

use std::sync::Arc;

use bucky_api::{ClientError, NotServedLine};
use serde_json::json;

use super::{Args, discover};
use crate::chain;
use crate::cluster::{DaemonKind, Member};
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;

/// How many lines of one node are shown.
const LIMIT: u64 = 100_000;

/// Runs the command.
pub(super) async fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if args.select.regex || !args.select.names.is_empty() {
        return Err(UsageError::because(
            "--not-served takes no names and no -r, because it lists files that are not metrics",
        ));
    }
    let cluster = discover(&args.cluster, output).await?;
    cluster.print_findings(output);
    let mut writer = Writer { json: args.json, written: 0, output };
    writer.begin()?;
    let mut outcome = Outcome::Done;
    for member in cluster.present() {
        if !member.can(DaemonKind::reports_not_served) {
            let addr = member.addr();
            output.say(format_args!(
                "bucky: {addr} is a Go daemon, which does not report what it leaves out"
            ));
            continue;
        }
        if let Err(error) = of_node(member, &mut writer).await? {
            output.say(format_args!("bucky: {}", reason(member, &error)));
            outcome = Outcome::SomeFailed;
        }
    }
    writer.end()?;
    Ok(outcome.and(cluster.outcome()))
}

/// Prints what one node reports. The inner error is the node's, the outer one that of the output.
async fn of_node(
    member: &Member,
    writer: &mut Writer<'_>,
) -> anyhow::Result<Result<(), ClientError>> {
    let mut lines = match member.daemon.not_served(LIMIT).await {
        Ok(lines) => lines,
        Err(error) => return Ok(Err(error)),
    };
    let (addr, mut count) = (member.addr().to_string(), 0);
    loop {
        match lines.next::<NotServedLine>().await {
            Ok(Some(line)) => writer.line(&addr, &line)?,
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        }
        count += 1;
    }
    if count == LIMIT {
        writer.output.say(format_args!("bucky: {addr}: only the first {LIMIT} are listed"));
    }
    Ok(Ok(()))
}

fn reason(member: &Member, error: &ClientError) -> String {
    if error.status().is_some_and(|status| status == 404) {
        let addr = member.addr();
        return format!("{addr} cannot list what it does not serve; upgrade buckyd there");
    }
    chain(error)
}

/// Prints lines, or a JSON array.
struct Writer<'o> {
    json: bool,
    written: u64,
    output: &'o Output,
}

impl Writer<'_> {
    fn begin(&self) -> anyhow::Result<()> {
        if self.json {
            self.output.data_text("[")?;
        }
        Ok(())
    }

    fn line(&mut self, addr: &str, line: &NotServedLine) -> anyhow::Result<()> {
        let NotServedLine { kind, path, detail } = line;
        if self.json {
            let separator = if self.written == 0 { "" } else { "," };
            let value = json!({ "node": addr, "kind": kind, "path": path, "detail": detail });
            self.output.data_text(format_args!("{separator}\n\t{value}"))?;
        } else {
            let kind = serde_json::to_value(kind)?;
            let kind = kind.as_str().unwrap_or_default();
            let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
            self.output.data_line(format_args!("{addr}: {kind}: {path}{detail}"))?;
        }
        self.written += 1;
        Ok(())
    }

    fn end(&self) -> anyhow::Result<()> {
        if self.json {
            self.output.data_line(if self.written == 0 { "]" } else { "\n]" })?;
        }
        self.output.flush()?;
        Ok(())
    }
}
