//! Fetching: whisper.py reads from our files what we read from its files.

use std::fs;

use bucky_whisper::{FetchError, OpenMode, WhisperFile};
use serde_json::{Value, json};

use crate::layouts::{LAYOUTS, ODD_LAYOUTS, UNORDERED_LAYOUTS, any_content};
use crate::python::{LOCK_LIMIT, Operations, to_bits};
use crate::random::{Random, SEEDS};

const NOW: u32 = 1_700_000_000;

#[test]
fn any_file_reads_as_it_does_in_whisper() {
    let folder = tempfile::tempdir().unwrap();
    let mut operations = Operations::default();
    let mut ours = Vec::new();
    for seed in SEEDS {
        let mut random = Random::new(seed);
        let creatable =
            LAYOUTS.iter().map(|layout| layout.iter().map(|(s, p)| (0, *s, *p)).collect());
        let odd = ODD_LAYOUTS.iter().chain(&UNORDERED_LAYOUTS).map(|layout| layout.to_vec());
        for (number, layout) in creatable.chain(odd).enumerate() {
            let layout: Vec<(u32, u32, u32)> = layout;
            let path = folder.path().join(format!("{seed}-{number}"));
            fs::write(&path, any_content(&mut random, &layout, NOW)).unwrap();
            let file = WhisperFile::open(&path, OpenMode::Read, LOCK_LIMIT).unwrap();
            for _ in 0..40 {
                let (from, until, now) = any_span(&mut random, &layout);
                operations.add(&json!({"op": "fetch", "path": path, "start": from, "until": until, "now": now}));
                ours.push((
                    format!("{layout:?} {from}..{until} at {now}"),
                    as_json(&file, from, until, now),
                ));
            }
        }
    }
    let mut found = 0;
    for ((what, ours), theirs) in ours.into_iter().zip(operations.run()) {
        assert_eq!(ours, theirs, "{what}");
        let values = theirs["fetched"]["values"].as_array().map(Vec::as_slice).unwrap_or_default();
        found += values.iter().filter(|value| !value.is_null()).count();
    }
    assert!(found > 1_000, "points were there to be read: {found}");
}

/// Spans inside, across and beyond the retention, empty spans, and spans that end before they begin.
fn any_span(random: &mut Random, layout: &[(u32, u32, u32)]) -> (u32, u32, u32) {
    let edges: Vec<u32> = layout.iter().map(|(_, step, points)| step * points).collect();
    let reach = edges.iter().copied().max().unwrap();
    let now = NOW + random.below(reach);
    let edge = random.pick(&edges);
    let from = match random.below(8) {
        0 => now - edge,
        1 => now - edge - 1,
        2 => now - edge + 1,
        3 => 0,
        4 => now + random.below(3),
        _ => now - random.below(2 * reach),
    };
    let until = match random.below(6) {
        0 => from,
        1 => now,
        2 => now + 1_000,
        3 => from.saturating_sub(random.below(3)),
        _ => from + random.below(reach),
    };
    (from, until, now)
}

fn as_json(file: &WhisperFile, from: u32, until: u32, now: u32) -> Value {
    match file.fetch(from, until, now) {
        Ok(None) => json!({"fetched": null}),
        Ok(Some(fetched)) => {
            let values: Vec<Value> =
                fetched.values.iter().map(|value| value.map_or(Value::Null, to_bits)).collect();
            json!({"fetched": {
                "from": fetched.from, "until": fetched.until, "step": fetched.seconds_per_point, "values": values,
            }})
        }
        Err(FetchError::FromAfterUntil { .. }) => json!({"error": "InvalidTimeInterval"}),
        Err(error) => panic!("{error}"),
    }
}
