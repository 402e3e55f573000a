//! `POST /v1/heal`: sending an archive stream.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::{Body, RequestBuilder, header};

use super::{AnswerLines, ClientError, Daemon};
use crate::types::{HealOrders, OnSchemaDifference};
use crate::{Encoding, paths};

/// The slowest rate at which a long file is sent.
const LEAST_BYTES_A_SECOND: u64 = 1 << 20;

impl Daemon {
    /// `POST /v1/heal` with an archive stream; lines of [`crate::HealLine`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heal<S>(&self, encoding: Encoding, stream: S) -> Result<AnswerLines, ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.heal_by(HealOrders::default(), encoding, stream).await
    }

    /// `POST /v1/heal` with other rules than the default.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heal_by<S>(
        &self,
        orders: HealOrders,
        encoding: Encoding,
        stream: S,
    ) -> Result<AnswerLines, ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let within = self.client.timeouts.upload;
        self.send_archive(self.heal_request(orders), encoding, stream, within).await
    }

    /// `POST /v1/heal` with an unencoded stream of about `bytes`. The time limit grows with `bytes`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heal_long<S>(
        &self,
        orders: HealOrders,
        bytes: u64,
        stream: S,
    ) -> Result<AnswerLines, ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let within =
            self.client.timeouts.upload + Duration::from_secs(bytes / LEAST_BYTES_A_SECOND);
        self.send_archive(self.heal_request(orders), Encoding::Identity, stream, within).await
    }

    fn heal_request(&self, orders: HealOrders) -> RequestBuilder {
        let mut request = self.post(paths::V1_HEAL);
        if orders.replace_corrupt {
            request = request.query(&[("replace_corrupt", "1")]);
        }
        if orders.on_schema_difference != OnSchemaDifference::default() {
            let name = orders.on_schema_difference.name();
            request = request.query(&[("on_schema_difference", name)]);
        }
        request
    }

    async fn send_archive<S>(
        &self,
        request: RequestBuilder,
        encoding: Encoding,
        stream: S,
        within: Duration,
    ) -> Result<AnswerLines, ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let request = request
            .header(header::CONTENT_TYPE, paths::TAR)
            .header(header::CONTENT_ENCODING, encoding.as_str())
            .body(Body::wrap_stream(stream));
        self.lines_within(request, paths::V1_HEAL, within).await
    }
}
