//! `/metrics/NAME`: one metric's file, as the Go tool asks for it.
//!
//! Here: which metric is meant, which method, HEAD and DELETE. GET is in `go_get`, POST and PUT are in `go_upload`
//! and `go_offload`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bucky_api::go::{METRIC_STAT_HEADER, MetricStat};
use bucky_api::{Encoding, paths};
use bucky_whisper::MetricName;

use super::go_answer::PlainAnswer;
use super::go_upload::How;
use super::{go_get, go_path, go_upload};
use crate::app::App;
use crate::blocking::blocking;
use crate::store::StoreError;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route(&format!("{}/", paths::METRICS), any(answer))
        .route(&format!("{}/{{*name}}", paths::METRICS), any(answer))
}

/// A metric as it was asked for.
pub(super) struct Asked {
    /// The name as the client spelled it: what `X-Metric-Stat` calls it.
    pub(super) spelled: String,
    /// What it means.
    pub(super) metric: MetricName,
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Result<Response, PlainAnswer> {
    let name = name_in(request.uri())?;
    if name.is_empty() {
        return Err(PlainAnswer::bad_request("Metric name missing."));
    }
    let method = request.method().clone();
    match method {
        Method::HEAD => head(app, asked(name)?).await,
        Method::GET => go_get::get(app, asked(name)?, request.headers()).await,
        Method::POST => go_upload::receive(app, How::Heal, asked(name)?.metric, request).await,
        Method::PUT => go_upload::receive(app, How::Replace, asked(name)?.metric, request).await,
        Method::DELETE => delete(app, asked(name)?).await,
        _ => Err(PlainAnswer::bad_request("Bad method request.")),
    }
}

/// What stands in the path behind `/metrics/`, decoded.
fn name_in(uri: &Uri) -> Result<Vec<u8>, PlainAnswer> {
    let path = uri.path();
    let rest = path.strip_prefix(paths::METRICS).and_then(|rest| rest.strip_prefix('/'));
    go_path::decode(rest.unwrap_or_default().as_bytes()).map_err(PlainAnswer::bad_request)
}

/// The metric that a text behind `/metrics/` means, as it stands in the path; none where it is no name, so that
/// every request for it is refused.
pub(crate) fn metric_in_path(raw: &str) -> Option<MetricName> {
    let name = go_path::decode(raw.as_bytes()).ok()?;
    asked(name).ok().map(|asked| asked.metric)
}

/// Unlike the Go tool's, a name that would only after some cleaning be that of a file is refused: it would mean
/// another metric's file.
fn asked(name: Vec<u8>) -> Result<Asked, PlainAnswer> {
    let spelled = String::from_utf8(name)
        .map_err(|_| PlainAnswer::bad_request("the name of the metric is not UTF-8"))?;
    let metric = MetricName::parse(&spelled).map_err(PlainAnswer::bad_request)?;
    Ok(Asked { spelled, metric })
}

async fn head(app: Arc<App>, asked: Asked) -> Result<Response, PlainAnswer> {
    let Asked { spelled, metric } = asked;
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

async fn delete(app: Arc<App>, asked: Asked) -> Result<Response, PlainAnswer> {
    blocking(move || app.store.unlink(&asked.metric)).await??;
    Ok(StatusCode::OK.into_response())
}

/// The value of `X-Metric-Stat` in an answer. `mode` is that of Unix.
pub(super) fn stat_header(
    name: String,
    size: i64,
    mode: u32,
    mod_time: i64,
    encoding: Encoding,
) -> Result<HeaderValue, PlainAnswer> {
    let encoding = i64::from(encoding == Encoding::Snappy);
    let stat = MetricStat { name, size, mode: go_mode(mode), mod_time, encoding };
    HeaderValue::from_str(&stat.to_header()).map_err(PlainAnswer::internal)
}

/// Go's mode bits for Unix permissions: setuid, setgid and sticky lie elsewhere there.
fn go_mode(mode: u32) -> i64 {
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = bits.iter().filter(|(unix, _)| mode & unix != 0).map(|(_, go)| go);
    i64::from(mode & 0o777) + special.sum::<i64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_told_as_go_counts_them() {
        for (unix, go) in [
            (0o644, 420),
            (0o600, 384),
            (0o4644, 8_389_028),
            (0o2000, 4_194_304),
            (0o1000, 1_048_576),
        ] {
            assert_eq!(go_mode(unix), go, "{unix:o}");
        }
    }
}
