//! `bucky delete`: deletes metrics from every node that has them.
//!
//! The order makes sure that nothing is deleted by accident: the terminal is there or not needed; every node
//! answers; every list is read to its end; the count of each node is confirmed. Only then the first file is
//! deleted.

use std::io;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;

use crate::args::cluster::discover;
use crate::args::each_metric::EachMetricArgs;
use crate::args::heading;
use crate::chain;
use crate::cluster::{Cluster, Member};
use crate::counted;
use crate::deletion::{self, DeleteOptions, DeletionCounts};
use crate::inventory::{ListDetail, MergedLists, Query, UnfoundNames, page_len};
use crate::name_pile::NamePile;
use crate::names::{Nothing, metric_called};
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, while_read};
use crate::terminal::{Terminal, yes_or_no};

/// What happens to metrics that the operator has not confirmed.
const LEFT: &str = "nothing else was deleted";

/// Arguments of `bucky delete`.
#[derive(clap::Args)]
#[command(
    about = "Delete metrics from all nodes that have them",
    long_about = "Delete metrics from all nodes that have them; with -s only from the node at -h. The files \
                  are deleted immediately and for good. You are asked for each node, unless you give \
                  -noconfirm.\n\n\
                  Nothing is deleted unless every node answers and lists all of its metrics. If a relay still \
                  sends a metric, carbon creates it again. If a metric was moved seconds ago, the node that it \
                  came from may create it again, as long as `bucky servers` shows tombstones.",
    after_help = "Examples:\n\
        \x20 bucky delete -h graphite-1 app.old.count\n\
        \x20 bucky delete -h graphite-1 -r '^app\\.old\\.'"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) each: EachMetricArgs,
    /// Do not ask before deleting
    #[arg(long, visible_alias = "no-confirm", help_heading = heading::WHAT_MOVES)]
    pub(crate) noconfirm: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let Args { each: args, noconfirm } = args;
    let terminal = if noconfirm { None } else { Some(terminal()?) };
    let selection = args.select.selection(Nothing::IsRefused, std::io::stdin())?;
    let cluster = discover(&args.cluster, output).await?;
    cluster.require_all_there(
        "nothing was deleted, because a copy could remain on a node that does not answer (-s deletes only from \
         the node at -h)",
    )?;
    cluster.print_findings(output);
    cluster.report_not_served(output);
    warn_of_tombstones(&cluster, output);
    let unfound = UnfoundNames::new(&selection);
    let query = Query { selection, detail: ListDetail::Name, workers: 1 };
    let merged = MergedLists::begin(&cluster, query, args.select.force, output).await?;
    let Some(to_delete) = collect(&cluster, merged, unfound, output).await? else {
        output.say("bucky: nothing was deleted, because not all lists could be read");
        return Ok(Outcome::SomeFailed);
    };
    let manner = DeleteOptions { workers: args.workers, verbose: args.cluster.verbose };
    let mut round =
        NodeDeleter { terminal, manner, json: args.json, output, outcome: to_delete.outcome };
    let mut counts = serde_json::Map::new();
    for (member, pile) in to_delete.piles {
        let addr = member.addr().to_string();
        if let Some(DeletionCounts { deleted, failed }) = round.node(member, pile).await? {
            counts.insert(addr, json!({ "deleted": deleted, "failed": failed }));
        }
    }
    if args.json {
        while_read(output.data_line(serde_json::Value::Object(counts)))?;
    }
    while_read(output.flush())?;
    let end = if round.outcome == Outcome::Done { "complete" } else { "ended with errors" };
    output.say(format_args!("Delete operation {end}."));
    Ok(round.outcome.and(cluster.outcome()))
}

/// The terminal at which each node is confirmed.
fn terminal() -> anyhow::Result<Terminal> {
    // D19: without a terminal, the Go tool deletes nothing, does not say so, and exits 0.
    Terminal::open().map_err(|error| {
        UsageError::because(format!(
            "nothing was deleted: no terminal to ask at ({error}); to delete without asking, give -noconfirm"
        ))
    })
}

/// Warns of tombstones: they are healed to their owners, so a deleted metric may come back.
fn warn_of_tombstones(cluster: &Cluster, output: &Output) {
    for member in &cluster.members {
        let waiting = member.status().map_or(0, |status| status.tombstones.waiting);
        if waiting > 0 {
            output.say(format_args!(
                "bucky: {} has tombstones of {} that it moved away: a metric that is deleted now may be \
                 created again from them; wait until `bucky servers` shows no tombstones, or delete it again \
                 then",
                member.addr(),
                counted::metrics(waiting)
            ));
        }
    }
}

/// The metrics to delete.
struct MetricsToDelete<'a> {
    /// By node that has any, sorted by address.
    piles: Vec<(&'a Member, NamePile)>,
    /// [`Outcome::SomeFailed`] if a name was not found, or cannot be deleted.
    outcome: Outcome,
}

/// Collects the names in one pile for each node; `None` if a list broke off.
async fn collect<'a>(
    cluster: &'a Cluster,
    mut merged: MergedLists,
    mut unfound: UnfoundNames,
    output: &Output,
) -> anyhow::Result<Option<MetricsToDelete<'a>>> {
    let pile_len = page_len(cluster.members.len());
    let piles = cluster.members.iter().map(|member| (member, NamePile::new(pile_len)));
    let mut piles: Vec<(&Member, NamePile)> = piles.collect();
    let mut outcome = Outcome::Done;
    while let Some((node, entry)) = merged.next().await {
        let Some((member, pile)) = piles.get_mut(node) else { continue };
        unfound.found(&entry.name);
        match metric_called(&entry.name) {
            Ok(_) => {
                pile.push(entry.name).await.context("cannot keep the names in a temporary file")?
            }
            // D31: the Go tool deletes another metric in this case, or reports that it deleted this one.
            Err(reason) => {
                output.say(format_args!(
                    "bucky: {} lists {:?}, which cannot be deleted by this name: {reason}",
                    member.addr(),
                    entry.name
                ));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    if merged.report_failures(output) != Outcome::Done {
        return Ok(None);
    }
    merged.report_returned(cluster, output);
    for name in unfound.names() {
        deletion::report_missing(name, output);
        outcome = Outcome::SomeFailed;
    }
    piles.retain(|(_, pile)| pile.len() > 0);
    piles.sort_by_key(|(member, _)| member.addr().to_string());
    Ok(Some(MetricsToDelete { piles, outcome }))
}

/// Deletes from one node after the other.
struct NodeDeleter<'a> {
    /// The terminal for the confirmation, or `None` if no confirmation is wanted.
    terminal: Option<Terminal>,
    manner: DeleteOptions,
    json: bool,
    output: &'a Output,
    outcome: Outcome,
}

impl NodeDeleter<'_> {
    /// Deletes the metrics of `pile` from a node, if the operator confirms it.
    async fn node(
        &mut self,
        member: &Member,
        pile: NamePile,
    ) -> anyhow::Result<Option<DeletionCounts>> {
        let (addr, count) = (member.addr(), pile.len());
        if !self.is_confirmed(&format!("Deleting {count} metrics on {addr}: ")).await? {
            self.output.say(format_args!("Nothing is deleted on {addr}."));
            return Ok(None);
        }
        self.output.say(format_args!("Deleting {count} metrics on {addr}..."));
        let deleted = deletion::delete(&member.daemon, pile, self.manner, self.output)
            .await
            .context("cannot read the names from their temporary file")?;
        if deleted.failed > 0 {
            self.outcome = Outcome::SomeFailed;
        }
        Ok(Some(deleted))
    }

    async fn is_confirmed(&mut self, what: &str) -> anyhow::Result<bool> {
        loop {
            let Some(terminal) = &self.terminal else { return Ok(true) };
            let question = format!("{what}Please Confirm: ");
            if self.json {
                // Standard output is for programs.
                self.output.say(&question);
            } else {
                let asked = self.output.data_text(&question).and_then(|()| self.output.flush());
                // Elsewhere a reader that has gone away is not a failure. Here the question was not seen, so
                // nothing is deleted.
                asked.map_err(|error| {
                    anyhow::anyhow!("cannot ask whether to delete ({LEFT}): {}", chain(&error))
                })?;
            }
            let line = terminal.read_line().await;
            let line = line.context("cannot read the answer from the terminal")?;
            let Some(line) = line else { return Err(closed()) };
            if let Some(answer) = yes_or_no(&line) {
                return Ok(answer);
            }
        }
    }
}

fn closed() -> anyhow::Error {
    anyhow::Error::new(io::Error::from(io::ErrorKind::UnexpectedEof))
        .context(format!("the terminal was closed before everything was confirmed; {LEFT}"))
}
