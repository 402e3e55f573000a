//! Everything that runs beside the work: progress on standard error, statistics to carbon, the watch of the
//! carbons.

use std::cell::Cell;

use super::mover::Mover;
use super::pace::Watched;
use super::statistics::Statistics;
use crate::run::progress;

impl Mover {
    /// Does `work`, and shows how far it is, of `planned` metrics. Returns whether the operator stopped it at
    /// once.
    pub(crate) async fn show(&self, work: impl Future<Output = ()>, planned: u64) -> bool {
        let mut progress = progress::for_output(&self.output);
        let options = self.sync.statistics.as_ref();
        let hosts = self.addrs().into_iter().map(|addr| addr.host());
        let mut statistics = options.map(|options| Statistics::new(options, hosts));
        let watched = self.watched();
        let is_reported = Cell::new(false);
        let asked_twice = tokio::select! {
            () = work => false,
            () = progress::watch(progress.as_mut(), &self.records.tally, planned) => false,
            () = self.report_when_asked(planned, &is_reported) => false,
            () = self.flow.pace.watch(&watched, &self.output) => false,
            () = self.send_figures(statistics.as_mut(), planned) => false,
            () = self.stop.asked_twice() => true,
        };
        progress.end();
        // The work may have ended before the line was written.
        if self.stop.is_report_asked() && !is_reported.get() {
            self.print_report(planned);
        }
        if let Some(statistics) = statistics.as_mut().filter(|_| !asked_twice) {
            // A second Ctrl-C also ends the sending of statistics.
            tokio::select! {
                () = statistics.send(self.figures(planned), &self.output) => {}
                () = self.stop.asked_twice() => {}
            }
        }
        asked_twice
    }

    async fn send_figures(&self, statistics: Option<&mut Statistics>, planned: u64) {
        match statistics {
            Some(statistics) => {
                statistics.send_regularly(|| self.figures(planned), &self.output).await;
            }
            None => std::future::pending().await,
        }
    }

    /// SIGUSR1 asks for a line of progress, and for a stop.
    async fn report_when_asked(&self, planned: u64, is_reported: &Cell<bool>) {
        self.stop.report_asked().await;
        is_reported.set(true);
        self.print_report(planned);
        std::future::pending().await
    }

    fn print_report(&self, planned: u64) {
        self.output.say(progress::line(&self.records.tally, planned));
        self.output.say("Received SIGUSR1, exiting.");
    }

    /// The carbons beside the nodes, if they are watched.
    fn watched(&self) -> Vec<Watched> {
        let Some(port) = self.flow.pace.watched_port() else { return Vec::new() };
        let sources = self.fleet.sources.iter().map(|source| &source.node);
        let mut watched: Vec<Watched> = Vec::new();
        for node in self.fleet.members.iter().chain(sources) {
            if watched.iter().any(|other| other.node == *node.addr()) {
                continue;
            }
            let carbon = node.daemon.carbon_beside(port);
            watched.push(Watched { node: node.addr().clone(), carbon });
        }
        watched
    }
}
