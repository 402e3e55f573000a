//! `bucky inconsistent`: metrics on nodes that do not own them.

use std::sync::Arc;

use bucky_api::client::MisplacedQuery;
use bucky_api::{ClientError, NotServed};
use bucky_ring::Ring;

use crate::args::cluster::{ClusterArgs, discover};
use crate::args::heading;
use crate::args::local::LocalArgs;
use crate::args::relay_file::RelayFileArgs;
use crate::args::select::SelectArgs;
use crate::args::series::SeriesArgs;
use crate::chain;
use crate::cluster::{Cluster, DaemonKind, Member};
use crate::inventory::{page_len, refresh};
use crate::names::{Nothing, Selection};
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, json_string};
use crate::placement::{self, Series};
use crate::strays::{Item, StrayListing, StrayMethod, StrayQuery};

/// Arguments of `bucky inconsistent`.
#[derive(clap::Args)]
#[command(
    about = "List misplaced metrics: those on nodes that do not own them",
    long_about = "List misplaced metrics: those on nodes that do not own them. Each line is HOST:PORT: NAME. \
                  Replication, several instances on one host, tagged series and local metrics are all taken \
                  into account.",
    after_help = "Examples:\n\
        \x20 bucky inconsistent -h graphite-1\n\
        \x20 bucky inconsistent -h graphite-1 -r '^app\\.'   only names that begin with app."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) relay_file: RelayFileArgs,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    /// Print a JSON object of nodes to names
    #[arg(short = 'j', long, help_heading = heading::OUTPUT)]
    pub(crate) json: bool,
    /// List unplaceable tagged files instead: those named by the hash of an unknown series
    #[arg(long, help_heading = heading::SELECTION)]
    pub(crate) unplaceable: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if !args.select.regex && !args.select.names.is_empty() {
        // D49: the Go tool ignores such an argument.
        return Err(UsageError::because(
            "inconsistent takes no names; give -r with a regular expression",
        ));
    }
    let regex = match args.select.selection(Nothing::MeansAll, std::io::empty())? {
        Selection::Regex(regex) => Some(regex),
        _ => None,
    };
    let local_prefix = args.local.prefix()?;
    let series = args.series.read(output).await?;
    let ring_of_relay = args.relay_file.read(output).await?;
    let mut cluster = discover(&args.cluster, output).await?;
    if let Some(due) = ring_of_relay {
        due.judge(&mut cluster)?;
    }
    if !cluster.is_healthy() {
        output.say("Warning: Cluster is not healthy!");
    }
    cluster.print_findings(output);
    let ring = cluster.ring()?;
    if args.select.force {
        refresh(cluster.present(), output).await?;
    }
    let mut listings: Vec<(&Member, Names)> = Vec::new();
    for member in cluster.present() {
        let Some(kind) = member.kind() else { continue };
        let names = if args.unplaceable && member.status().is_some() && !series.is_given() {
            Names::Unplaceable { regex: regex.clone() }
        } else {
            let query = query(&cluster, (member, kind), &ring, regex.clone(), local_prefix.clone());
            let query = StrayQuery { series: series.clone(), ..query };
            let listing = StrayListing::begin(member.daemon.clone(), query, Arc::clone(output));
            Names::Strays { listing, unplaceable: args.unplaceable }
        };
        listings.push((member, names));
    }
    listings.sort_by_key(|(member, _)| member.addr().to_string());
    let outcome = print(listings, args.json, output).await?;
    let outcome = outcome.and(report_unrouted(&cluster, &ring, regex.as_deref(), output).await);
    report_counts(&cluster, output);
    Ok(outcome.and(cluster.outcome()))
}

/// Says how many metrics no rule of the relay sends to the ring. Unhealthy if a node does not say.
async fn report_unrouted(
    cluster: &Cluster,
    ring: &Ring,
    regex: Option<&str>,
    output: &Output,
) -> Outcome {
    if ring.spec().routes.is_none() {
        return Outcome::Done;
    }
    let (mut counts, mut outcome) = (Vec::new(), Outcome::Done);
    for member in cluster.present().filter(|member| member.status().is_some()) {
        let query = MisplacedQuery {
            host: member.host.clone(),
            regex: regex.map(str::to_owned),
            ..MisplacedQuery::default()
        };
        match member.daemon.misplaced_count(&query).await {
            Ok(count) if count.unrouted > 0 => {
                counts.push((member.addr().to_string(), count.unrouted));
            }
            Ok(_) => {}
            Err(error) => {
                output.say(format_args!("bucky: {}", chain(&error)));
                outcome = Outcome::Unhealthy;
            }
        }
    }
    if let Some(message) = placement::unrouted(&counts) {
        output.say(message);
    }
    outcome
}

fn query(
    cluster: &Cluster,
    (member, kind): (&Member, DaemonKind),
    ring: &Arc<Ring>,
    regex: Option<String>,
    local_prefix: Option<String>,
) -> StrayQuery {
    // `buckyd` knows by which name it is in the ring; a Go daemon is taken for the host at its address.
    let own_name = || match kind.finds_misplaced() {
        true => member.document().map(|document| document.name.clone()),
        false => Some(member.addr().host().to_owned()),
    };
    let method = StrayMethod::of_member(kind, member.host.clone().or_else(own_name));
    StrayQuery {
        method,
        ring: Arc::clone(ring),
        series: Series::default(),
        regex,
        after: None,
        page: page_len(cluster.members.len()),
        with_bytes: false,
        local_prefix,
    }
}

/// The names to print for a node.
enum Names {
    Strays { listing: StrayListing, unplaceable: bool },
    Unplaceable { regex: Option<String> },
}

async fn print(
    listings: Vec<(&Member, Names)>,
    json: bool,
    output: &Output,
) -> anyhow::Result<Outcome> {
    let mut printer = Printer { output, json, count: 0, total: 0, nodes: 0 };
    let mut outcome = Outcome::Done;
    if json {
        output.data_text("{")?;
    }
    for (member, names) in listings {
        let addr = member.addr().to_string();
        printer.count = 0;
        let failure = match names {
            Names::Strays { mut listing, unplaceable } => loop {
                match listing.next().await {
                    Ok(None) => break None,
                    Err(error) => break Some(chain(&error)),
                    Ok(Some(Item::Stray(found))) if !unplaceable => {
                        printer.name(&addr, found.metric.as_str())?
                    }
                    Ok(Some(Item::Unplaceable(name))) if unplaceable => {
                        printer.name(&addr, &name)?
                    }
                    Ok(Some(Item::Unusable { name, reason })) if !unplaceable => {
                        output.say(format_args!(
                            "bucky: {addr} lists {name:?}, which cannot be moved: {reason}"
                        ));
                    }
                    Ok(Some(_)) => {}
                }
            },
            Names::Unplaceable { regex } => {
                print_unplaceable(member, regex, &mut printer).await?.map(|error| chain(&error))
            }
        };
        printer.end_node()?;
        if let Some(reason) = failure {
            output.say(format_args!("bucky: {reason}"));
            outcome = Outcome::SomeFailed;
        } else if printer.count > 0 {
            output.say(format_args!("{} inconsistent metrics found on {addr}", printer.count));
        }
    }
    if json {
        output.data_line("}")?;
    }
    if printer.total == 0 && outcome == Outcome::Done {
        output.say("No inconsistent metrics found.");
    }
    Ok(outcome)
}

/// Prints the unplaceable names of a daemon with `/v1`; returns the error of the daemon, if any.
async fn print_unplaceable(
    member: &Member,
    regex: Option<String>,
    printer: &mut Printer<'_>,
) -> anyhow::Result<Option<ClientError>> {
    let mut query = vec![("unplaceable", "1")];
    query.extend(regex.as_deref().map(|regex| ("regex", regex)));
    let mut lines = match member.daemon.metrics(&query).await {
        Ok(lines) => lines,
        Err(error) => return Ok(Some(error)),
    };
    let addr = member.addr().to_string();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) => printer.name(&addr, &String::from_utf8_lossy(&line))?,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
    }
}

/// Prints names as they come, as text or JSON.
struct Printer<'a> {
    output: &'a Output,
    json: bool,
    count: u64,
    total: u64,
    nodes: u64,
}

impl Printer<'_> {
    fn name(&mut self, addr: &str, name: &str) -> anyhow::Result<()> {
        if !self.json {
            self.output.data_line(format_args!("{addr}: {name}"))?;
        } else if self.count > 0 {
            self.output.data_text(format_args!(",{}", json_string(name)))?;
        } else {
            let separator = if self.nodes > 0 { "," } else { "" };
            self.output.data_text(format_args!(
                "{separator}{}:[{}",
                json_string(addr),
                json_string(name)
            ))?;
            self.nodes += 1;
        }
        self.count += 1;
        self.total += 1;
        Ok(())
    }

    fn end_node(&self) -> anyhow::Result<()> {
        if self.json && self.count > 0 {
            self.output.data_text("]")?;
        }
        Ok(())
    }
}

/// Reports what the lists cannot contain.
fn report_counts(cluster: &Cluster, output: &Output) {
    for (member, status) in
        cluster.members.iter().filter_map(|member| Some((member, member.status()?)))
    {
        let found = status.inventory.all_not_served();
        if found.unplaceable > 0 {
            let count = found.unplaceable;
            output.say(format_args!(
                "{}: {count} unplaceable files (tagged, named by the hash of an unknown series); see \
                 --unplaceable and --series",
                member.addr()
            ));
        }
        let others = NotServed { unplaceable: 0, ..found }.text();
        if !others.is_empty() {
            output.say(format_args!("{}: not listed: {others}", member.addr()));
        }
    }
}
