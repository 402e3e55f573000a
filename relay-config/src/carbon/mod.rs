//! `carbon.conf`: the rings of its relays and aggregators.
//!
//! Facts: carbon 1.1.10 `conf.py` (`read_config`, `Settings.readFrom`), `routers.py`, `util.py`, and CPython's
//! `configparser`.

pub(crate) mod destinations;
pub(crate) mod ini;
mod interpolation;
pub(crate) mod python;
pub(crate) mod settings;
mod spelling;

use std::collections::HashSet;

use self::ini::{Ini, Section};
use self::settings::{Role, Settings};
use crate::{
    Choice, Configuration, OtherFiles, Program, Refusal, RefusalKind, Selector, SourceFile,
};

/// The instance that a program has if it is started without `--instance`.
const DEFAULT_INSTANCE: &str = "a";

pub(crate) fn read(
    file: &SourceFile,
    files: &mut dyn OtherFiles,
) -> Result<Configuration, Refusal> {
    let ini = Ini::parse(file)?;
    let mut choices = Vec::new();
    for (name, role) in [("relay", Role::Relay), ("aggregator", Role::Aggregator)] {
        for instance in instances(&ini, name) {
            choices.push(choice(&ini, name, role, instance, files));
        }
    }
    if choices.is_empty() {
        return Err(Refusal {
            kind: RefusalKind::NoRing,
            place: file.place(0),
            message: "neither [relay] nor [aggregator] is here, and only they have a ring"
                .to_owned(),
        });
    }
    Ok(Configuration {
        program: Program::Carbon,
        selector: Some(Selector::Section),
        choices,
        routing: None,
    })
}

/// The instances of the program `name` that the file configures: `None` stands for the default one.
fn instances<'i>(ini: &'i Ini<'_>, name: &str) -> Vec<Option<&'i str>> {
    let mut instances = Vec::new();
    let mut known = HashSet::new();
    for section in ini.sections() {
        let instance = match section.name.strip_prefix(name) {
            Some("") => None,
            Some(rest) => match rest.strip_prefix(':') {
                Some(DEFAULT_INSTANCE) => None,
                Some(instance) => Some(instance),
                None => continue,
            },
            None => continue,
        };
        if known.insert(instance) {
            instances.push(instance);
        }
    }
    // The default one is first, wherever the file has it.
    instances.sort_by_key(Option::is_some);
    instances
}

fn choice(
    ini: &Ini<'_>,
    name: &str,
    role: Role,
    instance: Option<&str>,
    files: &mut dyn OtherFiles,
) -> Choice {
    let over = format!("{name}:{}", instance.unwrap_or(DEFAULT_INSTANCE));
    let sections: Vec<&Section> =
        [name, over.as_str()].iter().filter_map(|section| ini.section(section)).collect();
    let ring = Settings::read(ini, &sections).and_then(|settings| settings.ring(role, files));
    Choice { name: instance.map_or_else(|| name.to_owned(), |_| over), ring }
}
