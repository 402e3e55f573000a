//! The JSON body of a `/v1` request.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use bucky_api::{ErrorCode, chain};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::http::body::{self, BodyError, HeldBody};
use crate::http::respond::ApiError;
use crate::memory::Share;
use crate::transfers::Permit;

/// The longest body: names, digests and owners of as many metrics as a request may name.
const LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// How many times the length of its text a request takes in memory at most. Owners with names of one letter
/// are the worst.
const PARSED_TIMES: u64 = 16;
const MEDIA_TYPE: &str = "application/json";

/// A body that was read, the permit for the answer, and its share of the memory.
///
/// The permit comes last, so that a slow sender does not hold it.
pub(super) struct JsonBody<T> {
    pub(super) value: T,
    pub(super) permit: Permit,
    pub(super) share: Share,
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        // A web page can make a browser send any other media type to a daemon that listens only on this host.
        let media_type = request.headers().get(header::CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case(MEDIA_TYPE) {
            return Err(ApiError::bad_request(format!("Content-Type is {media_type:?}"))
                .hint(format!("send JSON with Content-Type: {MEDIA_TYPE}")));
        }
        let budget = &app.memory.receiving;
        let HeldBody { bytes, mut share } =
            body::read(request.into_body(), LIMIT_BYTES, budget).await?;
        let permit = app.transfers.answer().await?;
        share.add(budget.share(bytes.len() as u64 * (PARSED_TIMES - 1)).await?);
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::bad_request(format!("the body cannot be read: {error}")))?;
        Ok(Self { value, permit, share })
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match &error {
            BodyError::TooLong { .. } => {
                Self::new(ErrorCode::TooLarge, chain(&error)).hint("name fewer metrics at once")
            }
            BodyError::NoMemory(error) => error.clone().into(),
            BodyError::Broken(_) | BodyError::Silent | BodyError::Slow => {
                Self::bad_request(chain(&error))
            }
        }
    }
}
