//! The task that looks at the file of `--ring-from`, and takes its ring when an operator asks for it.

use std::sync::Arc;
use std::time::Duration;

use bucky_ring::Node;
use tokio::sync::Notify;

use crate::app::App;
use crate::blocking::blocking;
use crate::ring_file::Reload;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Looks at the file again and again, and takes its ring after each notification of `reload`. Never ends.
pub(crate) async fn watch(app: Arc<App>, reload: Arc<Notify>) {
    loop {
        let asked = tokio::time::timeout(LOOK_EVERY, reload.notified()).await.is_ok();
        let app = Arc::clone(&app);
        let done = blocking(move || if asked { take(&app) } else { app.ring.look() }).await;
        if let Err(error) = done {
            tracing::error!(%error, "the look at the ring's file failed; it is tried again");
        }
    }
}

/// Takes the ring of the file, with all that depends on it. Blocks.
fn take(app: &App) {
    match app.ring.reload() {
        Reload::NoFile => {}
        Reload::Unchanged => {
            tracing::info!("SIGHUP: the file gives the ring that this daemon runs")
        }
        Reload::Refused(reason) => {
            tracing::error!(
                reason,
                "SIGHUP: the file gives no ring; this daemon keeps the one that it has"
            );
        }
        Reload::Taken => {
            let ring = app.ring.now();
            app.peers.take_members(ring.nodes().iter().map(Node::host));
            app.ring.remember(app.store.remember_ring(ring.spec()));
            tracing::info!(ring = %ring.spec().summary(), "SIGHUP: this daemon took the ring of the file");
            for warning in ring.warnings() {
                tracing::warn!("the ring: {warning}");
            }
        }
    }
}
