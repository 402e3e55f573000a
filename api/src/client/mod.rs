//! The HTTP client for daemons.
//!
//! [`Client`] holds the connections; [`Daemon`] is one address through it. The `/v1` routes are methods here; those
//! of the Go tool are in `go_routes`. Every wait has a limit ([`Timeouts`]). Nothing is retried here: that is the
//! caller's business, and [`ClientError::may_pass`] tells whether it can help.

mod body;
mod error;
mod go_routes;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use bucky_ring::RingDocument;
use bucky_whisper::MetricName;

pub use self::body::{BodyError, ByteStream};
use self::body::{Pace, pieces, read_beyond};
pub use self::error::{ClientError, NetworkError};
pub use self::go_routes::{GoListFilter, Listing};
use crate::ndjson::{Lines, LinesError, parse_line};
use crate::token::{TOKEN_HEADER, Token};
use crate::types::{
    ArchiveRequest, ConfirmRequest, DeleteRequest, MisplacedCount, PullRequest, StatRequest, Status,
};
use crate::{CarbonCache, CarbonInfo, DaemonAddr, Encoding, ErrorBody, paths};

/// The longest answer that is one JSON value, such as the ring of ten thousand nodes; those that grow with the store are
/// lines. A short text makes a value that is much larger in memory.
const JSON_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// The most that the lines of an answer have together: twice a page of the longest names.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// The most lines that are collected where nothing smaller was asked for; no request names as many metrics.
const LINES_LIMIT: usize = 100_000;
/// Connections to a daemon that are kept though nobody uses them: each keeps its buffers.
const IDLE_PER_HOST: usize = 4;
/// What a refusal is explained with where no token was sent, and where it does not explain itself.
const NO_TOKEN: &str = " (no token was sent: bucky sends that of -api-token-file, buckyd one of its own where it has \
    -auth-jwt-secret-file)";
const DENIED: &str = "the token that was sent does not allow it";
/// How much of the body of a refusal is read.
const REFUSAL_LIMIT_BYTES: usize = 64 * 1024;

/// How long each part of an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// From the request's end to the head of the answer.
    pub answer: Duration,
    /// Between two pieces of an answer's body; for the next 16 KiB of files, for the next 1 KiB of lines.
    pub idle: Duration,
    /// To send a large body and have it worked through; to wait for a line of an answer while signs of life come.
    pub upload: Duration,
    /// For how long a daemon that cannot be reached is tried again. Nothing is here; those who do, ask for it.
    pub away: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            upload: Duration::from_secs(600),
            away: Duration::from_secs(60),
        }
    }
}

/// Connections to daemons, kept and used again.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    timeouts: Timeouts,
    token: Option<Token>,
}

/// One daemon, by its address.
#[derive(Clone, Debug)]
pub struct Daemon {
    client: Client,
    addr: DaemonAddr,
}

/// The lines of an answer of a given daemon.
pub struct AnswerLines {
    lines: Lines<ByteStream>,
    /// What came so far.
    bytes: usize,
    limit: Duration,
    addr: DaemonAddr,
    route: &'static str,
}

/// The rest of a list that is read page by page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MisplacedQuery {
    /// The host of the ring that this daemon is; none where it is not in the ring (all it holds is misplaced).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only metrics in whose name this regular expression is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Only metrics after this one in byte order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// No more lines than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// With the length of each file.
    #[serde(skip_serializing_if = "is_false", serialize_with = "as_one")]
    pub stat: bool,
    /// Wait for a new scan first.
    #[serde(skip_serializing_if = "is_false", serialize_with = "as_one")]
    pub fresh: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn as_one<S: serde::Serializer>(_: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(1)
}

impl Client {
    /// A client with these limits.
    ///
    /// Proxies of the environment are not used and redirects are not followed: daemons are spoken to directly.
    ///
    /// # Errors
    /// Where the HTTP library cannot be set up.
    pub fn new(timeouts: Timeouts) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("bucky/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(timeouts.connect)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build()?;
        Ok(Self { http, timeouts, token: None })
    }

    /// The same client, which sends `token` with every request. Redirects are not followed, so that it goes to nobody
    /// but the daemons that are asked.
    #[must_use]
    pub fn with_token(&self, token: Token) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// The daemon at `addr`.
    pub fn daemon(&self, addr: DaemonAddr) -> Daemon {
        Daemon { client: self.clone(), addr }
    }
}

impl Daemon {
    /// Its address.
    pub fn addr(&self) -> &DaemonAddr {
        &self.addr
    }

    /// The carbon on the same host, whose `/admin/info` is at `port` (0 leaves the port as it is). It is no daemon, and gets
    /// no token.
    #[must_use]
    pub fn carbon_beside(&self, port: u16) -> Self {
        let client = Client { token: None, ..self.client.clone() };
        Self { client, addr: self.addr.with_port(port) }
    }

    /// How long its answers are waited for.
    pub fn timeouts(&self) -> Timeouts {
        self.client.timeouts
    }

    /// `GET /hashring`: the ring this daemon was told. Both kinds of daemon answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hashring(&self) -> Result<RingDocument, ClientError> {
        self.json(self.get(paths::HASHRING), paths::HASHRING).await
    }

    /// `GET /v1/status`; none from a daemon that has no `/v1` (the Go tool).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Option<Status>, ClientError> {
        match self.json(self.get(paths::V1_STATUS), paths::V1_STATUS).await {
            Ok(status) => Ok(Some(status)),
            // The Go tool's daemon knows no such path.
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `GET /admin/info`: how full the cache is, where this address is that of a go-carbon.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn carbon_cache(&self) -> Result<CarbonCache, ClientError> {
        let info: CarbonInfo = self.json(self.get(paths::CARBON_INFO), paths::CARBON_INFO).await?;
        Ok(info.cache)
    }

    /// `GET /v1/misplaced`, one page of lines ([`crate::MisplacedLine`]).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn misplaced(&self, query: &MisplacedQuery) -> Result<AnswerLines, ClientError> {
        self.lines(self.get(paths::V1_MISPLACED).query(query), paths::V1_MISPLACED, query.fresh)
            .await
    }

    /// `GET /v1/misplaced?count=1`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn misplaced_count(
        &self,
        query: &MisplacedQuery,
    ) -> Result<MisplacedCount, ClientError> {
        let request = self.get(paths::V1_MISPLACED).query(query).query(&[("count", "1")]);
        // The whole store is looked at, and each misplaced file's length: that takes longer than another answer.
        let response = self.send(request, paths::V1_MISPLACED, self.client.timeouts.upload).await?;
        self.body_json(response, paths::V1_MISPLACED).await
    }

    /// `GET /v1/metrics` with these parameters (see `docs/http-api.md`): lines of text or of JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn metrics(&self, query: &[(&str, &str)]) -> Result<AnswerLines, ClientError> {
        let waits = query.iter().any(|(key, value)| *key == "fresh" && *value != "0");
        self.lines(self.get(paths::V1_METRICS).query(query), paths::V1_METRICS, waits).await
    }

    /// `POST /v1/metrics`: size and time of change of those of these metrics that are there; lines of
    /// [`crate::MetricLine`], in the order asked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stat(&self, request: &StatRequest) -> Result<AnswerLines, ClientError> {
        self.lines(self.post(paths::V1_METRICS).json(request), paths::V1_METRICS, false).await
    }

    /// `POST /v1/archive`: the archive stream of these metrics, and how it is encoded.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn archive(
        &self,
        metrics: Vec<MetricName>,
        encoding: Encoding,
    ) -> Result<(Encoding, ByteStream), ClientError> {
        let request = self
            .post(paths::V1_ARCHIVE)
            .header(header::ACCEPT_ENCODING, encoding.as_str())
            .json(&ArchiveRequest { metrics });
        let response = self.send(request, paths::V1_ARCHIVE, self.client.timeouts.answer).await?;
        let encoding = match response.headers().get(header::CONTENT_ENCODING) {
            None => Encoding::Identity,
            Some(value) => {
                value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
                    self.bad_answer(paths::V1_ARCHIVE, format!("Content-Encoding {value:?}"))
                })?
            }
        };
        Ok((encoding, pieces(response, self.client.timeouts.idle, Pace::Files)))
    }

    /// `POST /v1/heal` with an archive stream; lines of [`crate::HealLine`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heal<S>(&self, encoding: Encoding, stream: S) -> Result<AnswerLines, ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.send_archive(self.post(paths::V1_HEAL), encoding, stream).await
    }

    /// The same; a corrupt file there is replaced, and kept aside.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heal_replacing_corrupt<S>(
        &self,
        encoding: Encoding,
        stream: S,
    ) -> Result<AnswerLines, ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let request = self.post(paths::V1_HEAL).query(&[("replace_corrupt", "1")]);
        self.send_archive(request, encoding, stream).await
    }

    async fn send_archive<S>(
        &self,
        request: RequestBuilder,
        encoding: Encoding,
        stream: S,
    ) -> Result<AnswerLines, ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let request = request
            .header(header::CONTENT_TYPE, paths::TAR)
            .header(header::CONTENT_ENCODING, encoding.as_str())
            .body(Body::wrap_stream(stream));
        self.lines_within(request, paths::V1_HEAL, self.client.timeouts.upload).await
    }

    /// `POST /v1/pull`; lines of [`crate::HealLine`]. They may come `paced` later than without a
    /// [`PullRequest::bytes_per_second`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pull(
        &self,
        request: &PullRequest,
        paced: Duration,
    ) -> Result<AnswerLines, ClientError> {
        // The daemon answers once its peer has: two waits in one.
        let within = self.client.timeouts.answer + self.client.timeouts.answer;
        let request = self.post(paths::V1_PULL).json(request);
        let mut lines = self.lines_within(request, paths::V1_PULL, within).await?;
        lines.limit = lines.limit.saturating_add(paced);
        Ok(lines)
    }

    /// `POST /v1/confirm`; lines of [`crate::ConfirmLine`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn confirm(&self, request: &ConfirmRequest) -> Result<AnswerLines, ClientError> {
        self.lines(self.post(paths::V1_CONFIRM).json(request), paths::V1_CONFIRM, false).await
    }

    /// `POST /v1/delete`; lines of [`crate::DeleteLine`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(&self, request: &DeleteRequest) -> Result<AnswerLines, ClientError> {
        // A daemon that takes long shows that it is alive; but its signs may be as far apart as a silence may last.
        let within = self.client.timeouts.answer.max(self.client.timeouts.idle);
        self.lines_within(self.post(paths::V1_DELETE).json(request), paths::V1_DELETE, within).await
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// Every request begins here.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.http.request(method, self.addr.url(path));
        match &self.client.token {
            Some(token) => request.header(TOKEN_HEADER, token.header()),
            None => request,
        }
    }

    async fn lines(
        &self,
        request: RequestBuilder,
        route: &'static str,
        waits_for_scan: bool,
    ) -> Result<AnswerLines, ClientError> {
        let timeouts = &self.client.timeouts;
        let within = if waits_for_scan { timeouts.upload } else { timeouts.answer };
        self.lines_within(request, route, within).await
    }

    async fn lines_within(
        &self,
        request: RequestBuilder,
        route: &'static str,
        within: Duration,
    ) -> Result<AnswerLines, ClientError> {
        let response = self.send(request, route, within).await?;
        Ok(AnswerLines {
            lines: Lines::new(pieces(response, self.client.timeouts.idle, Pace::Lines)),
            bytes: 0,
            limit: self.client.timeouts.upload,
            addr: self.addr.clone(),
            route,
        })
    }

    async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        route: &'static str,
    ) -> Result<T, ClientError> {
        let response = self.send(request, route, self.client.timeouts.answer).await?;
        // Short answers: whoever takes longer dribbles.
        let within = self.client.timeouts.idle;
        self.body_json_up_to(response, route, JSON_LIMIT_BYTES, within).await
    }

    async fn body_json<T: DeserializeOwned>(
        &self,
        response: Response,
        route: &'static str,
    ) -> Result<T, ClientError> {
        let within = self.client.timeouts.upload;
        self.body_json_up_to(response, route, JSON_LIMIT_BYTES, within).await
    }

    async fn body_json_up_to<T: DeserializeOwned>(
        &self,
        response: Response,
        route: &'static str,
        limit_bytes: usize,
        within: Duration,
    ) -> Result<T, ClientError> {
        let body = read_beyond(response, limit_bytes);
        let body = self.within(route, within, body).await?;
        if body.len() > limit_bytes {
            let found = format!("more than {limit_bytes} bytes of JSON");
            return Err(self.bad_answer(route, found));
        }
        serde_json::from_slice(&body).map_err(|error| self.bad_answer(route, error.to_string()))
    }

    /// Sends, waits for the head, and turns every status but success into an error.
    async fn send(
        &self,
        request: RequestBuilder,
        route: &'static str,
        within: Duration,
    ) -> Result<Response, ClientError> {
        let response = self.within(route, within, request.send()).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        Err(self.refusal(route, response).await)
    }

    async fn refusal(&self, route: &'static str, response: Response) -> ClientError {
        let status = response.status();
        let body = read_beyond(response, REFUSAL_LIMIT_BYTES);
        let body = tokio::time::timeout(self.client.timeouts.idle, body).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let (code, body) = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => (Some(body.error.code), body.to_string()),
            Err(_) => (None, String::from_utf8_lossy(&body).trim_end().chars().take(500).collect()),
        };
        let body = match (status, &self.client.token) {
            (StatusCode::FORBIDDEN, None) => format!("{body}{NO_TOKEN}"),
            // The answer to a HEAD has no words.
            (StatusCode::FORBIDDEN, Some(_)) if body.is_empty() => DENIED.to_owned(),
            _ => body,
        };
        ClientError::Status { addr: self.addr.clone(), route, status, code, body }
    }

    async fn within<T>(
        &self,
        route: &'static str,
        limit: Duration,
        future: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(limit, future).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(ClientError::transport(&self.addr, route, source)),
            Err(_) => Err(ClientError::TimedOut { addr: self.addr.clone(), route, after: limit }),
        }
    }

    fn bad_answer(&self, route: &'static str, found: String) -> ClientError {
        ClientError::BadAnswer { addr: self.addr.clone(), route, found }
    }
}

impl AnswerLines {
    /// The next line as a value; none at the end.
    ///
    /// # Errors
    /// [`ClientError::Lines`] where the answer breaks off, is not understood, or says that the daemon failed;
    /// [`ClientError::TimedOut`] where signs of life come for too long, and nothing else; [`ClientError::BadAnswer`]
    /// where the lines are together longer than any answer.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        let Some(line) = self.next_line().await? else { return Ok(None) };
        parse_line(&line).map(Some).map_err(|source| self.error(source))
    }

    /// The next line as it stands, without its end; none at the end.
    ///
    /// # Errors
    /// As [`AnswerLines::next`].
    pub async fn next_line(&mut self) -> Result<Option<Bytes>, ClientError> {
        let line = match tokio::time::timeout(self.limit, self.lines.next_line()).await {
            Ok(line) => line.map_err(|source| self.error(source))?,
            Err(_) => return Err(self.timed_out()),
        };
        self.bytes += line.as_ref().map_or(0, Bytes::len);
        if self.bytes > ANSWER_LIMIT_BYTES {
            let found = format!("lines of more than {ANSWER_LIMIT_BYTES} bytes together");
            return Err(ClientError::BadAnswer {
                addr: self.addr.clone(),
                route: self.route,
                found,
            });
        }
        Ok(line)
    }

    /// All lines that are left, as values.
    ///
    /// # Errors
    /// As [`AnswerLines::next`]; [`ClientError::BadAnswer`] where there are more than any request asks for.
    pub async fn collect<T: DeserializeOwned>(self) -> Result<Vec<T>, ClientError> {
        self.collect_at_most(LINES_LIMIT).await
    }

    /// All lines that are left, as values, where no more than `limit` were asked for.
    ///
    /// # Errors
    /// As [`AnswerLines::next`]; [`ClientError::BadAnswer`] where there are more.
    pub async fn collect_at_most<T: DeserializeOwned>(
        mut self,
        limit: usize,
    ) -> Result<Vec<T>, ClientError> {
        let mut values = Vec::new();
        while let Some(value) = self.next().await? {
            if values.len() == limit {
                return Err(self.too_many(limit));
            }
            values.push(value);
        }
        Ok(values)
    }

    /// The error of an answer that has more lines than the `limit` that were asked for.
    pub fn too_many(&self, limit: usize) -> ClientError {
        let found = format!("more than {limit} lines, which is what was asked for");
        ClientError::BadAnswer { addr: self.addr.clone(), route: self.route, found }
    }

    fn error(&self, source: LinesError<BodyError>) -> ClientError {
        let source = Box::new(source);
        ClientError::Lines { addr: self.addr.clone(), route: self.route, source }
    }

    fn timed_out(&self) -> ClientError {
        ClientError::TimedOut { addr: self.addr.clone(), route: self.route, after: self.limit }
    }
}
