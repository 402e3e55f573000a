//! `GET /v1/status`.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use bucky_api::{API_LEVEL, ErrorCode, Status, chain};

use crate::app::App;
use crate::blocking::blocking;
use crate::http::respond::ApiError;

pub(super) async fn get(State(app): State<Arc<App>>) -> Result<Json<Status>, ApiError> {
    let status = blocking(move || -> Result<Status, ApiError> {
        let disk = app.store.room()?;
        let former = app.ring.former();
        Ok(Status {
            node: app.node.clone(),
            store_id: app.store.id().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_level: API_LEVEL,
            ring_fingerprint: app.ring.now().spec().fingerprint(),
            metrics: app.inventory.len(),
            inventory: app.inventory.status(),
            disk,
            volumes: app.store.others_room(),
            tombstones: app.sweeper.status(),
            transfers: app.transfers.status(),
            replaced: app.store.replaced()?,
            former_members: former.members,
            former_ring: former.ring,
            local_prefixes: app.local_prefixes.clone(),
            ring_file: app.ring.status(),
            received: app.transfers.received.status(Instant::now()),
            read_only: app.store.check().err().map(|error| chain(&error)).unwrap_or_default(),
        })
    });
    status.await.map_err(|error| ApiError::new(ErrorCode::Internal, error))?.map(Json)
}
