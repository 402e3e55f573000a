//! `POST /v1/plan`: what `rebalance` would do with the metrics of this node by another ring.
//!
//! The metrics are counted here, so the answer is as short for a million metrics as for one.

mod hosts;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use bucky_api::{MetricAmount, PlanCount, PlanRequest, chain, paths};
use bucky_placement::{Place, SeriesList, place};
use bucky_ring::{Owners, Ring};

use self::hosts::{Fate, Hosts};
use super::json::JsonBody;
use super::metrics;
use crate::app::App;
use crate::blocking::BodyWriter;
use crate::http::lines;
use crate::http::query::Switch;
use crate::http::respond::ApiError;
use crate::inventory::{List, Span};
use crate::store::Sizes;

/// About how many lengths of files that stay are read. The others would cost more than all the rest, and the
/// total of this many differs by less than one in a hundred.
const SAMPLE: u64 = 100_000;
/// After how many names the clock is read.
const NAMES_BETWEEN_SIGNS: u64 = 1024;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    JsonBody { value: request, permit, share }: JsonBody<PlanRequest>,
) -> Result<Response, ApiError> {
    let PlanRequest { ring, host } = request;
    let unusable = |reason| {
        ApiError::bad_request(format!("cannot use the ring in the request: {reason}"))
            .hint("send a ring document, as GET /hashring answers it")
    };
    let spec = ring.to_spec().map_err(|error| unusable(chain(&error)))?;
    let ring = Ring::new(spec).map_err(|error| unusable(chain(&error)))?;
    let list = metrics::list(&app, Switch::Off).await?;
    Ok(lines::stream(permit, paths::NDJSON, move |writer| {
        let _share = share;
        let host = host.as_deref().unwrap_or(&app.node);
        let count = Counter::new(&app, &ring, host, list.len()).count(&list, writer)?;
        lines::write_line(writer, &count)
    }))
}

/// Counts what would become of each metric.
struct Counter<'a> {
    now: Arc<Ring>,
    then: &'a Ring,
    local_prefixes: &'a [String],
    known: Option<Arc<SeriesList>>,
    hosts: Hosts,
    sizes: Sizes<'a>,
    count: PlanCount,
    /// The lengths of the staying files that were read.
    sample: MetricAmount,
    /// How many metrics were found to stay, whether their lengths were read or not.
    staying: u64,
}

impl<'a> Counter<'a> {
    fn new(app: &'a App, then: &'a Ring, host: &str, metrics: u64) -> Self {
        let now = app.ring.now();
        let hosts = Hosts::of(&now, then, host);
        let count = PlanCount {
            ring_fingerprint: now.spec().fingerprint(),
            one_in: metrics.div_ceil(SAMPLE).max(1),
            ..PlanCount::default()
        };
        let (local_prefixes, known) = (&app.local_prefixes, app.inventory.known_series());
        let (sample, staying, sizes) = (MetricAmount::default(), 0, app.store.sizes());
        Self { now, then, local_prefixes, known, hosts, sizes, count, sample, staying }
    }

    fn count(mut self, list: &List, writer: &mut BodyWriter) -> io::Result<PlanCount> {
        let (mut names, mut written) = (0, Instant::now());
        let ended = list.walk(Span::default(), |name| {
            self.add(name);
            names += 1;
            if names % NAMES_BETWEEN_SIGNS == 0 && written.elapsed() >= lines::HEARTBEAT {
                written = Instant::now();
                let sent = writer.write_all(b"\n").and_then(|()| writer.flush());
                return sent.map_or_else(ControlFlow::Break, ControlFlow::Continue);
            }
            ControlFlow::Continue(())
        });
        match ended {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(self.end()),
        }
    }

    fn add(&mut self, name: &str) {
        match place(self.then, self.local_prefixes, &self.known, name) {
            Place::Local | Place::Unrouted => {
                self.count.local += self.stay(name);
            }
            Place::Unplaceable => {
                self.count.unplaceable += self.stay(name);
            }
            Place::Owned { owners, .. } => {
                let (before, is_routed_now) =
                    match place(&self.now, self.local_prefixes, &self.known, name) {
                        Place::Owned { owners, .. } => (owners, true),
                        Place::Unrouted => (Owners::none(), false),
                        // Both do not depend on the ring.
                        Place::Local | Place::Unplaceable => return,
                    };
                let fate = self.hosts.fate(before, owners);
                let counted = match fate {
                    Fate::Stays { .. } => {
                        self.hosts.keep(fate);
                        self.stay(name)
                    }
                    Fate::Leaves { .. } => self.leave(name, fate),
                };
                if is_routed_now && fate.is_misplaced_now() {
                    self.count.misplaced_now += counted;
                }
            }
        }
    }

    /// Counts a metric that stays. Returns 1, or 0 if it has gone since the scan.
    fn stay(&mut self, name: &str) -> u64 {
        if self.staying.is_multiple_of(self.count.one_in) {
            let Ok(bytes) = self.sizes.of(name) else { return 0 };
            self.sample.add_file(bytes);
        }
        self.staying += 1;
        1
    }

    /// Counts a metric that leaves. Returns 1, or 0 if it has gone since the scan.
    fn leave(&mut self, name: &str, fate: Fate) -> u64 {
        let Ok(bytes) = self.sizes.of(name) else { return 0 };
        self.count.leaves.add_file(bytes);
        self.hosts.send(fate, bytes);
        1
    }

    fn end(self) -> PlanCount {
        let total = u128::from(self.sample.bytes) * u128::from(self.staying)
            / u128::from(self.sample.metrics.max(1));
        let bytes = u64::try_from(total).unwrap_or(u64::MAX);
        let stays = MetricAmount { metrics: self.staying, bytes };
        let mut held = self.count.leaves;
        held.add(stays);
        PlanCount { held, stays, destinations: self.hosts.destinations(), ..self.count }
    }
}
