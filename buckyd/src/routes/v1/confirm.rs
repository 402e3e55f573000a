//! `POST /v1/confirm`: whether a file here holds all points of another one. The request has only a digest and
//! maps of that.
//!
//! What was read is durable before the answer ends, because a source may be deleted for it. Nothing counts as
//! complete because of a sample, or because the request asks for nothing.

use std::io;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bucky_api::token::Operation;
use bucky_api::{
    ArchivePoints, ConfirmLine, ConfirmMetric, ConfirmOutcome, ConfirmRequest, ErrorCode, chain,
    paths,
};
use bucky_whisper::{Clocks, Coverage, Image, ImageError, PointMap};

use super::json::JsonBody;
use crate::app::App;
use crate::auth::Caller;
use crate::blocking::blocking;
use crate::clock::SenderTime;
use crate::http::lines;
use crate::http::respond::ApiError;
use crate::store::{FileReader, HealRules, StoreError, Volumes};

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    SenderTime(sender): SenderTime,
    JsonBody { value: request, permit, share }: JsonBody<ConfirmRequest>,
) -> Result<Response, ApiError> {
    // Files below a disk that was mounted after the start are in no list, and confirm nothing.
    let store = Arc::clone(&app.store);
    let checked = blocking(move || store.check()).await;
    checked.map_err(|error| ApiError::new(ErrorCode::Internal, error))??;
    Ok(lines::stream(permit, paths::NDJSON, move |writer| {
        let _share = share;
        let mut files = FileReader::new(&app.store);
        let rules = HealRules { sender, ..HealRules::default() };
        request.metrics.iter().try_for_each(|metric| -> io::Result<()> {
            lines::write_line(writer, &check(&app.store, &mut files, &caller, &rules, metric))
        })?;
        // A client does not trust an answer that ends early.
        app.store.sync_read().map_err(io::Error::other)
    }))
}

fn check(
    store: &Volumes,
    files: &mut FileReader<'_>,
    caller: &Caller,
    rules: &HealRules,
    metric: &ConfirmMetric,
) -> ConfirmLine {
    let answer = |outcome, reason: String| ConfirmLine {
        metric: metric.name.clone(),
        outcome,
        points_missing: 0,
        reason,
    };
    if let Err(denied) = caller.may(Operation::Read, &metric.name) {
        return answer(ConfirmOutcome::Unreadable, denied.to_string());
    }
    let file = match files.read(&metric.name) {
        Ok(file) => file,
        Err(StoreError::Missing { .. }) => return answer(ConfirmOutcome::Missing, String::new()),
        // A long file is compared as a whole. If its content differs, it must be healed from, which counts
        // its points.
        Err(StoreError::TooLarge { .. }) => {
            return match store.digest_of(&metric.name) {
                Ok(digest) if metric.digest == Some(digest) => {
                    answer(ConfirmOutcome::Complete, String::new())
                }
                Ok(_) => answer(ConfirmOutcome::Incomplete, String::new()),
                Err(error) => answer(ConfirmOutcome::Unreadable, chain(&error)),
            };
        }
        Err(error) => return answer(ConfirmOutcome::Unreadable, chain(&error)),
    };
    let line = if metric.digest.is_some_and(|digest| digest == file.digest()) {
        answer(ConfirmOutcome::Complete, String::new())
    } else {
        match (missing(metric, &file.content, rules), Image::parse(&file.content)) {
            (_, Err(error @ ImageError::Header(_))) => {
                answer(ConfirmOutcome::Unreadable, chain(&error))
            }
            (Some(0), _) => answer(ConfirmOutcome::Complete, String::new()),
            (points, _) => ConfirmLine {
                points_missing: points.unwrap_or_default(),
                ..answer(ConfirmOutcome::Incomplete, String::new())
            },
        }
    };
    files.give_back(file);
    line
}

/// How many of the requested points prevent a delete. `None` if the request names nothing that could be
/// looked up in `content`.
fn missing(metric: &ConfirmMetric, content: &[u8], rules: &HealRules) -> Option<u64> {
    let archives = metric.archives.as_ref().filter(|archives| !archives.is_empty())?;
    let maps: Option<Vec<PointMap>> = archives.iter().map(ArchivePoints::to_map).collect();
    let now = rules.clocks();
    let earliest = metric.as_of.map_or(now.earliest, |as_of| now.earliest.min(as_of));
    let clocks = Clocks { earliest, ..now };
    let coverage = Coverage::of_maps(&maps?, &Image::parse(content).ok()?, clocks);
    if metric.on_schema_difference.accepts_at_most(&coverage, metric.points_given_up) {
        return Some(0);
    }
    Some(coverage.missing() + coverage.without_place() + coverage.displaced())
}
