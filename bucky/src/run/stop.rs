//! The operator's request to stop. The first finishes what is in progress; the second stops at once. SIGUSR1
//! counts as a first request, and also asks how far the run is.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::output::Output;

/// Whether the operator asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    asked: watch::Receiver<u32>,
    /// Whether SIGUSR1 was received.
    report: watch::Receiver<bool>,
}

impl Stop {
    /// Starts to listen for SIGINT, SIGTERM and SIGUSR1; `on_first` is called at the first of them.
    ///
    /// # Errors
    /// If the process cannot listen for signals.
    fn on_signals(on_first: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut user = signal(SignalKind::user_defined1())?;
        let (sender, asked) = watch::channel(0);
        let (report_sender, report) = watch::channel(false);
        tokio::spawn(async move {
            let mut on_first = Some(on_first);
            loop {
                let is_report = tokio::select! {
                    _ = interrupt.recv() => false,
                    _ = terminate.recv() => false,
                    _ = user.recv() => true,
                };
                if let Some(on_first) = on_first.take() {
                    on_first();
                }
                if is_report {
                    report_sender.send_replace(true);
                    // SIGUSR1 asks to stop, but never to stop at once.
                    sender.send_modify(|count| *count = (*count).max(1));
                } else {
                    sender.send_modify(|count| *count += 1);
                }
            }
        });
        Ok(Self { asked, report })
    }

    /// Starts to listen; at the first signal the output says what happens.
    ///
    /// # Errors
    /// If the process cannot listen for signals.
    pub(crate) fn announced_on_signals(output: &Arc<Output>) -> std::io::Result<Self> {
        let announced = Arc::clone(output);
        Self::on_signals(move || {
            announced
                .say("bucky: finishing what is in progress; press Ctrl-C again to stop at once");
        })
    }

    /// A stop without signals: what is sent on the channel is the number of requests.
    #[cfg(test)]
    pub(crate) fn without_signals() -> (watch::Sender<u32>, Self) {
        let (sender, asked) = watch::channel(0);
        (sender, Self { asked, report: watch::channel(false).1 })
    }

    /// Whether a stop was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.borrow() > 0
    }

    /// Waits for `pause`, or until a stop is asked for. Returns whether a stop was asked for.
    pub(crate) async fn asked_within(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.asked()).await.is_ok()
    }

    /// Waits until a stop is asked for.
    pub(crate) async fn asked(&self) {
        self.asked_more_than(0).await;
    }

    /// Waits until a stop is asked for a second time.
    pub(crate) async fn asked_twice(&self) {
        self.asked_more_than(1).await;
    }

    /// Waits until the operator asks by SIGUSR1 how far the run is.
    pub(crate) async fn report_asked(&self) {
        let mut report = self.report.clone();
        if report.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the operator asked how far the run is.
    pub(crate) fn is_report_asked(&self) -> bool {
        *self.report.borrow()
    }

    async fn asked_more_than(&self, times: u32) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|count| *count > times).await.is_err() {
            // No request can come any more.
            std::future::pending::<()>().await;
        }
    }
}
