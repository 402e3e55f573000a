//! `bucky plan`: what a move to another ring would do.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucky_ring::{Ring, RingSpec, read_nodes};

use crate::args::cluster::ClusterArgs;
use crate::args::heading;
use crate::args::ring::RingArgs;
use crate::args::units::bandwidth;
use crate::chain;
use crate::cluster::{Cluster, Member, Scope};
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, human_duration};
use crate::plan::room::Reserve;
use crate::ring_plan::rate::{self, LastRate};
use crate::ring_plan::{self, PairsShown};

/// Arguments of `bucky plan`.
#[derive(clap::Args)]
#[command(
    about = "Show what a move to another ring would do",
    long_about = "Show what `bucky rebalance` would do if all daemons had another ring: what each node has now \
                  and then, what each node sends to each other, whether it fits, and how long it takes. Nothing \
                  is changed, and new nodes need not exist yet.\n\n\
                  The planned ring is that of a file (a relay's configuration, or a ring document), or the ring in use with nodes added and removed. All \
                  nodes must be up and have the same ring.",
    after_help = "Examples:\n\
        \x20 bucky plan -h graphite-1 --add graphite-4:2003\n\
        \x20 bucky plan -h graphite-1 --remove graphite-2 --rate 50M\n\
        \x20 bucky plan -h graphite-1 --ring new.json -o plan.json"
)]
pub(crate) struct Args {
    #[command(flatten)]
    ring: RingArgs,
    /// Add this node to the end of the ring in use; may be given several times
    #[arg(long, value_name = "NODE", action = clap::ArgAction::Append, help_heading = heading::SELECTION)]
    add: Vec<String>,
    /// Remove this node, or all nodes of this host, from the ring in use; may be given several times
    #[arg(long, value_name = "NODE", action = clap::ArgAction::Append, value_delimiter = ',', help_heading = heading::SELECTION)]
    remove: Vec<String>,
    /// Wait for a new scan of all nodes first
    #[arg(short = 'f', long, help_heading = heading::SELECTION)]
    force: bool,
    /// Space to keep free on destinations, as 5% or 50G
    #[arg(long, value_name = "SPACE", default_value = "5%", help_heading = heading::LIMITS)]
    reserve: Reserve,
    /// Bytes a second of all nodes together, such as 50M or 400Mbit, for the time it takes
    ///
    /// The default is the rate of the last run, if the daemons have received one since they started.
    #[arg(long, value_name = "BYTES", value_parser = bandwidth, help_heading = heading::LIMITS)]
    rate: Option<NonZeroU64>,
    /// Look for instance names of the new nodes (jump rings: an order) that spread bytes more evenly
    ///
    /// The nodes count at most eight more rings, chosen from 500. Old nodes keep their names.
    #[arg(long, help_heading = heading::SELECTION)]
    suggest: bool,
    /// Where --suggest begins; another number tries other names
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = bucky_flags::integer::<u64>(0..=i64::MAX), requires = "suggest", help_heading = heading::SELECTION, hide_short_help = true)]
    seed: u64,
    /// Show all pairs of nodes, not only those that send most
    #[arg(long, help_heading = heading::OUTPUT)]
    all: bool,
    /// Print a JSON object
    #[arg(short = 'j', long, help_heading = heading::OUTPUT)]
    json: bool,
    /// Write the plan to this file, for `bucky rebalance --plan`
    #[arg(short = 'o', long, value_name = "FILE", help_heading = heading::OUTPUT)]
    output: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let changes = !args.add.is_empty() || !args.remove.is_empty();
    if args.ring.path().is_some() == changes {
        return Err(UsageError::because(
            "give the planned ring: --ring FILE, or --add and --remove to change the ring in use",
        ));
    }
    if args.cluster.single {
        return Err(UsageError::because("a plan is for all nodes; leave out -s"));
    }
    let (client, seed) = (args.cluster.client()?, args.cluster.host()?);
    let (scope, verbose) = (Scope::All, args.cluster.verbose);
    let cluster = Cluster::discover_healthy(client, seed, scope, verbose, output).await?;
    let ring = planned_ring(&args, &cluster, output).await?;
    for warning in ring.warnings() {
        output.say(format_args!("bucky: the planned ring: {warning}"));
    }
    let mut planned = ring_plan::plan(&cluster, &ring, args.reserve, args.force, output).await?;
    let last = args.rate.is_none().then(|| last_rate(&cluster)).flatten();
    if let Some(rate) = args.rate.or(last.map(|last| last.bytes_per_second)) {
        planned.plan.set_rate(rate);
    }
    if args.suggest {
        let (seed, reserve) = (args.seed, args.reserve);
        ring_plan::suggest(&cluster, &ring, &mut planned, seed, reserve, output).await?;
    }
    if let Some(path) = &args.output {
        planned.plan.write(path)?;
    }
    if args.json {
        output.data_line(planned.plan.to_json()?)?;
    } else {
        let shown = if args.all { PairsShown::All } else { PairsShown::Most };
        output.data_line(ring_plan::text(&planned, shown))?;
        if args.suggest {
            output.data_line(ring_plan::suggested(&planned.plan))?;
        }
    }
    if let Some(last) = last {
        let ago = human_duration(Duration::from_secs(last.ended_seconds_ago));
        output.say(format_args!(
            "bucky: the time is by the rate of the last run, which ended {ago} ago; --rate gives another"
        ));
    }
    planned.moves.shortages().iter().for_each(|line| output.say(format_args!("bucky: {line}")));
    Ok(Outcome::Done)
}

/// The rate of the last run on these nodes.
fn last_rate(cluster: &Cluster) -> Option<LastRate> {
    let statuses = cluster.members.iter().filter_map(Member::status);
    rate::of_last_run(statuses.filter_map(|status| status.received))
}

/// The ring that is planned, checked.
async fn planned_ring(args: &Args, cluster: &Cluster, output: &Output) -> anyhow::Result<Ring> {
    let spec = match args.ring.read(output).await? {
        Some(ring) => ring.spec().clone(),
        None => changed_ring(args, cluster.ring()?.spec())?,
    };
    Ring::new(spec)
        .map_err(|error| UsageError::because(format!("the planned ring: {}", chain(&error))))
}

fn changed_ring(args: &Args, spec: &RingSpec) -> anyhow::Result<RingSpec> {
    let add = read_nodes(&args.add)
        .map_err(|error| UsageError::because(format!("--add: {}", chain(&error))))?;
    ring_plan::changed(spec, &add, &args.remove).map_err(UsageError::because)
}
