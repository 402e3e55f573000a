//! Examines what a move would find at the owners: how many points have no place there. Nothing is written.
//!
//! It uses the engine of the move, and the daemons only examine. A plan examines a sample of the metrics, and
//! says so. Before points are given up, all metrics are examined.

use std::sync::Arc;

use bucky_api::OnSchemaDifference;

use super::drain::drain_all;
use super::mover::{Mover, MoverParts};
use super::options::{Preview, SourceRules, SyncOptions};
use super::records::Records;
use super::{MoveOrder, STOPPED_AT_ONCE};
use crate::cluster::DaemonKind;
use crate::counted;
use crate::fleet::Fleet;
use crate::outcome::UsageError;
use crate::output::{Output, human_count};
use crate::plan::Plan;
use crate::plan::survey::StraySelection;
use crate::run::schemas::Schemas;
use crate::run::stop::Stop;
use crate::terminal::{Terminal, yes_or_no};

/// About how many metrics a plan examines.
const SAMPLE: u64 = 1_000;

/// Adds to a printed plan what a sample of its metrics shows.
pub(super) async fn print_sample(
    fleet: &Arc<Fleet>,
    selection: &StraySelection,
    plan: &Plan,
    order: &MoveOrder,
    output: &Arc<Output>,
) -> anyhow::Result<()> {
    let one_in = (plan.metrics / SAMPLE).max(1);
    let Some(schemas) = look(fleet, selection, order, Preview { one_in }, output).await? else {
        return Ok(());
    };
    let lines = schemas.lines(order.sync.on_schema_difference);
    if lines.is_empty() {
        return Ok(());
    }
    let looked_at = if one_in > 1 {
        format!("In a sample of one in {} metrics:", human_count(one_in))
    } else {
        "In all metrics:".to_owned()
    };
    output.data_line(format_args!("\n{looked_at}"))?;
    lines.iter().try_for_each(|line| output.data_line(line))?;
    Ok(())
}

/// Examines all metrics of a run that may lose points, prints how many points that are, and asks. The
/// confirmed number is noted in `order`: the run loses at most that many. Returns whether the run continues.
pub(super) async fn may_drop(
    fleet: &Arc<Fleet>,
    selection: &StraySelection,
    order: &mut MoveOrder,
    output: &Arc<Output>,
) -> anyhow::Result<bool> {
    if order.sync.on_schema_difference != OnSchemaDifference::Drop {
        return Ok(true);
    }
    let blind = fleet.node_without(DaemonKind::previews);
    if order.sync.give_up_most == 0 && blind.is_some() {
        return Err(UsageError::because(
            "nothing was moved: Go daemons take part, and they cannot report in advance how many points would \
             be lost; to lose all points that have no place, give --yes",
        ));
    }
    output.say("bucky: checking all metrics for points that would be lost");
    let Some(schemas) = look(fleet, selection, order, Preview { one_in: 1 }, output).await? else {
        output.say(STOPPED_AT_ONCE);
        return Ok(false);
    };
    let points = schemas.points_without_place();
    if points == 0 {
        return Ok(true);
    }
    schemas.lines(OnSchemaDifference::Keep).iter().for_each(|line| output.say(line));
    output.say(format_args!(
        "bucky: {} of {} have no place at their owners and will be lost",
        counted::points(points),
        counted::metrics(schemas.metrics_without_place())
    ));
    if order.sync.give_up_most == u64::MAX {
        return Ok(true);
    }
    let terminal = Terminal::open().map_err(|error| {
        UsageError::because(format!(
            "nothing was moved: no terminal to ask at ({error}); to lose these points, give --yes"
        ))
    })?;
    loop {
        output.say("Lose these points? [y/n]");
        match terminal.read_line().await? {
            None => return Ok(false),
            Some(line) => match yes_or_no(&line) {
                Some(answer) => {
                    order.sync.give_up_most = if answer { points } else { 0 };
                    return Ok(answer);
                }
                None => continue,
            },
        }
    }
}

/// What the owners would report, or `None` if the operator stopped it.
async fn look(
    fleet: &Arc<Fleet>,
    selection: &StraySelection,
    order: &MoveOrder,
    preview: Preview,
    output: &Arc<Output>,
) -> anyhow::Result<Option<Schemas>> {
    let stop = Stop::announced_on_signals(output)?;
    // Other failures are reported by the move.
    let quiet = Arc::new(Output::to_writers(Box::new(std::io::sink()), Box::new(std::io::sink())));
    let mover = Arc::new(Mover::new(MoverParts {
        fleet: Arc::clone(fleet),
        selection: selection.clone(),
        batching: order.batching,
        sources: SourceRules { deletes: false, ..order.sources },
        sync: SyncOptions {
            pace: order.sync.pace.clone(),
            preview: Some(preview),
            ..SyncOptions::default()
        },
        verbose: false,
        records: Records::of_counts(&quiet),
        stop: stop.clone(),
        output: quiet,
    }));
    tokio::select! {
        () = drain_all(&mover, std::collections::BTreeMap::new()) => {}
        () = stop.asked() => {}
    }
    Ok((!stop.is_asked()).then(|| mover.records.tally.schemas()))
}
