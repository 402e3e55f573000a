//! Deletes metrics that an operator wants gone, from one node, metric by metric.
//!
//! This is the Go tool's `DELETE /metrics/NAME`, which both kinds of daemon answer. The file is gone at once,
//! without a tombstone. No owner is asked whether it has the points, because the metric must be gone
//! everywhere. (The conditional delete below `/v1` belongs to moves: it wants proof that the owners have the
//! points.) A metric that is already gone is reported. If a node stops answering, the run gives up on it.

use std::io;

use bucky_api::{ClientError, Daemon};
use futures_util::{StreamExt, stream};

use crate::counted;
use crate::name_pile::{NamePages, NamePile};
use crate::output::Output;
use crate::{chain, patience};

/// The result of deleting metrics from one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeletionCounts {
    /// How many were deleted.
    pub(crate) deleted: u64,
    /// How many were not: missing already, refused, or left when the run gave up on the node.
    pub(crate) failed: u64,
}

/// How metrics are deleted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeleteOptions {
    /// How many at once.
    pub(crate) workers: usize,
    /// Whether each is reported.
    pub(crate) verbose: bool,
}

/// The result for one metric.
enum DeleteResult {
    Deleted,
    /// The node does not have it.
    Missing,
    Failed(ClientError),
}

/// Deletes the metrics in `names` from `daemon`, and reports each that could not be deleted.
///
/// # Errors
/// If the pile cannot be read. Names that were read are deleted.
pub(crate) async fn delete(
    daemon: &Daemon,
    names: NamePile,
    options: DeleteOptions,
    output: &Output,
) -> io::Result<DeletionCounts> {
    let total = names.len();
    let mut pages = names.into_pages().await?;
    let mut run = Run { daemon, options, output, deleted: 0, failed: 0, given_up: None };
    let read = run.delete_pages(&mut pages).await;
    if let Some(error) = &run.given_up {
        let left = total.saturating_sub(run.deleted).saturating_sub(run.failed);
        output.say(format_args!(
            "bucky: gave up on {} with {} left: {}",
            daemon.addr(),
            counted::metrics(left),
            chain(error)
        ));
    }
    read.map(|()| DeletionCounts {
        deleted: run.deleted,
        failed: total.saturating_sub(run.deleted),
    })
}

struct Run<'a> {
    daemon: &'a Daemon,
    options: DeleteOptions,
    output: &'a Output,
    deleted: u64,
    failed: u64,
    given_up: Option<ClientError>,
}

impl Run<'_> {
    async fn delete_pages(&mut self, pages: &mut NamePages) -> io::Result<()> {
        while self.given_up.is_none()
            && let Some(page) = pages.next().await?
        {
            let daemon = self.daemon;
            let results = page.into_iter().map(|name| async move {
                let fate = delete_one(daemon, &name).await;
                (name, fate)
            });
            let mut results = stream::iter(results).buffer_unordered(self.options.workers);
            while let Some((name, fate)) = results.next().await {
                self.note(&name, fate);
                if self.given_up.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, name: &str, fate: DeleteResult) {
        match fate {
            DeleteResult::Deleted => {
                self.deleted += 1;
                if self.options.verbose {
                    self.output.say(format_args!("DELETED: {name}"));
                }
            }
            DeleteResult::Missing => {
                self.failed += 1;
                report_missing(name, self.output);
            }
            // It will fail for all further names too.
            DeleteResult::Failed(
                error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. }),
            ) => self.given_up = Some(error),
            DeleteResult::Failed(error) => {
                self.failed += 1;
                self.output.say(format_args!("Not deleted: {name}: {}", chain(&error)));
            }
        }
    }
}

/// Reports, in the Go tool's words, that a metric is not there.
pub(crate) fn report_missing(name: &str, output: &Output) {
    output.say(format_args!("Not found / Not deleted: {name}"));
}

async fn delete_one(daemon: &Daemon, name: &str) -> DeleteResult {
    let mut attempts = 0;
    let deleted = patience::ask(
        daemon,
        || {
            attempts += 1;
            daemon.go_delete(name)
        },
        |_| (),
    );
    match deleted.await {
        Ok(true) => DeleteResult::Deleted,
        // An earlier attempt that seemed to fail has deleted it.
        Ok(false) if attempts > 1 => DeleteResult::Deleted,
        Ok(false) => DeleteResult::Missing,
        Err(error) => DeleteResult::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bucky_api::{Client, Timeouts};

    use super::*;
    use crate::fake_daemon::{Reply, daemon};

    const MANNER: DeleteOptions = DeleteOptions { workers: 3, verbose: false };

    async fn run(daemon: &Daemon, names: &[&str]) -> (DeletionCounts, String) {
        let mut pile = NamePile::new(2);
        for name in names {
            pile.push((*name).to_owned()).await.unwrap();
        }
        let (output, _, people) = Output::captured();
        let deleted = delete(daemon, pile, MANNER, &output).await.unwrap();
        (deleted, people.text())
    }

    fn client(away: u64) -> Client {
        let away = std::time::Duration::from_secs(away);
        Client::new(Timeouts { away, ..Timeouts::default() }).unwrap()
    }

    #[tokio::test]
    async fn missing_and_refused_metrics_are_reported_and_the_rest_is_deleted() {
        let addr = daemon(|request| {
            assert_eq!(request.method, "DELETE");
            match request.route() {
                "/metrics/gone" => Reply::status(404),
                "/metrics/held" => Reply::status(403),
                _ => Reply::ok(""),
            }
        })
        .await;
        let daemon = client(0).daemon(addr.clone());
        let (deleted, messages) = run(&daemon, &["a", "gone", "b", "held", "c"]).await;
        assert_eq!(deleted, DeletionCounts { deleted: 3, failed: 2 });
        assert!(messages.contains("Not found / Not deleted: gone\n"), "{messages}");
        assert!(messages.contains(&format!("Not deleted: held: {addr} answered")), "{messages}");
    }

    /// The answer to the first attempt was lost, so the second attempt finds nothing.
    #[tokio::test]
    async fn a_metric_that_is_gone_at_the_second_attempt_is_deleted() {
        let attempts = AtomicUsize::new(0);
        let addr = daemon(move |_| {
            Reply::status(if attempts.fetch_add(1, Ordering::SeqCst) == 0 { 500 } else { 404 })
        })
        .await;
        let (deleted, messages) = run(&client(0).daemon(addr), &["a"]).await;
        assert_eq!((deleted, messages.as_str()), (DeletionCounts { deleted: 1, failed: 0 }, ""));
    }

    #[tokio::test]
    async fn a_node_that_is_gone_is_given_up_once_and_not_for_each_metric() {
        let daemon = client(0).daemon("127.0.31.9:9".parse().unwrap());
        let (deleted, messages) = run(&daemon, &["a", "b", "c", "d", "e", "f"]).await;
        assert_eq!(deleted, DeletionCounts { deleted: 0, failed: 6 });
        assert_eq!(messages.lines().count(), 1, "{messages}");
        assert!(messages.contains("gave up on 127.0.31.9:9 with 6 metrics left"), "{messages}");
    }
}
