//! The routing rules of a configuration: which names its rules send to which of its rings.
//!
//! What is taken over is exact. A file lies by the name that it has, so a rewrite must be over before any rule
//! that counts; and what reaches a ring past the rules (aggregates with a `send to` of their own) is refused.

use std::sync::Arc;

use bucky_ring::{
    ClusterDocument, Node, RingSpec, RouteError, RouteRules, RoutesDocument, RuleDocument,
};

use super::groups::{RULES_LEAST, misleading_word};
use super::syntax::{Aggregate, Match, SendTo, Text};
use crate::{FoundRing, Origins, Place, Refusal, RefusalKind, SourceFile, Warning, WarningKind};

/// The rules of a configuration and of the files that it includes, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Routing {
    steps: Vec<Step>,
    /// How many rules the relay counts, aggregates and rewrites among them.
    counted: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A rule with one expression.
    Rule { rule: RuleDocument, expression: Place, using: Option<Place> },
    /// From here on, names are not those that came in.
    Rewrite(Place),
    /// What reaches clusters past the rules: aggregates, or the relay's own statistics.
    Past { place: Place, clusters: Vec<String>, is_aggregate: bool },
}

impl Routing {
    /// Adds a `match`.
    pub(super) fn add_match(&mut self, file: &SourceFile, matching: &Match) {
        let using = matching.route_using.as_ref();
        let rule = RuleDocument {
            r#match: None,
            using: using.map(|(_, text)| text.text.clone()),
            to: names(matching.send_to.as_ref()),
            stop: match matching.send_to {
                Some(SendTo::Clusters(_)) => matching.stops,
                // The relay stops there without the word.
                Some(SendTo::Blackhole) => true,
                // It checks values only (`validate`), and its `stop` does not count.
                None => false,
            },
        };
        let using = using.map(|(offset, _)| file.place(*offset));
        self.counted += matching.expressions.as_ref().map_or(1, Vec::len);
        self.add_rules(file, &rule, matching.expressions.as_deref(), using.as_ref());
    }

    /// Adds an `aggregate`.
    pub(super) fn add_aggregate(&mut self, file: &SourceFile, aggregate: &Aggregate) {
        self.counted += aggregate.expressions.len();
        if aggregate.stops {
            let rule = RuleDocument { stop: true, ..RuleDocument::default() };
            self.add_rules(file, &rule, Some(&aggregate.expressions), None);
        }
        let clusters = names(aggregate.send_to.as_ref());
        if let Some(first) = aggregate.expressions.first().filter(|_| !clusters.is_empty()) {
            let place = file.place(first.offset);
            self.steps.push(Step::Past { place, clusters, is_aggregate: true });
        }
    }

    /// Adds the clusters that the relay's own statistics are sent to.
    pub(super) fn add_statistics(&mut self, file: &SourceFile, clusters: &[Text]) {
        if let Some(first) = clusters.first() {
            self.steps.push(Step::Past {
                place: file.place(first.offset),
                clusters: clusters.iter().map(|cluster| cluster.text.clone()).collect(),
                is_aggregate: false,
            });
        }
    }

    /// Adds a `rewrite`.
    pub(super) fn add_rewrite(&mut self, place: Place) {
        self.counted += 1;
        self.steps.push(Step::Rewrite(place));
    }

    fn add_rules(
        &mut self,
        file: &SourceFile,
        rule: &RuleDocument,
        expressions: Option<&[Text]>,
        using: Option<&Place>,
    ) {
        let Some(expressions) = expressions else {
            let place = using.cloned().unwrap_or_else(|| file.place(0));
            self.steps.push(Step::Rule {
                rule: rule.clone(),
                expression: place,
                using: using.cloned(),
            });
            return;
        };
        for expression in expressions {
            self.steps.push(Step::Rule {
                rule: RuleDocument { r#match: Some(expression.text.clone()), ..rule.clone() },
                expression: file.place(expression.offset),
                using: using.cloned(),
            });
        }
    }

    /// Where a name is hashed by another text before it gets to `cluster`.
    pub(super) fn route_using(&self, cluster: &str) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        for step in &self.steps {
            if let Step::Rule { rule, using: Some(place), .. } = step
                && rule.to.iter().any(|to| to == cluster)
                && !places.contains(place)
            {
                places.push(place.clone());
            }
        }
        places
    }

    /// The first rule that sends other names to the cluster `other` than to `cluster`.
    pub(super) fn differs(&self, cluster: &str, other: &str) -> Option<Place> {
        self.steps.iter().find_map(|step| match step {
            Step::Rule { rule, expression, .. } => {
                let has = |name: &str| rule.to.iter().any(|to| to == name);
                (has(other) && !has(cluster)).then(|| expression.clone())
            }
            Step::Rewrite(_) | Step::Past { .. } => None,
        })
    }

    /// The rings of `clusters`, at least one, as one: for each name, where the rules send it.
    ///
    /// # Errors
    /// [`Refusal`] for a rule that cannot be followed exactly.
    pub(crate) fn together(&self, clusters: &[(&str, &FoundRing)]) -> Result<FoundRing, Refusal> {
        let mut nodes = NodeList::default();
        let documents = clusters.iter().map(|(name, found)| ClusterDocument {
            name: (*name).to_owned(),
            algo: found.spec.algorithm.to_string(),
            replicas: i64::try_from(found.spec.replication_factor).unwrap_or(i64::MAX),
            nodes: nodes.positions(found),
        });
        let clusters_of_rules: Vec<ClusterDocument> = documents.collect();
        let first = &clusters[0].1;
        let (rules, places) = self.rules(clusters)?;
        let document = RoutesDocument { clusters: clusters_of_rules, rules };
        let routes = RouteRules::new(document).map_err(|error: RouteError| {
            let place = error.rule.and_then(|rule| places.get(rule).cloned());
            let place = place.or_else(|| first.origins.algorithm.clone());
            refusal(&place.unwrap_or_else(|| places[0].clone()), error.reason)
        })?;
        let mut warnings: Vec<Warning> = Vec::new();
        for warning in clusters.iter().flat_map(|(_, found)| &found.warnings) {
            let is_answered = warning.kind == WarningKind::Matchers && clusters.len() > 1;
            if !is_answered && !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        warnings.extend(self.past_the_rules(clusters));
        warnings.extend(self.misleading_group(&routes.document().rules, &places));
        Ok(FoundRing {
            spec: RingSpec {
                nodes: nodes.nodes,
                routes: Some(Arc::new(routes)),
                ..first.spec.clone()
            },
            origins: Origins { nodes: nodes.places, ..first.origins.clone() },
            warnings,
            needs: Vec::new(),
        })
    }

    /// The rules that decide about `clusters`, and the places of their expressions.
    fn rules(
        &self,
        clusters: &[(&str, &FoundRing)],
    ) -> Result<(Vec<RuleDocument>, Vec<Place>), Refusal> {
        let is_wanted = |name: &String| clusters.iter().any(|(wanted, _)| wanted == name);
        let (mut rules, mut places) = (Vec::new(), Vec::new());
        for step in &self.steps {
            match step {
                Step::Rule { rule, expression, .. } => {
                    let to: Vec<String> =
                        rule.to.iter().filter(|name| is_wanted(name)).cloned().collect();
                    if to.is_empty() && !rule.stop {
                        continue;
                    }
                    let using = rule.using.clone().filter(|_| !to.is_empty());
                    rules.push(RuleDocument { to, using, ..rule.clone() });
                    places.push(expression.clone());
                }
                Step::Rewrite(place) if !rules.is_empty() => {
                    return Err(refusal(
                        place,
                        "a rewrite below rules that send or stop: a file does not show by which of its two names \
                         they met it; move the rewrite above the first match"
                            .to_owned(),
                    ));
                }
                Step::Past { place, clusters, is_aggregate: true }
                    if clusters.iter().any(is_wanted) =>
                {
                    return Err(refusal(
                        place,
                        "aggregates are sent to this cluster past the rules, so their names do not show where they \
                         lie; without `send to`, aggregates go through the rules"
                            .to_owned(),
                    ));
                }
                Step::Rewrite(_) | Step::Past { .. } => {}
            }
        }
        if rules.iter().all(|rule| rule.to.is_empty()) {
            let place = clusters[0].1.origins.algorithm.clone();
            let reason = "no rule sends metrics to this cluster".to_owned();
            return Err(refusal(&place.unwrap_or_else(|| places[0].clone()), reason));
        }
        Ok((rules, places))
    }

    /// Where the relay's groups of rules may keep names from a rule that they match.
    fn misleading_group(&self, rules: &[RuleDocument], places: &[Place]) -> Option<Warning> {
        if self.counted < RULES_LEAST {
            return None;
        }
        let mut ruled = rules.iter().zip(places);
        let found =
            ruled.find_map(|(rule, place)| Some((misleading_word(rule.r#match.as_ref()?)?, place)));
        let (word, place) = found?;
        Some(Warning {
            kind: WarningKind::Grouped,
            place: place.clone(),
            message: format!(
                "from {RULES_LEAST} rules on, carbon-c-relay may try this rule only for names with {word:?} in them, \
                 though others match too; end the expression with a word that all have, or start the relay with \
                 -O -1"
            ),
        })
    }

    fn past_the_rules(&self, clusters: &[(&str, &FoundRing)]) -> Option<Warning> {
        self.steps.iter().find_map(|step| match step {
            Step::Past { place, clusters: to, is_aggregate: false }
                if to.iter().any(|name| clusters.iter().any(|(wanted, _)| wanted == name)) =>
            {
                Some(Warning {
                    kind: WarningKind::Statistics,
                    place: place.clone(),
                    message: "the relay sends its own statistics to this cluster past the rules; they look \
                              misplaced if the rules would send them elsewhere"
                        .to_owned(),
                })
            }
            _ => None,
        })
    }
}

/// Nodes of several rings, each once.
#[derive(Default)]
struct NodeList {
    nodes: Vec<Node>,
    places: Vec<Place>,
}

impl NodeList {
    /// The positions of the nodes of `found`. Those that are new are added.
    fn positions(&mut self, found: &FoundRing) -> Vec<u16> {
        let mut positions = Vec::new();
        for (node, place) in found.spec.nodes.iter().zip(&found.origins.nodes) {
            let known = self.nodes.iter().position(|other| other == node);
            let position = known.unwrap_or_else(|| {
                self.nodes.push(node.clone());
                self.places.push(place.clone());
                self.nodes.len() - 1
            });
            positions.push(u16::try_from(position).unwrap_or(u16::MAX));
        }
        positions
    }
}

fn names(to: Option<&SendTo>) -> Vec<String> {
    match to {
        Some(SendTo::Clusters(clusters)) => {
            clusters.iter().map(|cluster| cluster.text.clone()).collect()
        }
        Some(SendTo::Blackhole) | None => Vec::new(),
    }
}

fn refusal(place: &Place, message: String) -> Refusal {
    Refusal { kind: RefusalKind::Routes, place: place.clone(), message }
}
