//! `POST /v1/confirm`: which of some slots are filled here.

use std::io;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bucky_api::token::Operation;
use bucky_api::{
    ConfirmLine, ConfirmMetric, ConfirmOutcome, ConfirmRequest, ErrorCode, chain, paths,
};
use bucky_whisper::{Image, ImageError};

use super::json::JsonBody;
use super::lines;
use crate::app::App;
use crate::auth::Caller;
use crate::blocking::blocking;
use crate::respond::ApiError;
use crate::slots::{self, Verdict};
use crate::store::{FileReader, StoreError, unix_now};

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    JsonBody { value: request, place, share }: JsonBody<ConfirmRequest>,
) -> Result<Response, ApiError> {
    // What lies below a disk that was mounted since the start is in no list, and vouches for nothing.
    let store = Arc::clone(&app.store);
    let checked = blocking(move || store.check()).await;
    checked.map_err(|error| ApiError::new(ErrorCode::Internal, error))??;
    Ok(lines::stream(place, paths::NDJSON, move |writer| {
        let _share = share;
        let mut files = FileReader::new(&app.store);
        request.metrics.iter().try_for_each(|metric| -> io::Result<()> {
            lines::write_line(writer, &look(&mut files, &caller, metric))
        })
    }))
}

fn look(files: &mut FileReader<'_>, caller: &Caller, metric: &ConfirmMetric) -> ConfirmLine {
    let mut line = ConfirmLine {
        metric: metric.name.clone(),
        outcome: ConfirmOutcome::Complete,
        missing: Vec::new(),
        reason: String::new(),
    };
    if let Err(denied) = caller.may(Operation::Read, &metric.name) {
        line.outcome = ConfirmOutcome::Unreadable;
        line.reason = denied.to_string();
        return line;
    }
    let file = match files.read(&metric.name) {
        Ok(file) => file,
        Err(StoreError::Missing { .. }) => {
            line.outcome = ConfirmOutcome::Missing;
            return line;
        }
        Err(error) => {
            line.outcome = ConfirmOutcome::Unreadable;
            line.reason = chain(&error);
            return line;
        }
    };
    match Image::parse(&file.content) {
        _ if metric.digest.is_some() => {
            if metric.digest != Some(file.digest()) {
                line.outcome = ConfirmOutcome::Incomplete;
            }
        }
        Ok(image) => {
            if let Verdict::Lacks(missing) = slots::look(&image, &metric.slots, unix_now()) {
                line.outcome = ConfirmOutcome::Incomplete;
                line.missing = missing;
            }
        }
        // Nothing is asked for: the other file has no point, and here are none to look at.
        Err(ImageError::Compressed) if metric.slots.is_empty() => {}
        Err(error) => {
            line.outcome = ConfirmOutcome::Unreadable;
            line.reason = chain(&error);
        }
    }
    files.give_back(file);
    line
}
