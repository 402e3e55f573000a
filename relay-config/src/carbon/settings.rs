//! The settings of a relay or an aggregator, and the ring that carbon builds from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_ring::{AggregationRules, Algorithm, Relay, RingSpec, TaggedNames};

use super::destinations::{Blanks, Twice, destinations};
use super::ini::{Ini, Section, Value};
use super::interpolation::interpolated;
use super::python::{boolean, int, strip};
use super::spelling::meant;
use crate::{
    FoundRing, Need, Origins, OtherFiles, Place, Refusal, RefusalKind, SourceFile, Warning,
    WarningKind,
};

/// The keys that decide the ring, in lower case.
pub(super) const THAT_MATTER: [&str; 8] = [
    "aggregation_rules",
    "destination_pool_replicas",
    "destinations",
    "diverse_replicas",
    "dynamic_router",
    "relay_method",
    "replication_factor",
    "router_hash_type",
];
/// The name of the rules' file if the settings name none.
const AGGREGATION_RULES: &str = "aggregation-rules.conf";
/// The keys that carbon reads as yes or no (`conf.py`, `defaults`). With another word it does not start.
pub(super) const BOOLEANS: [&str; 27] = [
    "amqp_metric_name_in_body",
    "amqp_verbose",
    "ceres_lock_writes",
    "destination_pool_replicas",
    "diverse_replicas",
    "dynamic_router",
    "enable_amqp",
    "enable_logrotation",
    "enable_manhole",
    "enable_tags",
    "enable_udp_listener",
    "forward_all",
    "log_aggregator_misses",
    "log_cache_hits",
    "log_cache_queue_sorts",
    "log_creates",
    "log_listener_conn_lost",
    "log_listener_conn_success",
    "log_updates",
    "skip_tags_for_nontagged",
    "tag_hash_filenames",
    "tag_relay_normalized",
    "tcp_keepalive",
    "use_flow_control",
    "use_insecure_unpickler",
    "use_ratio_reset",
    "use_whitelist",
];

/// The most bytes of all values of a program together. References multiply.
const VALUES_MOST_BYTES: usize = 64 << 20;

/// Which program of carbon reads the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `carbon-relay`.
    Relay,
    /// `carbon-aggregator`, whose method is always consistent hashing.
    Aggregator,
}

/// The settings of a program: those of its section, and over them those of the instance's section.
#[derive(Debug)]
pub(crate) struct Settings<'i> {
    ini: &'i Ini<'i>,
    /// By key in lower case, with references replaced.
    values: BTreeMap<String, Value>,
    /// Where the last section begins.
    section_offset: usize,
}

impl<'i> Settings<'i> {
    /// Reads `sections`, each over the one before.
    ///
    /// # Errors
    /// [`Refusal`] for a reference that cannot be replaced, and for a word that is neither yes nor no.
    pub(crate) fn read(ini: &'i Ini<'i>, sections: &[&Section]) -> Result<Self, Refusal> {
        let mut settings = Self { ini, values: BTreeMap::new(), section_offset: 0 };
        let mut built = 0;
        for section in sections {
            settings.section_offset = section.offset;
            for (key, raw) in ini.keys(section) {
                let value = interpolated(ini, section, raw)?;
                built += value.text.len();
                if built > VALUES_MOST_BYTES {
                    let message =
                        "the values of this section are longer than 64 MiB together".to_owned();
                    return Err(settings.refuse(RefusalKind::Interpolation, &value, message));
                }
                if BOOLEANS.contains(&key) && boolean(&value.text).is_none() {
                    let message = format!(
                        "{} = {:?} is neither yes nor no: carbon does not start",
                        key.to_uppercase(),
                        value.text
                    );
                    return Err(settings.refuse(RefusalKind::Syntax, &value, message));
                }
                if THAT_MATTER.contains(&key) || BOOLEANS.contains(&key) || meant(key).is_some() {
                    settings.values.insert(key.to_owned(), value);
                }
            }
        }
        Ok(settings)
    }

    fn refuse(&self, kind: RefusalKind, value: &Value, message: String) -> Refusal {
        Refusal { kind, place: self.place(value), message }
    }

    fn place(&self, value: &Value) -> Place {
        self.ini.place(value.key_offset)
    }

    fn is_on(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| boolean(&value.text) == Some(true))
    }

    /// The ring of a program in this `role`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn ring(
        &self,
        role: Role,
        files: &mut dyn OtherFiles,
    ) -> Result<FoundRing, Refusal> {
        let (method, need) = self.method(role)?;
        let algorithm = self.algorithm(method)?;
        let replication_factor = self.replication_factor()?;
        let Some(listed) = self.values.get("destinations") else {
            return Err(Refusal {
                kind: RefusalKind::MissingKey,
                place: self.ini.place(self.section_offset),
                message: "DESTINATIONS is not given, so there are no nodes".to_owned(),
            });
        };
        let (nodes, places) = destinations(self.ini, listed, Twice::Once, Blanks::Stay)?;
        let diverse = self.values.get("diverse_replicas");
        let mut warnings = self.warnings();
        let mut aggregation = None;
        if let Some(need) = &need {
            aggregation = self.aggregation_rules(files)?.map(Arc::new);
            warnings.push(aggregated(&need.place));
        }
        let need = need.filter(|_| aggregation.is_none());
        let origin = |key: &str| self.values.get(key).map(|value| self.place(value));
        Ok(FoundRing {
            spec: RingSpec {
                nodes,
                algorithm,
                relay: Relay::Carbon,
                replication_factor,
                diverse_replicas: diverse.is_none_or(|value| boolean(&value.text) != Some(false)),
                tagged_names: TaggedNames::Whole,
                aggregation,
                routes: None,
            },
            origins: Origins {
                nodes: places,
                algorithm: origin("router_hash_type").or_else(|| origin("relay_method")),
                replication_factor: origin("replication_factor"),
                diverse_replicas: diverse.map(|value| self.place(value)),
            },
            warnings,
            needs: need.into_iter().collect(),
        })
    }

    fn method(&self, role: Role) -> Result<(Method, Option<Need>), Refusal> {
        if role == Role::Aggregator {
            return Ok((Method::Consistent, None));
        }
        let value = self.values.get("relay_method");
        let text = value.map_or("rules", |value| value.text.as_str());
        let place =
            || value.map_or_else(|| self.ini.place(self.section_offset), |value| self.place(value));
        let refuse = |kind, message: String| Err(Refusal { kind, place: place(), message });
        let needs_rules = || Some(Need::aggregation_rules(place()));
        match text {
            "consistent-hashing" => Ok((Method::Consistent, None)),
            "fast-hashing" => Ok((Method::Fast, None)),
            "aggregated-consistent-hashing" => Ok((Method::Consistent, needs_rules())),
            "fast-aggregated-hashing" => Ok((Method::Fast, needs_rules())),
            "rules" => refuse(
                RefusalKind::NoRing,
                "RELAY_METHOD is rules (the default): relay-rules.conf decides where metrics go, not a hash ring"
                    .to_owned(),
            ),
            "constant" => refuse(
                RefusalKind::NoRing,
                "RELAY_METHOD is constant: every metric goes to every destination".to_owned(),
            ),
            other if has_comment(other) => refuse(
                RefusalKind::InlineComment,
                format!("RELAY_METHOD is {other:?}: Python 3 leaves a comment behind a value in it; put it on a line of its own"),
            ),
            other => refuse(
                RefusalKind::UnknownMethod,
                format!("RELAY_METHOD is {other:?}, which carbon does not know: it does not start"),
            ),
        }
    }

    fn algorithm(&self, method: Method) -> Result<Algorithm, Refusal> {
        let value = self.values.get("router_hash_type").filter(|value| !value.text.is_empty());
        let hash = match value.map(|value| (value, value.text.as_str())) {
            None if method == Method::Fast => return Ok(Algorithm::FastMmh3),
            None | Some((_, "carbon_ch")) => Algorithm::Carbon,
            Some((_, "fnv1a_ch")) => Algorithm::Fnv1a,
            Some((_, "mmh3_ch")) => Algorithm::Mmh3,
            Some((value, other)) if has_comment(other) => {
                let message = format!(
                    "ROUTER_HASH_TYPE is {other:?}: Python 3 leaves a comment behind a value in it; put it on a \
                     line of its own"
                );
                return Err(self.refuse(RefusalKind::InlineComment, value, message));
            }
            Some((value, other)) => {
                let message = format!(
                    "ROUTER_HASH_TYPE is {other:?}, which carbon does not know: it says nothing and hashes as \
                     carbon_ch; write carbon_ch, fnv1a_ch or mmh3_ch"
                );
                return Err(self.refuse(RefusalKind::UnknownHash, value, message));
            }
        };
        Ok(match (method, hash) {
            (Method::Fast, Algorithm::Carbon) => Algorithm::FastCarbon,
            (Method::Fast, Algorithm::Fnv1a) => Algorithm::FastFnv1a,
            (Method::Fast, _) => Algorithm::FastMmh3,
            (Method::Consistent, hash) => hash,
        })
    }

    /// The rules in the file that the settings name, beside this one. `None` if there is no such file: the
    /// relay may have been started with another one.
    fn aggregation_rules(
        &self,
        files: &mut dyn OtherFiles,
    ) -> Result<Option<AggregationRules>, Refusal> {
        let named = self.values.get("aggregation_rules").map(|value| value.text.as_str());
        let name = named.unwrap_or(AGGREGATION_RULES);
        let file = files.beside(name).map_err(|reason| Refusal {
            kind: RefusalKind::Include,
            place: self
                .values
                .get("aggregation_rules")
                .map_or_else(|| self.ini.place(self.section_offset), |value| self.place(value)),
            message: format!("cannot read the aggregation rules {name:?}: {reason}"),
        })?;
        file.map(|file| rules_in(&file)).transpose()
    }

    fn replication_factor(&self) -> Result<usize, Refusal> {
        let Some(value) = self.values.get("replication_factor") else { return Ok(1) };
        replication_factor(self.ini, value)
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(value) = self.is_on("dynamic_router") {
            warnings.push(Warning {
                kind: WarningKind::DynamicRouter,
                place: self.place(value),
                message: "DYNAMIC_ROUTER is on: metrics of a node that is down go to other nodes, and stay \
                          there; and nodes enter the ring in the order in which they are reached, which \
                          decides entries that collide. The ring here has the order of the file"
                    .to_owned(),
            });
        }
        if let Some(value) = self.is_on("destination_pool_replicas") {
            warnings.push(Warning {
                kind: WarningKind::DestinationPool,
                place: self.place(value),
                message: "DESTINATION_POOL_REPLICAS is on: of the instances of one host, the one with the shortest \
                          queue gets a metric, not the one of the ring"
                    .to_owned(),
            });
        }
        for (key, value) in &self.values {
            if let Some(meant) = meant(key) {
                warnings.push(Warning {
                    kind: WarningKind::UnknownKey,
                    place: self.place(value),
                    message: format!(
                        "{} is not a setting of carbon and has no effect; {meant} is",
                        key.to_uppercase()
                    ),
                });
            }
        }
        warnings
    }
}

/// The rules in `file`.
///
/// # Errors
/// [`Refusal`] at the line that cannot be used.
pub(crate) fn rules_in(file: &SourceFile) -> Result<AggregationRules, Refusal> {
    AggregationRules::parse(&file.text).map_err(|error| Refusal {
        kind: RefusalKind::Syntax,
        place: file.place_of_line(error.line, 1),
        message: error.reason,
    })
}

/// What must be known about a ring with aggregation rules.
pub(crate) fn aggregated(place: &Place) -> Warning {
    Warning {
        kind: WarningKind::Aggregated,
        place: place.clone(),
        message: "metrics go to the owners of their aggregates; files lie there only if each aggregator writes to \
                  a cache of its own host. If the aggregators send on to caches by a ring of theirs, that ring \
                  (section aggregator) is the one of the files"
            .to_owned(),
    }
}

/// How the relay finds the nodes of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Consistent,
    Fast,
}

/// The replication factor in `value`.
///
/// # Errors
/// [`Refusal`] unless it is a positive number.
pub(crate) fn replication_factor(ini: &Ini<'_>, value: &Value) -> Result<usize, Refusal> {
    let copies = int(&value.text).and_then(|copies| usize::try_from(copies).ok());
    copies.filter(|copies| *copies > 0).ok_or_else(|| {
        let text = strip(&value.text);
        Refusal {
            kind: if has_comment(text) {
                RefusalKind::InlineComment
            } else {
                RefusalKind::BadReplicationFactor
            },
            place: ini.place(value.key_offset),
            message: format!("REPLICATION_FACTOR is {text:?}, not a number of at least 1"),
        }
    })
}

/// Whether a comment stands behind the value in `text`.
fn has_comment(text: &str) -> bool {
    text.split(super::python::is_space).skip(1).any(|word| word.starts_with(['#', ';']))
}
