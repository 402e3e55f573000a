//! What `/v1/heal` and `/v1/pull` share: a batch is healed on a blocking thread, and answered once it is
//! durable.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use axum::response::Response;
use bucky_api::{Encoding, HealLine, HealOutcome};
use tokio::sync::oneshot;

use crate::app::App;
use crate::http::lines;
use crate::http::respond::ApiError;
use crate::intake::incoming::{Destination, Expected, IncomingBatch, StoredBatch};
use crate::memory::Share;
use crate::store::HealRules;
use crate::transfers::Permit;

/// The result of a batch: a line for each metric, the error that ended the stream early, and the memory of
/// the lines.
pub(super) struct HealedBatch {
    lines: Vec<HealLine>,
    error: Option<ApiError>,
    share: Share,
}

/// Starts to heal from `reader` on a blocking thread.
///
/// The first receiver gets a message when the stream has been read, with the error if there are no lines for
/// single metrics. The second gets the lines once they are durable.
pub(super) fn start(
    app: Arc<App>,
    permit: Permit,
    rules: HealRules,
    encoding: Encoding,
    reader: impl Read + Send + 'static,
    expected: Expected,
) -> (oneshot::Receiver<Result<(), ApiError>>, oneshot::Receiver<HealedBatch>) {
    let (read_sender, read) = oneshot::channel();
    let (finished_sender, finished) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let began = Instant::now();
        let mut incoming = IncomingBatch::new(
            Destination { store: &app.store, budget: &app.memory.receiving, links: &app.links },
            rules,
            expected,
        );
        let end = incoming.read(encoding, reader);
        if incoming.is_empty()
            && let Err(error) = end
        {
            let _ = read_sender.send(Err(error));
            return;
        }
        let _ = read_sender.send(Ok(()));
        let StoredBatch { lines, set_aside, share } = incoming.finish();
        for (batch, count) in set_aside {
            app.sweeper.added(batch, count);
        }
        app.transfers.received.add(
            lines.iter().map(|line| line.bytes).sum(),
            began,
            Instant::now(),
        );
        log(&lines);
        let _ = finished_sender.send(HealedBatch { lines, error: end.err(), share });
    });
    (read, finished)
}

/// The answer with the lines of a batch, as soon as it is durable.
pub(super) fn answer(finished: oneshot::Receiver<HealedBatch>) -> Response {
    lines::eventually(async {
        let healed = finished.await.map_err(io::Error::other)?;
        Ok((text(&healed)?, healed.share))
    })
}

fn text(healed: &HealedBatch) -> io::Result<Vec<u8>> {
    let mut body = lines::ndjson(&healed.lines)?;
    if let Some(error) = &healed.error {
        lines::write_line(&mut body, error.body())?;
    }
    Ok(body)
}

fn log(lines: &[HealLine]) {
    let count = |outcome| lines.iter().filter(|line| line.outcome == outcome).count();
    tracing::info!(
        created = count(HealOutcome::Created),
        filled = count(HealOutcome::Filled),
        unchanged = count(HealOutcome::Unchanged),
        replaced = count(HealOutcome::Replaced),
        refused = count(HealOutcome::Refused),
        failed = count(HealOutcome::Failed),
        bytes = lines.iter().map(|line| line.bytes).sum::<u64>(),
        "healed"
    );
    for line in lines.iter().filter(|line| !line.outcome.is_healed()) {
        tracing::warn!(metric = %line.metric, problem = ?line.problem, reason = %line.reason, "not healed");
    }
}
