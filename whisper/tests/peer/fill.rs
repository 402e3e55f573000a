//! Two halves of a series, each written by whisper.py, filled by us, read by whisper.py.
//!
//! The series lies completely inside the finest archive's window and fills whole slots of the coarsest
//! archive. By the rules, the result must read like a file that received every point directly: all points,
//! and all roll-ups.

use std::path::Path;

use bucky_whisper::{Aggregation, AggregationSix, Clocks, FillOptions, Image, fill};
use serde_json::{Value, json};

use crate::python::{Operations, from_bits, to_bits, to_hex};

/// Seconds per point and points of the archives.
const RETENTIONS: [(u32, u32); 3] = [(10, 60), (30, 40), (90, 40)];
const SPAN: u32 = 90;
/// The time of the first point, and the number of points.
const START: u32 = SPAN * 18_888_889;
const POINTS: u32 = 5 * SPAN / 10;
/// The last second of the last point.
const NOW: u32 = START + 10 * POINTS - 1;

#[derive(Clone, Copy, Debug)]
enum Writing {
    /// Each point at its own time, as carbon usually writes.
    OneByOne,
    /// All points at once, as carbon writes after its cache has grown.
    Many,
}

struct Case {
    label: String,
    /// The files with the points at even positions, at odd positions, and with all points.
    paths: [String; 3],
    /// The numbers of the answers that have the content of those files.
    contents: [usize; 3],
}

#[test]
fn two_halves_of_a_series_filled_by_us_read_like_the_whole_for_whisper() {
    let folder = tempfile::tempdir().unwrap();
    let (cases, answers) = write_halves(folder.path());
    let mut reading = Operations::default();
    let mut pairs = Vec::new();
    for case in &cases {
        let [even, odd, _] = case.contents.map(|number| content(&answers[number]));
        for (source, destination, path) in
            [(&even, &odd, &case.paths[1]), (&odd, &even, &case.paths[0])]
        {
            let filled = format!("{path}-filled");
            let bytes = fill_bytes(source, destination, &case.label);
            reading.add(&json!({"op": "write", "path": filled, "digits": to_hex(&bytes)}));
            pairs.push((
                &case.label,
                fetches(&mut reading, &filled),
                fetches(&mut reading, &case.paths[2]),
            ));
        }
    }

    let answers = reading.run();
    for (label, filled, whole) in pairs {
        assert_eq!(
            known_values(&answers[filled[0]]),
            POINTS as usize,
            "{label}: a point is missing"
        );
        for (filled, whole) in filled.into_iter().zip(whole) {
            assert!(known_values(&answers[whole]) > 0, "{label}: nothing to compare");
            assert_eq!(answers[filled], answers[whole], "{label}");
        }
    }
}

fn write_halves(folder: &Path) -> (Vec<Case>, Vec<Value>) {
    let mut writing = Operations::default();
    let mut cases = Vec::new();
    for aggregation in Aggregation::ALL {
        for x_files_factor in [0.0, 0.5, 1.0] {
            for way in [Writing::OneByOne, Writing::Many] {
                let label = format!("{aggregation}, x-files factor {x_files_factor}, {way:?}");
                let path = |name| {
                    let name = format!("{aggregation}-{x_files_factor}-{way:?}-{name}");
                    folder.join(name).to_string_lossy().into_owned()
                };
                let paths = ["even", "odd", "whole"].map(path);
                let keep: [fn(u32) -> bool; 3] = [|n| n % 2 == 0, |n| n % 2 == 1, |_| true];
                let mut contents = [0; 3];
                for ((path, keep), content) in paths.iter().zip(keep).zip(&mut contents) {
                    writing.add(&json!({
                        "op": "create", "path": path, "retentions": RETENTIONS,
                        "x_files_factor": x_files_factor, "aggregation": aggregation.name(),
                        "layout": "dense",
                    }));
                    *content = write_points(&mut writing, path, way, keep);
                }
                cases.push(Case { label, paths, contents });
            }
        }
    }
    let answers = writing.run();
    (cases, answers)
}

/// Writes the points at those positions of the series for which `keep` returns true.
fn write_points(
    writing: &mut Operations,
    path: &str,
    way: Writing,
    keep: fn(u32) -> bool,
) -> usize {
    let points = (0..POINTS).filter(|n| keep(*n)).map(|n| (START + 10 * n, to_bits(value(n))));
    match way {
        Writing::Many => {
            let points: Vec<(u32, Value)> = points.collect();
            writing.add(&json!({"op": "update_many", "path": path, "points": points, "now": NOW}))
        }
        Writing::OneByOne => {
            let operations: Vec<usize> = points
                .map(|(t, value)| {
                    let operation =
                        json!({"op": "update", "path": path, "timestamp": t, "value": value, "now": t});
                    writing.add(&operation)
                })
                .collect();
            *operations.last().unwrap()
        }
    }
}

/// Values of both signs that reveal differences in rounding; every eleventh is zero.
fn value(n: u32) -> f64 {
    (f64::from(n * 7 % 11) - 5.0) * 0.37
}

fn content(answer: &Value) -> Vec<u8> {
    let digits = answer["bytes"].as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn fill_bytes(source: &[u8], destination: &[u8], label: &str) -> Vec<u8> {
    let options = FillOptions { clocks: Clocks::at(NOW), aggregation_six: AggregationSix::AvgZero };
    let images = (Image::parse(source).unwrap(), Image::parse(destination).unwrap());
    let plan = fill(&images.0, &images.1, options);
    let finest = plan.archives()[0];
    let missing = u64::from(POINTS) - images.1.archive(0).unwrap().points_valid(NOW).count() as u64;
    assert_eq!((finest.archive, finest.points_filled), (0, missing), "{label}");
    let mut bytes = destination.to_vec();
    plan.apply(&mut bytes);
    bytes
}

/// Reads the whole window of each archive; whisper.py chooses the archive by how far back a fetch reaches.
fn fetches(reading: &mut Operations, path: &str) -> [usize; 3] {
    RETENTIONS.map(|(step, points)| {
        let from = NOW - step * points;
        reading.add(&json!({"op": "fetch", "path": path, "start": from, "until": NOW, "now": NOW}))
    })
}

fn known_values(answer: &Value) -> usize {
    let values = answer["fetched"]["values"].as_array().unwrap();
    values.iter().filter(|value| from_bits(value).is_some()).count()
}
