//! `GET /v1/metrics`: the inventory. `POST /v1/metrics`: size and time of change of the named metrics,
//! whether or not they are in the inventory.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bucky_api::token::Operation;
use bucky_api::{ErrorCode, MetricLine, NotServedKind, StatRequest, chain, paths};
use bucky_placement::{KnownSeries, SeriesHash, SeriesList, key};
use bucky_whisper::MetricName;
use serde::Deserialize;

use super::json::JsonBody;
use crate::app::App;
use crate::auth::Caller;
use crate::blocking::{BodyWriter, blocking};
use crate::http::lines;
use crate::http::query::{self, Filter, FilterText, Switch};
use crate::http::respond::ApiError;
use crate::inventory::List;
use crate::store::StoreError;

const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricsQuery {
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
    #[serde(default)]
    unplaceable: Switch,
    #[serde(default)]
    unusable: Switch,
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query: MetricsQuery = query::parse(query.as_deref())?;
    let (regex, glob) = (query.regex, query.glob);
    let filter = FilterText { regex, glob, prefix: query.prefix, after: query.after };
    let filter = filter.compile(&app.transfers).await?;
    if query.unusable.is_on() {
        let permit = app.transfers.answer().await?;
        return Ok(lines::stream(permit, TEXT, move |writer| write_unusable(&app, writer)));
    }
    let list = list(&app, query.fresh).await?;
    let wanted = MetricsSelection {
        filter,
        limit: query.limit.unwrap_or(u64::MAX),
        unplaceable_only: query.unplaceable.is_on(),
        known: app.inventory.known_series(),
    };
    if query.count.is_on() {
        let count = blocking(move || wanted.count(&list)).await;
        let count = count.map_err(|error| ApiError::new(ErrorCode::Internal, error))?;
        return Ok(Json(serde_json::json!({ "metrics": count })).into_response());
    }
    let permit = app.transfers.answer().await?;
    Ok(if query.stat.is_on() {
        lines::stream(permit, paths::NDJSON, move |writer| wanted.write_stats(&app, &list, writer))
    } else {
        lines::stream(permit, TEXT, move |writer| wanted.write_names(&list, writer))
    })
}

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    JsonBody { value: request, permit, share }: JsonBody<StatRequest>,
) -> Result<Response, ApiError> {
    Ok(lines::stream(permit, paths::NDJSON, move |writer| {
        let _share = share;
        let stat_line = |metric| match caller.may(Operation::Read, &metric) {
            Ok(()) => stat_line(&app, metric),
            // Whether it exists must not be shown.
            Err(denied) => Some(MetricLine {
                metric,
                bytes: 0,
                mtime: 0,
                reason: denied.to_string(),
                series: None,
            }),
        };
        let mut found = request.metrics.into_iter().filter_map(stat_line);
        found.try_for_each(|line| lines::write_line(writer, &line))
    }))
}

/// What is known about a metric. `None` if there is no such file.
fn stat_line(app: &App, metric: MetricName) -> Option<MetricLine> {
    let (bytes, mtime, reason) = match app.store.stat(&metric) {
        Ok(stat) => (stat.bytes, stat.mtime, String::new()),
        Err(StoreError::Missing { .. }) => return None,
        // D42: a file that cannot be checked exists, and must not count as missing.
        Err(error) => (0, 0, chain(&error)),
    };
    Some(MetricLine { metric, bytes, mtime, reason, series: None })
}

/// The list, or the answer that there is none yet. With `fresh`, the list of a scan that begins now.
pub(super) async fn list(app: &Arc<App>, fresh: Switch) -> Result<List, ApiError> {
    let scan = if fresh.is_on() { Some(app.inventory.fresh().await) } else { None };
    let inventory = Arc::clone(&app.inventory);
    blocking(move || {
        let list = match scan {
            None => inventory.list(),
            Some(scan) => inventory.list_of(scan),
        };
        list.ok_or_else(|| ApiError::not_ready(&inventory.status().problem))
    })
    .await
    .map_err(|error| ApiError::new(ErrorCode::Internal, error))?
}

/// Which metrics are in the answer.
struct MetricsSelection {
    filter: Filter,
    limit: u64,
    unplaceable_only: bool,
    /// The series that are known by their hash.
    known: Option<Arc<SeriesList>>,
}

impl MetricsSelection {
    fn walk<B>(
        &self,
        list: &List,
        mut each: impl FnMut(&str) -> ControlFlow<B>,
    ) -> ControlFlow<Option<B>> {
        let mut left = self.limit;
        list.walk(self.filter.span(), |name| {
            if left == 0 {
                return ControlFlow::Break(None);
            }
            if !self.filter.wants(name)
                || (self.unplaceable_only && key(&self.known, name).is_some())
            {
                return ControlFlow::Continue(());
            }
            left -= 1;
            each(name).map_break(Some)
        })
    }

    fn count(&self, list: &List) -> u64 {
        let mut count = 0;
        let _ = self.walk(list, |_| {
            count += 1;
            ControlFlow::<()>::Continue(())
        });
        count
    }

    fn write_names(&self, list: &List, writer: &mut BodyWriter) -> std::io::Result<()> {
        let ended = self.walk(list, |name| {
            let written = writer.write_all(name.as_bytes()).and_then(|()| writer.write_all(b"\n"));
            written.map_or_else(ControlFlow::Break, ControlFlow::Continue)
        });
        result(ended)
    }

    fn write_stats(&self, app: &App, list: &List, writer: &mut BodyWriter) -> std::io::Result<()> {
        let ended = self.walk(list, |name| {
            // A metric that has gone since the scan is left out.
            let line = MetricName::parse(name).ok().and_then(|metric| stat_line(app, metric));
            let Some(line) = line else { return ControlFlow::Continue(()) };
            let series = SeriesHash::in_name(name).and_then(|hash| self.known.series_of(&hash));
            let series = series.map(|series| series.as_str().to_owned());
            let line = MetricLine { series, ..line };
            lines::write_line(writer, &line).map_or_else(ControlFlow::Break, ControlFlow::Continue)
        });
        result(ended)
    }
}

fn result(ended: ControlFlow<Option<std::io::Error>>) -> std::io::Result<()> {
    match ended {
        ControlFlow::Break(Some(error)) => Err(error),
        ControlFlow::Break(None) | ControlFlow::Continue(()) => Ok(()),
    }
}

/// The paths of the unusable files, one per line. A line end in a path is written as `\n`.
fn write_unusable(app: &App, writer: &mut BodyWriter) -> std::io::Result<()> {
    let mut written = Ok(());
    let scanned = app.inventory.not_served(|kind, path, _| {
        if kind == NotServedKind::UnusableName && written.is_ok() {
            written = writeln!(writer, "{}", path.display().to_string().escape_debug());
        }
    });
    written?;
    scanned.map_err(std::io::Error::other)
}
