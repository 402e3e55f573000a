//! Which of a file's rings is meant.

use crate::{Choice, Configuration, FoundRing, Program, Refusal, RefusalKind, Selector};

/// The ring that an operator asked for, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The flag that was given.
    pub selector: Selector,
    /// The name of the section, cluster or route.
    pub name: String,
}

impl Wanted {
    /// The ring of a flag that was given once for each of `names`. Several clusters are taken together.
    pub fn of(selector: Selector, names: &[String]) -> Self {
        Self { selector, name: names.join(",") }
    }
}

/// Why no ring of a file is the one that is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// The ring that is meant is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Several rings, and none was chosen.
    #[error("several rings are here; choose one:\n{}", .0.join("\n"))]
    Several(Vec<String>),
    /// No ring of this name.
    #[error("{selector} {name:?} is not here; what is here:\n{}", listed.join("\n"))]
    Unknown {
        /// The flag that was given.
        selector: &'static str,
        /// The name that was given with it.
        name: String,
        /// What could have been chosen, one line each.
        listed: Vec<String>,
    },
    /// A file of this program has other parts.
    #[error("{given} does not fit: this is a file of {program}, {usable}")]
    WrongFlag {
        /// The flag that was given.
        given: &'static str,
        /// The program of the file.
        program: String,
        /// How its rings are chosen.
        usable: String,
    },
    /// The file has nothing that could be a ring.
    #[error("no section, cluster or route of this file has destinations")]
    Nothing,
}

impl Configuration {
    /// The ring that is meant: the one with the name in `wanted`, or, without a name, the only one.
    ///
    /// Clusters and routes that are no hash rings (`forward`, `any_of`, `sendAllMatch`) do not count as
    /// further rings. Sections of carbon always count: whether the relay or the aggregator places the files
    /// is not in the file.
    ///
    /// Several clusters of carbon-c-relay, `old,new`, are taken together with the rules that lead to them.
    ///
    /// # Errors
    /// [`ChoiceError`], with what can be chosen.
    pub fn choose(&self, wanted: Option<&Wanted>) -> Result<(String, FoundRing), ChoiceError> {
        let choice = match wanted {
            Some(wanted) => match self.several(wanted)? {
                Some(together) => return Ok((wanted.name.clone(), together)),
                None => self.named(wanted)?,
            },
            None => self.only()?,
        };
        match &choice.ring {
            Ok(ring) => Ok((choice.name.clone(), ring.clone())),
            Err(refusal) => Err(refusal.clone().into()),
        }
    }

    /// Several clusters of one name, with commas between them, and the rules that lead to them.
    fn several(&self, wanted: &Wanted) -> Result<Option<FoundRing>, ChoiceError> {
        let Some(routing) =
            self.routing.as_ref().filter(|_| self.selector == Some(wanted.selector))
        else {
            return Ok(None);
        };
        let is_one = self.choices.iter().any(|choice| choice.name == wanted.name);
        if is_one || !wanted.name.contains(',') {
            return Ok(None);
        }
        let mut clusters: Vec<(&str, &FoundRing)> = Vec::new();
        for name in wanted.name.split(',').map(str::trim) {
            let one = Wanted { selector: wanted.selector, name: name.to_owned() };
            let choice = self.named(&one)?;
            let ring = choice.ring.as_ref().map_err(|refusal| refusal.clone())?;
            if clusters.iter().all(|(known, _)| *known != choice.name) {
                clusters.push((&choice.name, ring));
            }
        }
        Ok(Some(routing.together(&clusters)?))
    }

    fn named(&self, wanted: &Wanted) -> Result<&Choice, ChoiceError> {
        if self.selector != Some(wanted.selector) {
            return Err(ChoiceError::WrongFlag {
                given: wanted.selector.flag(),
                program: self.program.to_string(),
                usable: self.selector.map_or_else(
                    || "which has one ring".to_owned(),
                    |selector| format!("whose rings are chosen with {}", selector.flag()),
                ),
            });
        }
        // carbon's instance `a` is the one without a name.
        let name = match wanted.name.strip_suffix(":a") {
            Some(name) if self.program == Program::Carbon => name,
            _ => wanted.name.as_str(),
        };
        let named = self.choices.iter().find(|choice| choice.name == name);
        named.ok_or_else(|| ChoiceError::Unknown {
            selector: wanted.selector.flag(),
            name: wanted.name.clone(),
            listed: self.listed(),
        })
    }

    fn only(&self) -> Result<&Choice, ChoiceError> {
        let counts = |choice: &&Choice| {
            let is_ring = !matches!(&choice.ring, Err(why) if why.kind == RefusalKind::NoRing);
            is_ring || self.selector == Some(Selector::Section)
        };
        let mut rings = self.choices.iter().filter(counts);
        match (rings.next(), rings.next(), self.choices.first()) {
            (Some(only), None, _) => Ok(only),
            (Some(_), Some(_), _) => {
                let mut lines = self.listed();
                lines.extend(self.hint_at_several());
                Err(ChoiceError::Several(lines))
            }
            (None, _, Some(no_ring)) => Ok(no_ring),
            (None, _, None) => Err(ChoiceError::Nothing),
        }
    }

    /// That several clusters can be chosen at once, where the file has several rings and rules.
    fn hint_at_several(&self) -> Option<String> {
        self.routing.as_ref()?;
        let rings = self.choices.iter().filter(|choice| choice.ring.is_ok());
        let names: Vec<&str> = rings.map(|choice| choice.name.as_str()).collect();
        let names = (names.len() > 1).then(|| names.join(","))?;
        Some(format!("or several and the rules that lead to them: --cluster {names}"))
    }

    /// What can be chosen, one line each: `  --cluster graphite  carbon_ch, 2 copies, 4 nodes …`.
    pub fn listed(&self) -> Vec<String> {
        let flag = self.selector.map_or("", Selector::flag);
        let width = self.choices.iter().map(|choice| choice.name.chars().count()).max();
        let width = width.unwrap_or_default();
        let line = |choice: &Choice| {
            let what = match &choice.ring {
                Ok(ring) => ring.spec.short_summary(),
                Err(refusal) => {
                    format!("line {}: {} [{}]", refusal.place.line, refusal.message, refusal.kind)
                }
            };
            format!("  {flag} {:width$}  {what}", choice.name)
        };
        self.choices.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Origins, Program, SourceFile};
    use bucky_ring::{Algorithm, Relay, RingSpec, TaggedNames};

    fn ring(name: &str) -> Choice {
        let spec = RingSpec {
            nodes: vec!["a:2003=x".parse().expect("a node")],
            algorithm: Algorithm::Carbon,
            relay: Relay::Carbon,
            replication_factor: 1,
            diverse_replicas: true,
            tagged_names: TaggedNames::Whole,
            aggregation: None,
            routes: None,
        };
        let found = FoundRing {
            spec,
            origins: Origins::default(),
            warnings: Vec::new(),
            needs: Vec::new(),
        };
        Choice { name: name.to_owned(), ring: Ok(found) }
    }

    fn refused(name: &str, kind: RefusalKind) -> Choice {
        let place = SourceFile::new("f", "").place(0);
        let refusal = Refusal { kind, place, message: format!("what is wrong with {name}") };
        Choice { name: name.to_owned(), ring: Err(refusal) }
    }

    fn file(selector: Selector, choices: Vec<Choice>) -> Configuration {
        Configuration { program: Program::Carbon, selector: Some(selector), choices, routing: None }
    }

    fn error(read: &Configuration, wanted: Option<(Selector, &str)>) -> String {
        let wanted = wanted.map(|(selector, name)| Wanted { selector, name: name.to_owned() });
        read.choose(wanted.as_ref()).expect_err("no ring").to_string()
    }

    #[test]
    fn the_only_ring_needs_no_name_and_several_do() {
        let one = file(Selector::Cluster, vec![refused("all", RefusalKind::NoRing), ring("store")]);
        assert_eq!(one.choose(None).expect("a ring").0, "store");
        let two = file(Selector::Cluster, vec![ring("old"), ring("new")]);
        let said = error(&two, None);
        assert!(
            said.starts_with("several rings are here; choose one:\n  --cluster old  carbon_ch, ")
        );
        assert!(said.contains("\n  --cluster new  carbon_ch, 1 copy, 1 node ("), "{said}");
        let wanted = Wanted { selector: Selector::Cluster, name: "new".into() };
        assert_eq!(two.choose(Some(&wanted)).expect("a ring").0, "new");
    }

    /// Of a relay by rules and an aggregator with a ring, the file does not say which places the files.
    #[test]
    fn a_section_without_a_ring_counts() {
        let read = file(
            Selector::Section,
            vec![refused("relay", RefusalKind::NoRing), ring("aggregator")],
        );
        assert!(error(&read, None).starts_with("several rings are here"));
    }

    #[test]
    fn a_ring_that_is_refused_is_not_skipped() {
        let bad = refused("store", RefusalKind::BadPort);
        let read = file(Selector::Cluster, vec![bad.clone(), ring("other")]);
        assert!(error(&read, None).starts_with("several rings are here"));
        let alone = file(Selector::Cluster, vec![bad]);
        assert_eq!(error(&alone, None), "f:1:1: what is wrong with store [bad-port]");
    }

    #[test]
    fn an_unknown_name_and_another_programs_flag_are_answered_with_what_there_is() {
        let read = file(Selector::Section, vec![ring("relay"), ring("relay:b")]);
        let said = error(&read, Some((Selector::Section, "relay:c")));
        assert!(said.starts_with("--section \"relay:c\" is not here; what is here:\n"), "{said}");
        assert!(said.contains("\n  --section relay:b  carbon"), "{said}");
        assert_eq!(
            error(&read, Some((Selector::Cluster, "x"))),
            "--cluster does not fit: this is a file of carbon, whose rings are chosen with --section"
        );
        assert!(error(&file(Selector::Route, Vec::new()), None).contains("has destinations"));
    }
}
