//! `/metrics/NAME`: one metric's file, as the Go tool asks for it.
//!
//! This module finds the metric and the method, and has HEAD and DELETE. GET is in `get`, POST and PUT are in
//! `upload` and `offload`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bucky_api::go::METRIC_STAT_HEADER;
use bucky_api::{Encoding, paths};
use bucky_whisper::MetricName;

use super::answer::PlainAnswer;
use super::requested::{RequestedMetric, stat_header};
use super::upload_file::OnExisting;
use super::{get, path, upload};
use crate::app::App;
use crate::blocking::blocking;
use crate::store::StoreError;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route(&format!("{}/", paths::METRICS), any(answer))
        .route(&format!("{}/{{*name}}", paths::METRICS), any(answer))
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Result<Response, PlainAnswer> {
    let name = name_in(request.uri())?;
    if name.is_empty() {
        return Err(PlainAnswer::bad_request("Metric name missing."));
    }
    let method = request.method().clone();
    match method {
        Method::HEAD => head(app, requested_metric(name)?).await,
        Method::GET => get::get(app, requested_metric(name)?, request.headers()).await,
        Method::POST => {
            upload::receive(app, OnExisting::Heal, requested_metric(name)?.metric, request).await
        }
        Method::PUT => {
            upload::receive(app, OnExisting::Replace, requested_metric(name)?.metric, request).await
        }
        Method::DELETE => delete(app, requested_metric(name)?).await,
        _ => Err(PlainAnswer::bad_request("Bad method request.")),
    }
}

/// The part of the path after `/metrics/`, decoded.
fn name_in(uri: &Uri) -> Result<Vec<u8>, PlainAnswer> {
    let path = uri.path();
    let rest = path.strip_prefix(paths::METRICS).and_then(|rest| rest.strip_prefix('/'));
    path::decode(rest.unwrap_or_default().as_bytes()).map_err(PlainAnswer::bad_request)
}

/// The metric that a path text after `/metrics/` names. `None` if it is not a valid name: every request for
/// it is refused.
pub(crate) fn metric_in_path(raw: &str) -> Option<MetricName> {
    let name = path::decode(raw.as_bytes()).ok()?;
    requested_metric(name).ok().map(|requested| requested.metric)
}

/// The metric of a name. A name that would become a file's only after cleaning is refused, unlike in the Go
/// tool: it would mean another metric's file.
fn requested_metric(name: Vec<u8>) -> Result<RequestedMetric, PlainAnswer> {
    let spelled = String::from_utf8(name)
        .map_err(|_| PlainAnswer::bad_request("the name of the metric is not UTF-8"))?;
    let metric = MetricName::parse(&spelled).map_err(PlainAnswer::bad_request)?;
    Ok(RequestedMetric { spelled, metric })
}

async fn head(app: Arc<App>, requested: RequestedMetric) -> Result<Response, PlainAnswer> {
    let RequestedMetric { spelled, metric } = requested;
    match blocking(move || app.store.stat(&metric)).await? {
        Ok(stat) => {
            let bytes = i64::try_from(stat.bytes).unwrap_or(i64::MAX);
            let header = stat_header(spelled, bytes, stat.mode, stat.mtime, Encoding::Identity)?;
            Ok(([(METRIC_STAT_HEADER, header)], ()).into_response())
        }
        Err(StoreError::Missing { .. }) => {
            let header = HeaderValue::from_static("null");
            Ok((StatusCode::NOT_FOUND, [(METRIC_STAT_HEADER, header)], ()).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete(app: Arc<App>, requested: RequestedMetric) -> Result<Response, PlainAnswer> {
    blocking(move || app.store.unlink(&requested.metric)).await??;
    Ok(StatusCode::OK.into_response())
}
