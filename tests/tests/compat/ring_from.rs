//! `bucky ring from` over the corpus of configuration files, as an operator types it. `relay-config/tests`
//! checks the same files through the library, in more detail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bucky_tests::{Finished, Running};
use serde_json::Value;

use crate::PROGRAMS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("relay-config/tests/corpus")
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The folders of all cases.
fn cases() -> Vec<PathBuf> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let mut cases: Vec<PathBuf> =
        folders(&corpus()).iter().flat_map(|path| folders(path)).collect();
    cases.sort();
    assert_eq!(cases.len(), 84);
    cases
}

/// Runs `bucky` in the folder of a case, where its relay was started.
fn bucky(case: &Path, args: &[&str]) -> Finished {
    let mut command = Command::new(PROGRAMS.bucky);
    command.current_dir(case).args(args);
    Running::start(command).finish()
}

fn choice(select: &Value) -> Vec<String> {
    match select.as_object().and_then(|select| select.iter().next()) {
        Some((flag, name)) => vec![format!("--{flag}"), name.as_str().unwrap().to_owned()],
        None => Vec::new(),
    }
}

fn ring_from(case: &Path, file: &str, select: &Value) -> Finished {
    let choice = choice(select);
    let mut args = vec!["ring", "from", file];
    args.extend(choice.iter().map(String::as_str));
    bucky(case, &args)
}

#[test]
fn every_file_gives_its_ring_or_its_refusal_with_line_and_reason() {
    let (mut rings, mut refusals) = (0, 0);
    for case in cases() {
        let expected = json(&case.join("expected.json"));
        let file = expected["file"].as_str().unwrap();
        for result in expected["results"].as_array().unwrap() {
            let finished = ring_from(&case, file, &result["select"]);
            if result["refused"].is_string() {
                assert_refused(finished, result, file);
                refusals += 1;
            } else if let Some(need) = unmet_need(result, &finished) {
                finished.assert_code(1).assert_stdout("").assert_stderr_has(&need);
            } else {
                let mut finished = finished.assert_code(0);
                assert_ring(&finished, &result["ring"]);
                for warn in result["warn"].as_array().into_iter().flatten() {
                    finished = finished.assert_stderr_has(&format!("[{}]", warn.as_str().unwrap()));
                }
                rings += 1;
            }
        }
    }
    assert!(rings >= 47 && refusals == 54, "{rings} rings, {refusals} refusals");
}

/// What a ring needs, if the program says that it cannot have it.
fn unmet_need(result: &Value, finished: &Finished) -> Option<String> {
    let need = result["needs"].as_array()?.first()?;
    let text = format!(":{}:", need["line"]);
    let kind = format!("[{}]", need["what"].as_str()?);
    finished.stderr.contains(&kind).then(|| {
        assert!(finished.stderr.contains(&text), "{finished}");
        kind
    })
}

fn assert_refused(finished: Finished, result: &Value, file: &str) {
    let either = |one: &str, others: &str| -> Vec<Value> {
        let others = result[others].as_array().cloned().unwrap_or_default();
        std::iter::once(result[one].clone())
            .chain(others)
            .filter(|value| !value.is_null())
            .collect()
    };
    let finished = finished.assert_code(1).assert_stdout("");
    let kinds = either("refused", "or_refused");
    let has_kind =
        |kind: &Value| finished.stderr.contains(&format!("[{}]", kind.as_str().unwrap()));
    assert!(kinds.iter().any(has_kind), "{kinds:?}: {finished}");
    let file = result["in"].as_str().unwrap_or(file);
    let mut lines = either("line", "line_also");
    lines.extend(either("peer_line", "none"));
    let has_line = |line: &Value| finished.stderr.contains(&format!("{file}:{line}:"));
    assert!(lines.iter().any(has_line), "{file} {lines:?}: {finished}");
}

fn assert_ring(finished: &Finished, due: &Value) {
    let found: Value = serde_json::from_str(&finished.stdout).unwrap();
    for (key, value) in due.as_object().unwrap() {
        assert_eq!(found[key], *value, "{key}: {finished}");
    }
}

/// The nodes of a ring document: as the placements name them, and as `bucky` does.
fn nodes(document: &str) -> BTreeMap<String, String> {
    let document: Value = serde_json::from_str(document).unwrap();
    let node = |node: &Value| {
        let (server, instance) =
            (node["Server"].as_str().unwrap(), node["Instance"].as_str().unwrap());
        let port = node["Port"].as_u64().unwrap();
        let host = if server.contains(':') { format!("[{server}]") } else { server.to_owned() };
        let port_text = if port == 0 { String::new() } else { format!(":{port}") };
        let instance_text =
            if instance.is_empty() { String::new() } else { format!("={instance}") };
        (format!("{server}:{port}:{instance}"), format!("{host}{port_text}{instance_text}"))
    };
    document["Nodes"].as_array().unwrap().iter().map(node).collect()
}

/// Tagged names and names that are rewritten are left to the library's test.
#[test]
fn the_rings_place_names_where_the_relays_place_them() {
    let mut placed = 0;
    for case in cases().iter().filter(|case| case.join("placements.json").exists()) {
        let expected = json(&case.join("expected.json"));
        for set in json(&case.join("placements.json"))["sets"].as_array().unwrap() {
            let ring = ring_from(case, expected["file"].as_str().unwrap(), &set["select"]);
            if ring.code != Some(0) {
                assert!(ring.stderr.contains("[route-using]"), "{ring}");
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ring.json");
            std::fs::write(&path, &ring.stdout).unwrap();
            let nodes = nodes(&ring.stdout);
            let owners = set["owners"].as_object().unwrap();
            let names = owners.keys().filter(|name| set["stored_as"].get(name.as_str()).is_none());
            let names: Vec<&str> = names.map(String::as_str).collect();
            let mut args = vec!["locate", "--ring", path.to_str().unwrap(), "-j", "-a", "--"];
            args.extend(&names);
            let located = bucky(case, &args);
            let found: Value = serde_json::from_str(&located.stdout).unwrap();
            for name in names {
                let texts = |owners: &Value| -> Vec<String> {
                    let owners = owners.as_array().unwrap().iter();
                    owners.map(|owner| owner.as_str().unwrap().to_owned()).collect()
                };
                let mut found = texts(&found[name]);
                let mut due: Vec<String> =
                    texts(&owners[name]).iter().map(|owner| nodes[owner].clone()).collect();
                if set["ordered"] == false {
                    due.sort();
                    found.sort();
                }
                assert_eq!(found, due, "{}: {name}", case.display());
                placed += 1;
            }
        }
    }
    assert!(placed > 1800, "{placed} names");
}
