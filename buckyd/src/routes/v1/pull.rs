//! `POST /v1/pull`: heals metrics that this daemon fetches from another one.
//!
//! The answer begins when the peer's answer has begun.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bucky_api::token::Operation;
use bucky_api::{ClientError, ErrorCode, PullRequest, chain};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::healing::{answer, start};
use super::json::JsonBody;
use crate::app::App;
use crate::auth::Caller;
use crate::http::lines;
use crate::http::paced::{paced, waiting_client};
use crate::http::respond::ApiError;
use crate::intake::incoming::Expected;
use crate::intake::links::Measurement;
use crate::intake::renames;
use crate::intake::rights::Rights;
use crate::store::{HealRules, OnCorrupt, OnCut};

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    JsonBody { value: request, share, .. }: JsonBody<PullRequest>,
) -> Result<Response, ApiError> {
    let (on_corrupt, on_cut) = (OnCorrupt::of(request.replace_corrupt), OnCut::of(request.salvage));
    let rights = Rights::of(caller, on_corrupt)?;
    let permit = app.transfers.receive()?;
    let (metrics, renames) = renames::of_request(request.metrics, request.renamed)?;
    let (metrics, denied) = rights.separate(metrics, &renames)?;
    let peer = app.peers.daemon(&request.from, &[Operation::Read], &metrics);
    let peer = peer.map_err(|error| ApiError::forbidden(chain(&error)))?;
    refuse_itself(&app, &peer, renames.are_all_of(&metrics)).await?;
    let wanted = match request.chooses_encoding {
        true => app.links.encoding_from(&request.from),
        false => request.encoding,
    };
    let answered = peer.archive_of_any_length(metrics.clone(), wanted).await;
    let (encoding, stream) = answered.map_err(peer_error)?;
    let on_schema_difference = request.on_schema_difference;
    let (preview, sender) = (request.preview, peer.clock_offset());
    let rules = HealRules { on_corrupt, on_cut, on_schema_difference, preview, sender };
    let (measurement, stream) = Measurement::measured(request.from, encoding, stream);
    let (waiting_client, client_gone) = waiting_client();
    let stream = paced(stream, request.bytes_per_second, client_gone);
    let reader = SyncIoBridge::new(StreamReader::new(stream));
    let expected = Expected::These { metrics, renames, denied, share, measurement };
    let (_, finished) = start(app, permit, rules, encoding, reader, expected);
    Ok(lines::while_sent(answer(finished), waiting_client))
}

/// A metric is never healed from itself: the delete that may follow would remove the only copy. Under another
/// name that is allowed.
async fn refuse_itself(
    app: &App,
    peer: &bucky_api::Daemon,
    all_renamed: bool,
) -> Result<(), ApiError> {
    match peer.status().await.map_err(peer_error)? {
        Some(status) if status.store_id == app.store.id() && !all_renamed => {
            Err(ApiError::bad_request(format!(
                "{} is another address of this same store; a metric cannot be moved to itself",
                peer.addr()
            )))
        }
        Some(_) => Ok(()),
        None => Err(ApiError::new(
            ErrorCode::Peer,
            format!("{} has no /v1/archive to pull from", peer.addr()),
        )
        .hint("it is a daemon of the Go tool; fetch its metrics one by one")),
    }
}

fn peer_error(error: ClientError) -> ApiError {
    let text = chain(&error);
    match error.status() {
        Some(StatusCode::SERVICE_UNAVAILABLE) => {
            ApiError::new(ErrorCode::Busy, text).retry_after(1)
        }
        // It would say the same again.
        Some(StatusCode::FORBIDDEN) => ApiError::forbidden(text).hint(
            "both daemons need the same secret, in -auth-jwt-secret-file, and clocks that agree",
        ),
        _ => ApiError::new(ErrorCode::Peer, text),
    }
}
