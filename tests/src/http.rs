//! Requests to a daemon like those of `curl`, and the answers.

use std::time::Duration;

use reqwest::{Client, Method};
use tokio::runtime::Runtime;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(180);

/// A client for daemons.
#[derive(Debug)]
pub struct Http {
    runtime: Runtime,
    client: Client,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Http {
    /// A new client.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::builder().timeout(LIMIT).no_proxy().build().unwrap();
        Self { runtime, client }
    }

    /// `GET url`, or `None` if there is no answer.
    pub fn try_get(&self, url: &str) -> Option<Answer> {
        self.send(Method::GET, url, &[], Vec::new()).ok()
    }

    /// `GET url`.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn get(&self, url: &str) -> Answer {
        self.send(Method::GET, url, &[], Vec::new())
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// `POST url` with this body.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn post(&self, url: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(Method::POST, url, &[("content-type", content_type)], body.into())
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Sends any request.
    ///
    /// # Errors
    /// If there is no answer, or the answer is cut off.
    pub fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> reqwest::Result<Answer> {
        self.runtime.block_on(async {
            let mut request = self.client.request(method, url).body(body);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok(Answer { status, body: response.bytes().await?.to_vec() })
        })
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as one JSON value.
    ///
    /// # Panics
    /// If it is not JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// The body as one JSON value for each line.
    ///
    /// # Panics
    /// If a line is not JSON.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// # Panics
    /// If the status is another one.
    #[track_caller]
    pub fn assert_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}
