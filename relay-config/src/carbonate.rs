//! `carbonate.conf`: one section for each cluster.
//!
//! Facts: carbonate 1.1.9 `config.py` and `cluster.py`. It reads with `RawConfigParser`, so `%` is a character like
//! any other, and computes with carbon's own router.

use bucky_ring::{Algorithm, Relay, RingSpec, TaggedNames};

use crate::carbon::destinations::{Blanks, Twice, destinations};
use crate::carbon::ini::{Ini, Section};
use crate::carbon::settings::{aggregated, replication_factor};
use crate::{
    Choice, Configuration, FoundRing, Need, Origins, OtherFiles, Program, Refusal, RefusalKind,
    Selector, SourceFile, Warning, WarningKind,
};

pub(crate) fn read(
    file: &SourceFile,
    _files: &mut dyn OtherFiles,
) -> Result<Configuration, Refusal> {
    let ini = Ini::parse(file)?;
    let choice =
        |section: &Section| Choice { name: section.name.clone(), ring: ring(&ini, section) };
    let choices: Vec<Choice> = ini.sections().iter().map(choice).collect();
    if choices.is_empty() {
        return Err(Refusal {
            kind: RefusalKind::NoRing,
            place: file.place(0),
            message: "no [section] is here; carbonate has one for each cluster".to_owned(),
        });
    }
    Ok(Configuration {
        program: Program::Carbonate,
        selector: Some(Selector::Section),
        choices,
        routing: None,
    })
}

fn ring(ini: &Ini<'_>, section: &Section) -> Result<FoundRing, Refusal> {
    let required = |key: &str| {
        ini.get(section, key).ok_or_else(|| Refusal {
            kind: RefusalKind::MissingKey,
            place: ini.place(section.offset),
            message: format!(
                "[{}] has no {}, which carbonate requires",
                section.name,
                key.to_uppercase()
            ),
        })
    };
    let listed = required("destinations")?;
    let copies = required("replication_factor")?;
    let replication_factor = replication_factor(ini, copies)?;
    let (nodes, places) = destinations(ini, listed, Twice::Refused, Blanks::Removed)?;
    let place = |key: &str| ini.get(section, key).map(|value| ini.place(value.key_offset));
    let text = |key: &str| ini.get(section, key).map(|value| value.text.as_str());
    let (mut warnings, mut rules_at) = (Vec::new(), None);
    let mut warn = |kind, key: &str, message: String| {
        warnings.extend(place(key).map(|place| Warning { kind, place, message }));
    };
    match text("relay_method") {
        None | Some("consistent-hashing") => {}
        Some("aggregated-consistent-hashing") => {
            rules_at = place("relay_method");
        }
        Some(other) => warn(
            WarningKind::UnknownKey,
            "relay_method",
            format!(
                "carbonate takes RELAY_METHOD {other:?} for consistent-hashing; does the relay have another ring?"
            ),
        ),
    }
    let diverse = text("diverse_replicas");
    if let Some(text) = diverse.filter(|text| crate::carbon::python::boolean(text) == Some(false)) {
        warn(
            WarningKind::DiverseText,
            "diverse_replicas",
            format!(
                "carbonate takes DIVERSE_REPLICAS = {text} for yes, as any text; only an empty value is no"
            ),
        );
    }
    warnings.extend(rules_at.as_ref().map(aggregated));
    let need = rules_at.map(Need::aggregation_rules);
    Ok(FoundRing {
        spec: RingSpec {
            nodes,
            algorithm: algorithm(ini, section)?,
            relay: Relay::Carbon,
            replication_factor,
            diverse_replicas: diverse.is_none_or(|text| !text.is_empty()),
            tagged_names: TaggedNames::Whole,
            aggregation: None,
            routes: None,
        },
        origins: Origins {
            nodes: places,
            algorithm: place("hashing_type"),
            replication_factor: place("replication_factor"),
            diverse_replicas: place("diverse_replicas"),
        },
        warnings,
        needs: need.into_iter().collect(),
    })
}

fn algorithm(ini: &Ini<'_>, section: &Section) -> Result<Algorithm, Refusal> {
    let Some(value) = ini.get(section, "hashing_type") else { return Ok(Algorithm::Carbon) };
    match value.text.as_str() {
        "carbon_ch" => Ok(Algorithm::Carbon),
        "fnv1a_ch" => Ok(Algorithm::Fnv1a),
        "mmh3_ch" => Ok(Algorithm::Mmh3),
        other => Err(Refusal {
            kind: RefusalKind::UnknownHash,
            place: ini.place(value.key_offset),
            message: format!(
                "HASHING_TYPE is {other:?}, which carbon does not know: it says nothing and hashes as carbon_ch; \
                 write carbon_ch, fnv1a_ch or mmh3_ch"
            ),
        }),
    }
}
