//! The HTTP client for daemons.
//!
//! [`Client`] holds the connections. [`Daemon`] is one address used through it. The `/v1` routes are methods
//! here. Those of the Go tool are in `go_routes`, and sending files is in `heal`. Every wait has a limit
//! ([`Timeouts`]). The client does not retry. The caller may, and [`ClientError::may_pass`] says whether it
//! can help.

mod body;
mod error;
mod exchange;
mod go_routes;
mod heal;
mod lines;
mod peer_clock;
#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::{StatusCode, header};
use serde::Serialize;

use bucky_ring::RingDocument;
use bucky_whisper::MetricName;

pub use self::body::{BodyError, ByteStream};
use self::body::{Pace, pieces};
pub use self::error::{ClientError, NetworkError};
pub use self::go_routes::{Fetched, GoListFilter, Listing};
pub use self::lines::AnswerLines;
use self::peer_clock::PeerClock;
use crate::token::Token;
use crate::types::{
    ArchiveRequest, ConfirmRequest, DeleteRequest, DigestRequest, MisplacedCount, PlanCount,
    PlanRequest, PointsFound, PointsRequest, PullRequest, StatRequest, Status,
};
use crate::{CarbonCache, CarbonInfo, ClockOffset, DaemonAddr, Encoding, paths};

/// How many unused connections to a daemon are kept. Each keeps its buffers.
const IDLE_PER_HOST: usize = 4;
/// How long each part of an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// From the end of the request to the head of the answer.
    pub answer: Duration,
    /// Between two pieces of an answer's body. For files it applies to each 16 KiB, for lines to each 1 KiB.
    pub idle: Duration,
    /// To send a large body and have it processed. Also to wait for a line of an answer while signs of life
    /// arrive.
    pub upload: Duration,
    /// For how long a daemon that cannot be reached is tried again. The client does not use it: callers that
    /// retry do.
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

/// Connections to daemons, which are kept and reused.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    timeouts: Timeouts,
    token: Option<Token>,
}

/// One daemon, known by its address.
#[derive(Clone, Debug)]
pub struct Daemon {
    client: Client,
    addr: DaemonAddr,
    clock: PeerClock,
}

/// The query of `GET /v1/misplaced`, a list that is read page by page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MisplacedQuery {
    /// The host of this daemon in the ring. `None` if it is not in the ring: then all that it holds is
    /// misplaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only metrics whose name contains a match of this regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Only metrics after this name, in byte order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most this many lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Report the length of each file.
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
    /// A client with these time limits.
    ///
    /// It uses no proxies from the environment and follows no redirects: it connects directly to daemons.
    ///
    /// # Errors
    /// If the HTTP library cannot be set up.
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

    /// A client with the same connections that sends `token` with every request. It follows no redirects, so
    /// that the token goes only to the daemons that are asked.
    #[must_use]
    pub fn with_token(&self, token: Token) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// A client with the same connections that sends no token.
    #[must_use]
    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The daemon at `addr`.
    pub fn daemon(&self, addr: DaemonAddr) -> Daemon {
        Daemon { client: self.clone(), addr, clock: PeerClock::default() }
    }
}

impl Daemon {
    /// Its address.
    pub fn addr(&self) -> &DaemonAddr {
        &self.addr
    }

    /// The carbon on the same host, which serves `/admin/info` on `port` (0 keeps the port). It is not a
    /// daemon, so it gets no token.
    #[must_use]
    pub fn carbon_beside(&self, port: u16) -> Self {
        let client = self.client.without_token();
        Self { client, addr: self.addr.with_port(port), clock: PeerClock::default() }
    }

    /// How far its clock is ahead of ours, by its answers so far. `None` before the first answer, and if the
    /// daemon does not send its time. Clones of this value share what they learn.
    pub fn clock_offset(&self) -> Option<ClockOffset> {
        self.clock.offset()
    }

    /// The time limits for its answers.
    pub fn timeouts(&self) -> Timeouts {
        self.client.timeouts
    }

    /// `GET /hashring`: the ring that this daemon was given. Both kinds of daemon answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hashring(&self) -> Result<RingDocument, ClientError> {
        self.json(self.get(paths::HASHRING), paths::HASHRING).await
    }

    /// `GET /v1/status`; `None` from a daemon that has no `/v1` (the Go tool's).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Option<Status>, ClientError> {
        match self.json(self.get(paths::V1_STATUS), paths::V1_STATUS).await {
            Ok(status) => Ok(Some(status)),
            // The Go tool's daemon does not have this path.
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `GET /admin/info` of a go-carbon: how full its cache is.
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
        // The daemon checks all metrics, and the length of each misplaced file. That takes longer than other
        // answers.
        let response = self.send(request, paths::V1_MISPLACED, self.client.timeouts.upload).await?;
        self.body_json(response, paths::V1_MISPLACED).await
    }

    /// `GET /v1/sample`: `count` metrics at most ([`crate::SampleLine`]).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sample(&self, count: u64) -> Result<AnswerLines, ClientError> {
        // The daemon hashes all names before it answers.
        self.lines(self.get(paths::V1_SAMPLE).query(&[("count", count)]), paths::V1_SAMPLE, true)
            .await
    }

    /// `POST /v1/plan`. `None` from a daemon that does not have the route.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn plan(&self, request: &PlanRequest) -> Result<Option<PlanCount>, ClientError> {
        // A daemon that takes long sends signs of life. They may be as far apart as the idle limit.
        let within = self.client.timeouts.answer.max(self.client.timeouts.idle);
        let request = self.post(paths::V1_PLAN).json(request);
        let lines = match self.lines_within(request, paths::V1_PLAN, within).await {
            Ok(lines) => lines,
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        };
        let count = lines.collect_at_most(1).await?.pop();
        count.map(Some).ok_or_else(|| self.bad_answer(paths::V1_PLAN, "no line".to_owned()))
    }

    /// `GET /v1/metrics` with these parameters (see `docs/internals/http-api.md`): lines of text or of JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn metrics(&self, query: &[(&str, &str)]) -> Result<AnswerLines, ClientError> {
        let waits = query.iter().any(|(key, value)| *key == "fresh" && *value != "0");
        self.lines(self.get(paths::V1_METRICS).query(query), paths::V1_METRICS, waits).await
    }

    /// `GET /v1/not-served`: at most `limit` lines ([`crate::NotServedLine`]), one for each thing below the
    /// prefix that is not served.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn not_served(&self, limit: u64) -> Result<AnswerLines, ClientError> {
        let request = self.get(paths::V1_NOT_SERVED).query(&[("limit", limit)]);
        self.lines(request, paths::V1_NOT_SERVED, true).await
    }

    /// `POST /v1/metrics`: size and time of change of those metrics that exist, as lines of
    /// [`crate::MetricLine`] in the order of the request.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stat(&self, request: &StatRequest) -> Result<AnswerLines, ClientError> {
        self.lines(self.post(paths::V1_METRICS).json(request), paths::V1_METRICS, false).await
    }

    /// `POST /v1/archive`: the archive stream of these metrics, and its encoding.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn archive(
        &self,
        metrics: Vec<MetricName>,
        encoding: Encoding,
    ) -> Result<(Encoding, ByteStream), ClientError> {
        self.archive_as(ArchiveRequest { metrics, large: false }, encoding).await
    }

    /// `POST /v1/archive` for a receiver that takes files of any length.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn archive_of_any_length(
        &self,
        metrics: Vec<MetricName>,
        encoding: Encoding,
    ) -> Result<(Encoding, ByteStream), ClientError> {
        self.archive_as(ArchiveRequest { metrics, large: true }, encoding).await
    }

    async fn archive_as(
        &self,
        request: ArchiveRequest,
        encoding: Encoding,
    ) -> Result<(Encoding, ByteStream), ClientError> {
        let request = self
            .post(paths::V1_ARCHIVE)
            .header(header::ACCEPT_ENCODING, encoding.as_str())
            .json(&request);
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

    /// `POST /v1/pull`; lines of [`crate::HealLine`]. With a [`PullRequest::bytes_per_second`] they may take
    /// `paced` longer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pull(
        &self,
        request: &PullRequest,
        paced: Duration,
    ) -> Result<AnswerLines, ClientError> {
        // The daemon answers after its peer has answered: two waits in one.
        let within = self.client.timeouts.answer + self.client.timeouts.answer;
        let request = self.post(paths::V1_PULL).json(request);
        let mut lines = self.lines_within(request, paths::V1_PULL, within).await?;
        lines.extend_limit(paced);
        Ok(lines)
    }

    /// `POST /v1/confirm`; lines of [`crate::ConfirmLine`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn confirm(&self, request: &ConfirmRequest) -> Result<AnswerLines, ClientError> {
        self.lines(self.post(paths::V1_CONFIRM).json(request), paths::V1_CONFIRM, false).await
    }

    /// `POST /v1/digests`; lines of [`crate::DigestLine`], one for each metric in the order of the request.
    /// `None` from a daemon that does not have the route.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn digests(
        &self,
        request: &DigestRequest,
    ) -> Result<Option<AnswerLines>, ClientError> {
        let request = self.post(paths::V1_DIGESTS).json(request);
        match self.lines(request, paths::V1_DIGESTS, false).await {
            Ok(lines) => Ok(Some(lines)),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `POST /v1/points`. `None` from a daemon that does not have the route.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn points(
        &self,
        request: &PointsRequest,
    ) -> Result<Option<PointsFound>, ClientError> {
        let request = self.post(paths::V1_POINTS).json(request);
        match self.json(request, paths::V1_POINTS).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `POST /v1/delete`; lines of [`crate::DeleteLine`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(&self, request: &DeleteRequest) -> Result<AnswerLines, ClientError> {
        // A daemon that takes long sends signs of life. They may be as far apart as the idle limit.
        let within = self.client.timeouts.answer.max(self.client.timeouts.idle);
        self.lines_within(self.post(paths::V1_DELETE).json(request), paths::V1_DELETE, within).await
    }
}
