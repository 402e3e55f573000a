//! The Go tool's routes, for daemons without `/v1`.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};

use super::body::{ByteStream, Pace, pieces, read_beyond};
use super::{ClientError, Daemon};
use crate::go::{FORM, METRIC_STAT_HEADER, MetricStat, OCTET_STREAM};
use crate::paths;

/// The characters that must be escaped in a path.
const PATH_ESCAPES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// A metric's file as a daemon sent it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What the daemon said about the file.
    pub stat: MetricStat,
    /// The whole file.
    pub content: Bytes,
    /// The time by the daemon's clock when it began to answer. `None` if it does not send its time.
    pub answered_at: Option<SystemTime>,
}

/// The longest file that is fetched into memory: as long as a member of an archive stream may be.
const FILE_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// The longest list that is read: some ten million names.
const LIST_LIMIT_BYTES: usize = 1024 * 1024 * 1024;

/// The metrics that a list should contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoListFilter {
    /// All.
    All,
    /// Those whose name contains a match of the regular expression.
    Regex(String),
    /// Those of these names that the daemon has.
    Names(Vec<String>),
}

/// The answer to a list request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The names.
    Ready(Vec<String>),
    /// The daemon is making its list: ask again.
    InProgress,
}

impl Daemon {
    /// `GET` or `POST /metrics`: the daemon's list. `force` requests a new scan.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn go_list(
        &self,
        filter: &GoListFilter,
        force: bool,
    ) -> Result<Listing, ClientError> {
        let force = if force { vec![("force", "true")] } else { Vec::new() };
        let request = match filter {
            GoListFilter::All => self.get(paths::METRICS).query(&force),
            GoListFilter::Regex(regex) => {
                self.get(paths::METRICS).query(&force).query(&[("regex", regex.as_str())])
            }
            GoListFilter::Names(names) => {
                let list = serde_json::to_string(names)
                    .map_err(|error| self.bad_answer(paths::METRICS, error.to_string()))?;
                let mut form = force;
                form.push(("list", list.as_str()));
                self.post(paths::METRICS).form(&form).header(header::CONTENT_TYPE, FORM)
            }
        };
        let timeouts = self.client.timeouts;
        let response = self.exchange(request, paths::METRICS, timeouts.answer).await?;
        match response.status() {
            StatusCode::OK => Ok(Listing::Ready(
                self.body_json_up_to(response, paths::METRICS, LIST_LIMIT_BYTES, timeouts.upload)
                    .await?,
            )),
            StatusCode::ACCEPTED => Ok(Listing::InProgress),
            _ => Err(self.refusal(paths::METRICS, response).await),
        }
    }

    /// `HEAD /metrics/NAME`. `None` if there is no such metric.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn go_stat(&self, metric: &str) -> Result<Option<MetricStat>, ClientError> {
        Ok(self.go_stat_dated(metric).await?.map(|(stat, _)| stat))
    }

    /// `HEAD /metrics/NAME`, and the time by the daemon's clock when it answered. The time is `None` if the
    /// daemon does not send it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn go_stat_dated(
        &self,
        metric: &str,
    ) -> Result<Option<(MetricStat, Option<SystemTime>)>, ClientError> {
        let request = self.metric_request(Method::HEAD, metric);
        match self.metric_answer(request).await? {
            Some(response) => Ok(Some((self.stat_header(&response)?, date(&response)))),
            None => Ok(None),
        }
    }

    /// `GET /metrics/NAME`: the stat header and the plain file. `None` if there is no such metric.
    ///
    /// # Errors
    /// [`ClientError`], also if the body does not have the length in the header.
    pub async fn go_get(&self, metric: &str) -> Result<Option<Fetched>, ClientError> {
        self.go_get_at_most(metric, FILE_LIMIT_BYTES).await
    }

    /// `GET /metrics/NAME` of a file of at most `limit_bytes`.
    ///
    /// # Errors
    /// [`ClientError`]. [`ClientError::BadAnswer`] if it is longer.
    pub async fn go_get_at_most(
        &self,
        metric: &str,
        limit_bytes: usize,
    ) -> Result<Option<Fetched>, ClientError> {
        let request = self.metric_request(Method::GET, metric);
        let Some(response) = self.metric_answer(request).await? else { return Ok(None) };
        let stat = self.stat_header(&response)?;
        let date = response.headers().get(header::DATE);
        let answered_at = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let size = usize::try_from(stat.size).ok().filter(|size| *size <= limit_bytes);
        let Some(size) = size else {
            let found =
                format!("{metric} with {} bytes; at most {limit_bytes} are fetched", stat.size);
            return Err(self.bad_answer(paths::METRICS, found));
        };
        let limit = self.client.timeouts.upload;
        let body = self.within(paths::METRICS, limit, read_beyond(response, size)).await?;
        if body.len() != size {
            let relation = if body.len() > size { "more" } else { "fewer" };
            let found = format!("{relation} bytes of {metric} than the {size} it announced");
            return Err(self.bad_answer(paths::METRICS, found));
        }
        Ok(Some(Fetched { stat, content: body.into(), answered_at }))
    }

    /// `GET /metrics/NAME` of a file of any length: the stat header, and the plain file as it arrives. `None`
    /// if there is no such metric. The caller must check the length.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn go_get_stream(
        &self,
        metric: &str,
    ) -> Result<Option<(MetricStat, ByteStream)>, ClientError> {
        let request = self.metric_request(Method::GET, metric);
        let Some(response) = self.metric_answer(request).await? else { return Ok(None) };
        let stat = self.stat_header(&response)?;
        Ok(Some((stat, pieces(response, self.client.timeouts.idle, Pace::Files))))
    }

    /// `POST /metrics/NAME`: creates or fills the metric.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn go_fill(
        &self,
        metric: &str,
        stat: &MetricStat,
        content: Bytes,
    ) -> Result<(), ClientError> {
        let request = self
            .metric_request(Method::POST, metric)
            .header(header::CONTENT_TYPE, OCTET_STREAM)
            .header(METRIC_STAT_HEADER, stat.to_header())
            .body(content);
        self.send(request, paths::METRICS, self.client.timeouts.upload).await.map(drop)
    }

    /// `DELETE /metrics/NAME`. `false` if there was no such metric.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn go_delete(&self, metric: &str) -> Result<bool, ClientError> {
        let request = self.metric_request(Method::DELETE, metric);
        Ok(self.metric_answer(request).await?.is_some())
    }

    fn metric_request(&self, method: Method, metric: &str) -> RequestBuilder {
        let path = format!("{}/{}", paths::METRICS, utf8_percent_encode(metric, PATH_ESCAPES));
        self.request(method, &path)
    }

    /// The answer about one metric. `None` for 404.
    async fn metric_answer(
        &self,
        request: RequestBuilder,
    ) -> Result<Option<Response>, ClientError> {
        let limit: Duration = self.client.timeouts.answer;
        let response = self.exchange(request, paths::METRICS, limit).await?;
        match response.status() {
            StatusCode::OK => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refusal(paths::METRICS, response).await),
        }
    }

    fn stat_header(&self, response: &Response) -> Result<MetricStat, ClientError> {
        let value = response
            .headers()
            .get(METRIC_STAT_HEADER)
            .ok_or_else(|| self.bad_answer(paths::METRICS, "no X-Metric-Stat header".into()))?;
        String::from_utf8(value.as_bytes().to_vec())
            .map_err(|error| error.to_string())
            .and_then(|text| MetricStat::parse(&text).map_err(|error| error.to_string()))
            .map_err(|found| self.bad_answer(paths::METRICS, found))
    }
}

fn date(response: &Response) -> Option<SystemTime> {
    let date = response.headers().get(header::DATE)?;
    httpdate::parse_http_date(date.to_str().ok()?).ok()
}
