//! Puts the time on every answer, and reads the time of a request's sender.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use bucky_api::clock::TIME_HEADER;
use bucky_api::{ClockOffset, ClockReading};

/// How far the sender's clock was ahead of ours when the head of its request arrived. `None` if the sender
/// does not send its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SenderTime(pub(crate) Option<ClockOffset>);

impl<S: Sync> FromRequestParts<S> for SenderTime {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(None)))
    }
}

/// A layer around all routes. It compares the clocks as soon as a request arrives, and puts our time on the
/// answer.
pub(crate) async fn with_time(mut request: Request, next: Next) -> Response {
    let arrived = ClockReading::now();
    let header = request.headers().get(TIME_HEADER).and_then(|value| value.to_str().ok());
    let sender = header.and_then(ClockReading::parse_header);
    let offset = sender.map(|sender| ClockOffset::of_sender(sender, arrived));
    request.extensions_mut().insert(SenderTime(offset));
    let mut response = next.run(request).await;
    let now = ClockReading::now();
    if let Ok(value) = HeaderValue::try_from(now.to_string()) {
        response.headers_mut().insert(TIME_HEADER, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    async fn sender(header: Option<&str>) -> SenderTime {
        let mut request = Request::builder();
        if let Some(header) = header {
            request = request.header(TIME_HEADER, header);
        }
        let (mut parts, _) = request.body(Body::empty()).unwrap().into_parts();
        SenderTime::from_request_parts(&mut parts, &()).await.unwrap()
    }

    #[tokio::test]
    async fn without_the_layer_the_senders_time_is_unknown() {
        assert_eq!(sender(Some("1796067712.345")).await, SenderTime(None));
        assert_eq!(sender(None).await, SenderTime(None));
    }
}
