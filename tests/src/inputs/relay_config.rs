//! Configuration files of relays: what is given out as a ring can be written and read back, and nothing makes
//! the readers panic or work without end.

use bucky_relay_config::{
    Choice, FoundRing, OtherFiles, Program, Selector, SourceFile, Wanted, read,
};
use bucky_ring::{Node, Ring, RingDocument};

/// The programs in the order of the first byte; the last is found by the content.
const PROGRAMS: [Option<Program>; 8] = [
    Some(Program::Carbon),
    Some(Program::CarbonCRelay),
    Some(Program::CarbonRelayNg),
    Some(Program::Carbonate),
    Some(Program::GraphiteWeb),
    Some(Program::Buckyd),
    Some(Program::RingDocument),
    None,
];

/// Every file that is asked for is the one that is read, so files that include themselves are tried too.
struct Itself(SourceFile);

impl OtherFiles for Itself {
    fn include(&mut self, _pattern: &str) -> Result<Vec<SourceFile>, String> {
        Ok(vec![self.0.clone()])
    }

    fn beside(&mut self, _name: &str) -> Result<Option<SourceFile>, String> {
        Ok(Some(self.0.clone()))
    }
}

pub(super) fn check(mut bytes: &[u8]) {
    let program = PROGRAMS[usize::from(super::first(&mut bytes)) % PROGRAMS.len()];
    let file = SourceFile::new("file", &String::from_utf8_lossy(bytes));
    let mut others = Itself(file.clone());
    let Ok(configuration) = read(&file, program, &mut others) else { return };
    assert!(!configuration.choices.is_empty(), "a file without anything was read");
    for line in configuration.listed() {
        assert!(!line.is_empty());
    }
    let lines = file.text.lines().count() + 1;
    for Choice { name, ring } in &configuration.choices {
        let ring = match ring {
            Ok(ring) => ring,
            Err(refusal) => {
                assert!((1..=lines).contains(&refusal.place.line), "{name}: {refusal}");
                continue;
            }
        };
        check_ring(name, ring);
    }
    // All rings at once, with the rules that lead to them.
    let rings = configuration.choices.iter().filter(|choice| choice.ring.is_ok());
    let names: Vec<String> = rings.map(|choice| choice.name.clone()).collect();
    if configuration.selector == Some(Selector::Cluster)
        && names.len() > 1
        && let Ok((name, ring)) = configuration.choose(Some(&Wanted::of(Selector::Cluster, &names)))
    {
        check_ring(&name, &ring);
    }
}

fn check_ring(name: &str, ring: &FoundRing) {
    assert_eq!(ring.spec.nodes.len(), ring.origins.nodes.len(), "{name}");
    assert!(!ring.spec.nodes.is_empty() && ring.spec.replication_factor > 0, "{name}");
    for node in &ring.spec.nodes {
        assert_eq!(node.to_string().parse::<Node>().as_ref(), Ok(node), "{name}");
    }
    let document = RingDocument::from_spec("", &ring.spec).to_json();
    let read = RingDocument::from_json(document.as_bytes()).unwrap().to_spec().unwrap();
    assert_eq!(read, ring.spec, "{name}");
    if ring.spec.routes.is_none() {
        return;
    }
    if let Ok(built) = Ring::new(read) {
        for metric in ["", "a", "stats.web01.cpu", "\u{e9}.\u{10ffff}", "a;b=c"] {
            let owners: Vec<usize> = built.owners(metric).collect();
            assert!(owners.iter().all(|owner| *owner < built.nodes().len()), "{name}: {metric}");
        }
    }
}
