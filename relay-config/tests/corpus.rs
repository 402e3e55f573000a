//! Configuration files, with the rings or refusals that their own programs give (`corpus/README.md`).

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};

use bucky_relay_config::{Choice, Configuration, OtherFiles, Program, Refusal, SourceFile, read};
use bucky_ring::{Ring, RingDocument, RingSpec, Shortfall};
use serde_json::Value;

/// The files of one case. Includes start at its folder.
struct Folder(PathBuf);

impl Folder {
    fn source(&self, path: &Path) -> Result<SourceFile, String> {
        let name = path.strip_prefix(&self.0).unwrap_or(path).display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        Ok(SourceFile::new(&name, &text))
    }
}

impl OtherFiles for Folder {
    fn include(&mut self, pattern: &str) -> Result<Vec<SourceFile>, String> {
        let (folder, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
        let folder = self.0.join(folder);
        let (start, end) = name.split_once('*').unwrap_or((name, ""));
        let matches = |found: &str| {
            if name.contains('*') {
                found.starts_with(start) && found.ends_with(end)
            } else {
                found == name
            }
        };
        let entries = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| matches(path.file_name().unwrap().to_str().unwrap()))
            .collect();
        paths.sort();
        if paths.is_empty() {
            return Err("no such file".to_owned());
        }
        paths.iter().map(|path| self.source(path)).collect()
    }

    fn beside(&mut self, name: &str) -> Result<Option<SourceFile>, String> {
        let path = self.0.join(name);
        path.exists().then(|| self.source(&path)).transpose()
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Checks every case of `program`; the findings of all of them are shown together.
fn check(folder: &str, program: Program) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    let mut wrong = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        wrong.extend(check_case(&case, program).into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check_case(case: &Path, program: Program) -> Vec<String> {
    let expected = json(&case.join("expected.json"));
    let mut files = Folder(case.to_owned());
    let file = files.source(&case.join(expected["file"].as_str().unwrap())).unwrap();
    let known = read(&file, Some(program), &mut files);
    let mut wrong = Vec::new();
    let detected = read(&file, None, &mut files);
    if format!("{known:?}") != format!("{detected:?}") {
        wrong.push(format!("with the program left out: {detected:?}"));
    }
    for result in expected["results"].as_array().unwrap() {
        wrong.extend(check_result(result, &known));
    }
    let placements = case.join("placements.json");
    if placements.exists() {
        for set in json(&placements)["sets"].as_array().unwrap() {
            wrong.extend(check_placements(set, &known));
        }
    }
    wrong
}

/// The choice that `select` names.
fn choice<'c>(select: &Value, read: &'c Configuration) -> Option<&'c Choice> {
    let (flag, name) = select.as_object()?.iter().next()?;
    let flag = format!("--{flag}");
    if read.selector.map(|selector| selector.flag()) != Some(flag.as_str()) {
        return None;
    }
    read.choices.iter().find(|choice| choice.name == name.as_str().unwrap())
}

fn check_result(result: &Value, read: &Result<Configuration, Refusal>) -> Vec<String> {
    let select = &result["select"];
    let ring = match read {
        Err(refusal) => Err(refusal),
        Ok(_) if select.is_null() => return vec![format!("read, where all is refused: {result}")],
        Ok(read) => match choice(select, read) {
            Some(choice) => choice.ring.as_ref(),
            None => return vec![format!("no choice {select}")],
        },
    };
    if result["refused"].is_string() {
        return match ring {
            Err(refusal) => check_refusal(result, refusal),
            Ok(ring) => {
                vec![format!("{select}: a ring where {} is due: {ring:?}", result["refused"])]
            }
        };
    }
    let ring = match ring {
        Ok(ring) => ring,
        Err(refusal) => return vec![format!("{select}: refused: {refusal}")],
    };
    let mut wrong = Vec::new();
    let document = RingDocument::from_json(result["ring"].to_string().as_bytes()).unwrap();
    let found = RingDocument::from_spec("", &ring.spec);
    let same = (
        &found.nodes,
        &found.algo,
        found.replicas,
        &found.relay,
        found.diverse,
        &found.tagged_names,
    ) == (
        &document.nodes,
        &document.algo,
        document.replicas,
        &document.relay,
        document.diverse,
        &document.tagged_names,
    );
    if !same {
        wrong.push(format!("{select}: {} instead of {}", found.to_json(), document.to_json()));
    }
    for warn in result["warn"].as_array().into_iter().flatten() {
        if !ring.warnings.iter().any(|warning| warn == warning.kind.name()) {
            wrong.push(format!("{select}: no warning {warn}: {:?}", ring.warnings));
        }
    }
    for need in result["needs"].as_array().into_iter().flatten() {
        let found = ring.needs.iter().any(|found| {
            need["what"] == found.kind.name() && need["line"] == found.place.line as u64
        });
        let is_met = match need["what"].as_str() {
            Some("aggregation-rules") => ring.spec.aggregation.is_some(),
            Some("route-using") => ring.spec.routes.is_some(),
            _ => false,
        };
        if !found && !is_met {
            wrong.push(format!("{select}: no need {need}: {:?}", ring.needs));
        }
    }
    if ring.spec.nodes.len() != ring.origins.nodes.len() {
        wrong.push(format!("{select}: not as many origins as nodes"));
    }
    if result["unbuildable"].is_string() == Ring::new(ring.spec.clone()).is_ok() {
        wrong.push(format!("{select}: {:?}", Ring::new(ring.spec.clone()).err()));
    }
    wrong
}

fn check_refusal(result: &Value, refusal: &Refusal) -> Vec<String> {
    let listed = |key: &str, found: &Value| {
        result[key].as_array().is_some_and(|others| others.contains(found)) || result[key] == *found
    };
    let kind = Value::from(refusal.kind.name());
    let line = Value::from(refusal.place.line as u64);
    let mut wrong = Vec::new();
    if !(listed("refused", &kind) || listed("or_refused", &kind)) {
        wrong.push(format!("{} is due: {refusal}", result["refused"]));
    }
    if !(listed("line", &line) || listed("line_also", &line) || listed("peer_line", &line)) {
        wrong.push(format!("line {} is due: {refusal}", result["line"]));
    }
    if let Some(file) = result["in"].as_str()
        && *file != *refusal.place.file
    {
        wrong.push(format!("file {file} is due: {refusal}"));
    }
    wrong
}

fn owner_text(spec: &RingSpec, owner: usize) -> String {
    let node = &spec.nodes[owner];
    format!("{}:{}:{}", node.host(), node.port(), node.instance().unwrap_or_default())
}

fn check_placements(set: &Value, read: &Result<Configuration, Refusal>) -> Vec<String> {
    let Ok(read) = read else { return Vec::new() };
    let Some(Choice { ring: Ok(found), .. }) = choice(&set["select"], read) else {
        return Vec::new();
    };
    if !found.needs.is_empty() {
        return Vec::new();
    }
    let ring = match Ring::with_shortfall(found.spec.clone(), Shortfall::GiveWhatThereIs) {
        Ok(ring) => ring,
        Err(error) => return vec![format!("{}: {error}", set["select"])],
    };
    let stored = |name: &str| match set["stored_as"].get(name) {
        Some(stored) => stored.as_str().unwrap().to_owned(),
        None => name.to_owned(),
    };
    let mut wrong = Vec::new();
    for (name, owners) in set["owners"].as_object().unwrap() {
        let mut found: Vec<String> =
            ring.owners(&stored(name)).map(|owner| owner_text(ring.spec(), owner)).collect();
        let mut due: Vec<String> = owners
            .as_array()
            .unwrap()
            .iter()
            .map(|owner| owner.as_str().unwrap().to_owned())
            .collect();
        if set["ordered"] == false {
            found.sort();
            due.sort();
        }
        if found != due {
            wrong.push(format!("{}: {name}: {found:?} instead of {due:?}", set["select"]));
        }
    }
    wrong
}

#[test]
fn carbon() {
    check("carbon", Program::Carbon);
}

#[test]
fn carbon_c_relay() {
    check("carbon-c-relay", Program::CarbonCRelay);
}

#[test]
fn carbon_relay_ng() {
    check("carbon-relay-ng", Program::CarbonRelayNg);
}

#[test]
fn carbonate() {
    check("carbonate", Program::Carbonate);
}

#[test]
fn graphite_web() {
    check("graphite-web", Program::GraphiteWeb);
}
