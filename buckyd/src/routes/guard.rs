//! The guard before all routes: without a valid token there is no answer.
//!
//! It runs before any body is read, and before anything is checked that differs from daemon to daemon.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bucky_api::token::{Denied, Operation, TOKEN_HEADER, TokenError};

use super::go::answer::PlainAnswer;
use super::go::metric_in_path;
use crate::app::App;
use crate::auth::demand::{self, Demand};
use crate::auth::{Caller, Keys};
use crate::http::respond::ApiError;

/// Why a request is refused. The texts are the Go tool's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// There is no valid token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// Passes on an allowed request, with its [`Caller`]. Answers the others with 403.
pub(super) async fn guard(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match &app.keys {
        None => Caller::Anyone,
        Some(keys) => {
            match check(keys, request.method(), request.uri().path(), request.headers()) {
                Ok(Some(caller)) => caller,
                // A request that needs no token gets no caller, so it can do nothing with one.
                Ok(None) => return next.run(request).await,
                Err(refusal) => {
                    let (method, path) = (request.method(), request.uri().path());
                    tracing::info!(%method, path, reason = %refusal, "refused");
                    return forbidden(path, &refusal);
                }
            }
        }
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// The caller. `None` if the request needs no token.
fn check(
    keys: &Keys,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<Caller>, Refusal> {
    let demand = demand::of(method, path);
    if demand == Demand::Nothing {
        return Ok(None);
    }
    let token = headers.get(TOKEN_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
    let caller = Caller::Holder(Arc::new(keys.verify(token)?));
    match demand {
        Demand::Nothing | Demand::Token => {}
        Demand::List => caller.may_list()?,
        Demand::Operations(operations) => {
            operations.iter().try_for_each(|operation| caller.has(*operation))?;
        }
        Demand::Metric(operation, raw) => may_by_path(&caller, operation, raw)?,
    }
    Ok(Some(caller))
}

/// D10: the name is tested in its canonical spelling, so that no other spelling avoids a pattern. An invalid
/// name is refused by the route, and reaches no file.
fn may_by_path(caller: &Caller, operation: Operation, raw: &str) -> Result<(), Denied> {
    match metric_in_path(raw) {
        Some(metric) => caller.may(operation, &metric),
        None => caller.has(operation),
    }
}

/// The answer to a request for `path` that the guard refuses.
fn forbidden(path: &str, refusal: &Refusal) -> Response {
    if path != "/v1" && !path.starts_with("/v1/") {
        return PlainAnswer::new(StatusCode::FORBIDDEN, refusal).into_response();
    }
    let hint = match refusal {
        Refusal::Token(_) => {
            format!("send a token in {TOKEN_HEADER} (bucky -api-token-file FILE); bucky token makes one")
        }
        Refusal::Denied(Denied::Namespace { .. }) => {
            "a list of metrics needs a token with the namespace *, or with a pattern that matches the single \
             character *".into()
        }
        Refusal::Denied(Denied::Operation(operation)) => {
            format!("{path} needs a token whose ops include {operation:?}").to_lowercase()
        }
    };
    ApiError::forbidden(refusal).hint(hint).into_response()
}
