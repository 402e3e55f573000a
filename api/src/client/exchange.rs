//! One request and its answer: what all routes share.

use std::future::Future;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::body::{Pace, pieces, read_beyond};
use super::error::ClientError;
use super::{AnswerLines, Daemon};
use crate::clock::TIME_HEADER;
use crate::token::TOKEN_HEADER;
use crate::{ClockReading, ErrorBody};

/// The longest answer that is one JSON value, such as a ring of ten thousand nodes. Answers that grow with
/// the store are lines. A short text can become a much larger value in memory.
const JSON_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// The explanation of a refusal if no token was sent and the daemon gave no explanation.
const NO_TOKEN: &str =
    " (no token was sent: give bucky -api-token-file, or buckyd -auth-jwt-secret-file)";
const DENIED: &str = "the token does not allow it";
/// How much of a refusal's body is read.
const REFUSAL_LIMIT_BYTES: usize = 64 * 1024;

impl Daemon {
    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// Starts every request.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.http.request(method, self.addr.url(path));
        match &self.client.token {
            Some(token) => request.header(TOKEN_HEADER, token.header()),
            None => request,
        }
    }

    pub(super) async fn lines(
        &self,
        request: RequestBuilder,
        route: &'static str,
        waits_for_scan: bool,
    ) -> Result<AnswerLines, ClientError> {
        let timeouts = &self.client.timeouts;
        let within = if waits_for_scan { timeouts.upload } else { timeouts.answer };
        self.lines_within(request, route, within).await
    }

    pub(super) async fn lines_within(
        &self,
        request: RequestBuilder,
        route: &'static str,
        within: Duration,
    ) -> Result<AnswerLines, ClientError> {
        let response = self.send(request, route, within).await?;
        let timeouts = &self.client.timeouts;
        let body = pieces(response, timeouts.idle, Pace::Lines);
        Ok(AnswerLines::new(body, timeouts.upload, self.addr.clone(), route))
    }

    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        route: &'static str,
    ) -> Result<T, ClientError> {
        let response = self.send(request, route, self.client.timeouts.answer).await?;
        // These answers are short: a daemon that takes longer is too slow.
        let within = self.client.timeouts.idle;
        self.body_json_up_to(response, route, JSON_LIMIT_BYTES, within).await
    }

    pub(super) async fn body_json<T: DeserializeOwned>(
        &self,
        response: Response,
        route: &'static str,
    ) -> Result<T, ClientError> {
        let within = self.client.timeouts.upload;
        self.body_json_up_to(response, route, JSON_LIMIT_BYTES, within).await
    }

    pub(super) async fn body_json_up_to<T: DeserializeOwned>(
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

    /// Sends a request, waits for the head of the answer, and turns every status except success into an
    /// error.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        route: &'static str,
        within: Duration,
    ) -> Result<Response, ClientError> {
        let response = self.exchange(request, route, within).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        Err(self.refusal(route, response).await)
    }

    /// Sends every request, with our time, and reads the head of every answer, with the peer's time.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        route: &'static str,
        within: Duration,
    ) -> Result<Response, ClientError> {
        let sent = Instant::now();
        let now = ClockReading::now();
        let request = request.header(TIME_HEADER, now.to_string());
        let response = self.within(route, within, request.send()).await?;
        let received = ClockReading::now();
        self.clock.measure(response.headers(), received, sent.elapsed());
        Ok(response)
    }

    pub(super) async fn refusal(&self, route: &'static str, response: Response) -> ClientError {
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
            // The answer to a HEAD request has no text.
            (StatusCode::FORBIDDEN, Some(_)) if body.is_empty() => DENIED.to_owned(),
            _ => body,
        };
        ClientError::Status { addr: self.addr.clone(), route, status, code, body }
    }

    pub(super) async fn within<T>(
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

    pub(super) fn bad_answer(&self, route: &'static str, found: String) -> ClientError {
        ClientError::BadAnswer { addr: self.addr.clone(), route, found }
    }
}
