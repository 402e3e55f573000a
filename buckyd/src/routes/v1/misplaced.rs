//! `GET /v1/misplaced`: the metrics that this node should not hold.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use bucky_api::{DestinationCount, ErrorCode, MisplacedCount, MisplacedEntry, paths};
use bucky_placement::HashedSeries;
use bucky_ring::Owners;
use serde::Deserialize;

use super::metrics;
use crate::app::{App, Placement, View};
use crate::blocking::{BodyWriter, blocking};
use crate::http::lines;
use crate::http::query::{self, Filter, FilterText, Switch};
use crate::http::respond::ApiError;
use crate::inventory::List;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MisplacedQuery {
    host: Option<String>,
    regex: Option<String>,
    glob: Option<String>,
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<u64>,
    #[serde(default)]
    fresh: Switch,
    #[serde(default)]
    count: Switch,
    #[serde(default)]
    stat: Switch,
}

/// How many files the ring has no place for.
#[derive(Default)]
struct Placeless {
    /// Those named by the hash of an unknown series.
    unplaceable: u64,
    /// Those that no rule of the relay sends to the ring.
    unrouted: u64,
}

/// The request.
struct MisplacedRequest {
    app: Arc<App>,
    /// The host of the ring that this node counts as.
    host: String,
    filter: Filter,
    limit: u64,
    stat: bool,
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query: MisplacedQuery = query::parse(query.as_deref())?;
    let (regex, glob) = (query.regex, query.glob);
    let filter = FilterText { regex, glob, prefix: query.prefix, after: query.after };
    let question = MisplacedRequest {
        host: query.host.unwrap_or_else(|| app.node.clone()),
        filter: filter.compile(&app.transfers).await?,
        limit: query.limit.unwrap_or(u64::MAX),
        stat: query.stat.is_on(),
        app: Arc::clone(&app),
    };
    let list = metrics::list(&app, query.fresh).await?;
    if query.count.is_on() {
        let count = blocking(move || question.count(&list)).await;
        return Ok(
            Json(count.map_err(|error| ApiError::new(ErrorCode::Internal, error))?).into_response()
        );
    }
    let permit = question.app.transfers.answer().await?;
    Ok(lines::stream(permit, paths::NDJSON, move |writer| question.write(&list, writer)))
}

impl MisplacedRequest {
    /// Calls `each` with the name and owners of every misplaced metric. Returns how many others have no place.
    fn walk<B>(
        &self,
        view: &View<'_>,
        list: &List,
        mut each: impl FnMut(&str, Owners<'_>, Option<HashedSeries>) -> ControlFlow<B>,
    ) -> (Placeless, ControlFlow<Option<B>>) {
        let mut placeless = Placeless::default();
        let mut left = self.limit;
        let ended = list.walk(self.filter.span(), |name| {
            if left == 0 {
                return ControlFlow::Break(None);
            }
            if !self.filter.wants(name) {
                return ControlFlow::Continue(());
            }
            match view.placement(name) {
                Placement::Here => ControlFlow::Continue(()),
                Placement::Unplaceable => {
                    placeless.unplaceable += 1;
                    ControlFlow::Continue(())
                }
                Placement::Unrouted => {
                    placeless.unrouted += 1;
                    ControlFlow::Continue(())
                }
                Placement::Elsewhere(owners, series) => {
                    left -= 1;
                    each(name, owners, series).map_break(Some)
                }
            }
        });
        (placeless, ended)
    }

    fn count(&self, list: &List) -> MisplacedCount {
        let view = self.app.seen_from(&self.host);
        let mut destinations: Vec<DestinationCount> = view
            .nodes()
            .iter()
            .map(|node| DestinationCount { node: node.to_string(), metrics: 0, bytes: 0 })
            .collect();
        let mut metrics = 0;
        let mut bytes = 0;
        let mut sizes = self.app.store.sizes();
        let (Placeless { unplaceable, unrouted }, _) = self.walk(&view, list, |name, owners, _| {
            // A metric that has gone since the scan does not count.
            if let Ok(size) = sizes.of(name) {
                metrics += 1;
                bytes += size;
                for owner in owners {
                    destinations[owner].metrics += 1;
                    destinations[owner].bytes += size;
                }
            }
            ControlFlow::<()>::Continue(())
        });
        destinations.retain(|destination| destination.metrics > 0);
        MisplacedCount { metrics, bytes, destinations, unplaceable, unrouted }
    }

    fn write(&self, list: &List, writer: &mut BodyWriter) -> io::Result<()> {
        let view = self.app.seen_from(&self.host);
        let nodes: Vec<String> = view.nodes().iter().map(ToString::to_string).collect();
        let mut sizes = self.app.store.sizes();
        let mut names: Vec<&str> = Vec::new();
        let mut line = Vec::new();
        let (_, ended) = self.walk(&view, list, |metric, owners, series| {
            // If the file is corrupt or gone, the transfer will report it.
            let bytes = self.stat.then(|| sizes.of(metric).unwrap_or(0));
            names.clear();
            names.extend(owners.map(|owner| nodes[owner].as_str()));
            line.clear();
            let series = series.as_ref().map(HashedSeries::as_str);
            let entry = MisplacedEntry { metric, owners: &names, bytes, series };
            let written = lines::write_line(&mut line, &entry);
            let written = written.and_then(|()| writer.write_all(&line));
            written.map_or_else(ControlFlow::Break, ControlFlow::Continue)
        });
        match ended {
            ControlFlow::Break(Some(error)) => Err(error),
            ControlFlow::Break(None) | ControlFlow::Continue(()) => Ok(()),
        }
    }
}
