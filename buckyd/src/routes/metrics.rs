//! `GET /v1/metrics`: the inventory.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use bucky_api::{ErrorCode, MetricLine, paths};
use bucky_whisper::{MetricName, Series};
use serde::Deserialize;

use super::lines;
use super::query::{self, Filter, FilterText, Switch};
use crate::app::App;
use crate::blocking::{BodyWriter, blocking};
use crate::inventory::List;
use crate::respond::ApiError;

const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
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
    let query: Query = query::parse(query.as_deref())?;
    let (regex, glob) = (query.regex, query.glob);
    let filter = FilterText { regex, glob, prefix: query.prefix, after: query.after };
    let filter = filter.compile(&app.transfers).await?;
    if query.unusable.is_on() {
        let place = app.transfers.answer().await?;
        return Ok(lines::stream(place, TEXT, move |writer| write_unusable(&app, writer)));
    }
    let list = list(&app, query.fresh).await?;
    let wanted = Wanted {
        filter,
        limit: query.limit.unwrap_or(u64::MAX),
        unplaceable_only: query.unplaceable.is_on(),
    };
    if query.count.is_on() {
        let count = blocking(move || wanted.count(&list)).await;
        let count = count.map_err(|error| ApiError::new(ErrorCode::Internal, error))?;
        return Ok(Json(serde_json::json!({ "metrics": count })).into_response());
    }
    let place = app.transfers.answer().await?;
    Ok(if query.stat.is_on() {
        lines::stream(place, paths::NDJSON, move |writer| wanted.write_stats(&app, &list, writer))
    } else {
        lines::stream(place, TEXT, move |writer| wanted.write_names(&list, writer))
    })
}

/// The list, or the answer that there is none yet. A `fresh` one is that of a scan which begins now, or none.
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

/// Which metrics go into the answer.
struct Wanted {
    filter: Filter,
    limit: u64,
    unplaceable_only: bool,
}

impl Wanted {
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
            if !self.filter.wants(name) || (self.unplaceable_only && !is_unplaceable(name)) {
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
            // One that vanished since the scan is left out.
            let Some((metric, stat)) = MetricName::parse(name)
                .ok()
                .and_then(|metric| app.store.stat(&metric).ok().map(|stat| (metric, stat)))
            else {
                return ControlFlow::Continue(());
            };
            let line = MetricLine { metric, bytes: stat.bytes, mtime: stat.mtime };
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

fn is_unplaceable(name: &str) -> bool {
    MetricName::parse(name).is_ok_and(|metric| metric.series() == Series::Unplaceable)
}

/// The paths of the files that no name stands for, a line each; a new line in one is written `\n`.
fn write_unusable(app: &App, writer: &mut BodyWriter) -> std::io::Result<()> {
    let mut written = Ok(());
    let scanned = app.inventory.unusable(|path| {
        if written.is_ok() {
            written = writeln!(writer, "{}", path.display().to_string().escape_debug());
        }
    });
    written?;
    scanned.map_err(std::io::Error::other)
}
