//! `GET /v1/sample`: the metrics whose names have the smallest hashes.

use std::collections::BinaryHeap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use bucky_api::{SAMPLE_LIMIT, SampleLine, paths, sample_hash};
use bucky_placement::Key;
use bucky_whisper::MetricName;
use serde::Deserialize;

use super::metrics;
use crate::app::{App, View};
use crate::blocking::BodyWriter;
use crate::http::lines;
use crate::http::query::{self, Switch};
use crate::http::respond::ApiError;
use crate::inventory::{List, Span};

/// How many metrics are sampled if the request does not say.
const DEFAULT_COUNT: u64 = 20_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleQuery {
    count: Option<u64>,
    #[serde(default)]
    fresh: Switch,
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query: SampleQuery = query::parse(query.as_deref())?;
    let count = query.count.unwrap_or(DEFAULT_COUNT);
    let count = usize::try_from(count).ok().filter(|_| (1..=SAMPLE_LIMIT).contains(&count));
    let Some(count) = count else {
        return Err(ApiError::bad_request(format!("count must be from 1 to {SAMPLE_LIMIT}")));
    };
    let list = metrics::list(&app, query.fresh).await?;
    let permit = app.transfers.answer().await?;
    Ok(lines::stream(permit, paths::NDJSON, move |writer| {
        write(&app.seen_from(&app.node), &list, count, writer)
    }))
}

/// Writes the sample in the order of the hashes.
fn write(view: &View<'_>, list: &List, count: usize, writer: &mut BodyWriter) -> io::Result<()> {
    let is_placeable = |name: &str| MetricName::parse(name).is_ok() && view.key(name).is_some();
    for (_, name) in smallest(list, count, is_placeable) {
        let series = match view.key(&name) {
            Some(Key::Hashed(series)) => Some(series.as_str().to_owned()),
            Some(Key::Name(_)) | None => None,
        };
        let Ok(metric) = MetricName::parse(&name) else { continue };
        lines::write_line(writer, &SampleLine { metric, series })?;
    }
    Ok(())
}

/// The `count` names with the smallest hashes of those that are `wanted`, ascending. Holds that many names and
/// no more.
fn smallest(list: &List, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<(u64, Box<str>)> {
    let mut found: BinaryHeap<(u64, Box<str>)> = BinaryHeap::new();
    let _ = list.walk(Span::default(), |name| {
        let hash = sample_hash(name);
        let is_full = found.len() >= count;
        let is_larger = found.peek().is_some_and(|(largest, _)| hash >= *largest);
        if !(is_full && is_larger) && wanted(name) {
            if is_full {
                found.pop();
            }
            found.push((hash, name.into()));
        }
        ControlFlow::<()>::Continue(())
    });
    found.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::ListBuilder;

    #[test]
    fn the_sample_is_what_sorting_all_wanted_names_by_hash_begins_with() {
        let names: Vec<String> = (0..500).map(|number| format!("app.m{number:03}")).collect();
        let mut builder = ListBuilder::new();
        names.iter().for_each(|name| builder.push(name).unwrap());
        let list = builder.finish().unwrap();
        let wanted = |name: &str| !name.ends_with('7');
        let mut expected: Vec<(u64, Box<str>)> = names
            .iter()
            .filter(|name| wanted(name))
            .map(|name| (sample_hash(name), name.as_str().into()))
            .collect();
        expected.sort();
        for count in [1, 20, 449, 450, 1_000] {
            let sample = smallest(&list, count, wanted);
            assert_eq!(sample, expected[..count.min(450)], "{count}");
        }
    }
}
