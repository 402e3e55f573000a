//! The guard before all routes: no token, no answer.
//!
//! It comes before any body is read, and before anything is looked at that differs from daemon to daemon.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use bucky_api::token::{Denied, Operation, TOKEN_HEADER, TokenError};

use crate::app::App;
use crate::auth::demand::{self, Demand};
use crate::auth::{Caller, Keys};
use crate::routes;

/// Why a request goes no further. The texts are the Go tool's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is no good token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// Passes on what may be done, with the [`Caller`] who asks; answers the rest with 403.
pub(crate) async fn guard(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match &app.keys {
        None => Caller::Anyone,
        Some(keys) => {
            match check(keys, request.method(), request.uri().path(), request.headers()) {
                Ok(Some(caller)) => caller,
                // What needs nothing is given nothing to do anything with.
                Ok(None) => return next.run(request).await,
                Err(refusal) => {
                    let (method, path) = (request.method(), request.uri().path());
                    tracing::info!(%method, path, reason = %refusal, "refused");
                    return routes::forbidden(path, &refusal);
                }
            }
        }
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Who asks; none where nothing is needed.
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

/// D10: the name is tested in its one spelling, so that no other spelling of it gets by. A text that is no name is
/// refused by the route, and reaches no file.
fn may_by_path(caller: &Caller, operation: Operation, raw: &str) -> Result<(), Denied> {
    match routes::metric_in_path(raw) {
        Some(metric) => caller.may(operation, &metric),
        None => caller.has(operation),
    }
}
