//! Metrics whose files were created by different storage schemas. They are reported by pair of schemas, not
//! by metric.

use std::collections::BTreeMap;
use std::fmt;

use bucky_api::{FileSchema, HealLine, NoPlaceReason, OnSchemaDifference, SchemaDifference};
use bucky_whisper::MetricName;

use crate::counted::{self, counted};
use crate::output::human_count;

/// How many pairs are reported at most; a cluster has a handful of schemas.
const PAIRS_MOST: usize = 50;

/// The pairs of schemas that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schemas {
    pairs: BTreeMap<(FileSchema, FileSchema), SchemaPair>,
    /// Metrics of pairs beyond [`PAIRS_MOST`].
    further: u64,
}

/// What was found for one pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SchemaPair {
    metrics: u64,
    /// Points without a place because of the layout.
    without_place: u64,
    /// How many of these have a valid coarser point at the same time.
    coarser: u64,
    /// The resolution of the coarser archive.
    coarser_seconds_per_point: u32,
    /// Metrics of which some points have no place.
    lacking: u64,
    /// Owners' files that were given the archives of both schemas.
    reshaped: u64,
    /// Metrics whose source was not deleted because of such points.
    kept: u64,
    example: Option<MetricName>,
}

impl Schemas {
    /// Notes what an owner reported about one metric.
    pub(crate) fn note(&mut self, line: &HealLine) {
        if let Some(difference) = line.difference.as_deref() {
            self.add(&line.metric, difference, line.outcome.is_healed());
        }
    }

    /// Notes how one metric's files differ; `is_healed` if the source can be deleted all the same.
    pub(crate) fn add(
        &mut self,
        metric: &MetricName,
        difference: &SchemaDifference,
        is_healed: bool,
    ) {
        let owner = difference.reshaped_from.as_ref().unwrap_or(&difference.owner);
        let key = (difference.source.clone(), owner.clone());
        if self.pairs.len() >= PAIRS_MOST && !self.pairs.contains_key(&key) {
            self.further += 1;
            return;
        }
        let pair = self.pairs.entry(key).or_default();
        let without_place = difference.points_without_place();
        pair.metrics += 1;
        pair.without_place += without_place;
        pair.coarser += difference.points_coarser();
        pair.lacking += u64::from(without_place > 0);
        pair.reshaped += u64::from(difference.reshaped_from.is_some());
        pair.kept += u64::from(!is_healed && without_place > 0);
        let coarser = difference.gaps.iter().map(|gap| gap.coarser_seconds_per_point);
        pair.coarser_seconds_per_point = coarser.fold(pair.coarser_seconds_per_point, u32::max);
        if pair.example.as_ref().is_none_or(|example| metric < example) {
            pair.example = Some(metric.clone());
        }
    }

    /// Points without a place, of all pairs.
    pub(crate) fn points_without_place(&self) -> u64 {
        self.pairs.values().map(|pair| pair.without_place).sum()
    }

    /// Metrics that have such points, of all pairs.
    pub(crate) fn metrics_without_place(&self) -> u64 {
        self.pairs.values().map(|pair| pair.lacking).sum()
    }

    /// The lines to print if points without a place are treated by `policy`.
    pub(crate) fn lines(&self, policy: OnSchemaDifference) -> Vec<String> {
        let mut lines: Vec<String> = self
            .pairs
            .iter()
            .flat_map(|((source, owner), pair)| pair.lines(source, owner, policy))
            .collect();
        if self.further > 0 {
            lines.push(format!(
                "{} files of other schemas.",
                counted(self.further, "more metric has", "more metrics have")
            ));
        }
        if policy == OnSchemaDifference::Keep && self.pairs.values().any(|pair| pair.kept > 0) {
            lines.push(
                "Their sources stay. Run again with `--on-schema-difference reshape` to give the owners' files \
                 the archives of both, `coarsen` to accept coarser averages, or `drop` to lose these points."
                    .to_owned(),
            );
        }
        lines
    }
}

impl SchemaPair {
    fn lines(
        &self,
        source: &FileSchema,
        owner: &FileSchema,
        policy: OnSchemaDifference,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let example = self.example.as_ref().map_or("", |example| example.as_str());
        let layouts = format!("source {}, owner {}", source.archives, owner.archives);
        let count = counted::metrics;
        if self.reshaped > 0 {
            lines.push(format!(
                "{}: {layouts}: the owners' files were reshaped and now have the archives of both (such as {example}).",
                count(self.reshaped)
            ));
        }
        if self.without_place > 0 {
            let points = human_count(self.without_place);
            let averages = span(self.coarser_seconds_per_point);
            let fate = match policy {
                OnSchemaDifference::Drop if self.kept == 0 => "were lost".to_owned(),
                OnSchemaDifference::Coarsen if self.kept == 0 => {
                    format!("are kept as {averages} averages")
                }
                _ if self.coarser > 0 => format!(
                    "have no place at the owner ({} of them are there as {averages} averages)",
                    human_count(self.coarser)
                ),
                _ => "have no place at the owner".to_owned(),
            };
            lines.push(format!(
                "{}: {layouts}: {points} points {fate} (such as {example}).",
                count(self.lacking)
            ));
        }
        if (&source.aggregation, &source.x_files_factor)
            != (&owner.aggregation, &owner.x_files_factor)
        {
            lines.push(format!(
                "{}: source {}, x-files factor {}; owner {}, x-files factor {}: rolled-up points have \
                 different meanings (such as {example}).",
                count(self.metrics),
                source.aggregation,
                source.x_files_factor,
                owner.aggregation,
                owner.x_files_factor
            ));
        }
        lines
    }
}

/// A resolution as people say it.
fn span(seconds: u32) -> String {
    match seconds {
        0 => "coarser".to_owned(),
        seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 && seconds > 60 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// Whether a metric's source stays because of the owner's schema, and not because its slots hold newer
/// timestamps.
pub(crate) fn is_of_schema(line: &HealLine) -> bool {
    let gaps = line.difference.iter().flat_map(|difference| &difference.gaps);
    let mut reasons = gaps.map(|gap| gap.reason).peekable();
    reasons.peek().is_some()
        && reasons.all(|reason| {
            matches!(reason, NoPlaceReason::NoArchive | NoPlaceReason::ShorterRetention)
        })
}

impl fmt::Display for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines(OnSchemaDifference::Keep).iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_api::ArchiveGap;

    fn schema(archives: &str, aggregation: &str) -> FileSchema {
        FileSchema {
            archives: archives.into(),
            aggregation: aggregation.into(),
            x_files_factor: "0.5".into(),
        }
    }

    fn difference(points: u64, coarser: u64) -> SchemaDifference {
        let gap = ArchiveGap {
            seconds_per_point: 60,
            points,
            reason: NoPlaceReason::ShorterRetention,
            oldest: 60,
            newest: 600,
            coarser,
            coarser_seconds_per_point: if coarser > 0 { 3600 } else { 0 },
        };
        SchemaDifference {
            source: schema("60s:30d,1h:5y", "average"),
            owner: schema("60s:1d", "average"),
            gaps: if points > 0 { vec![gap] } else { Vec::new() },
            reshaped_from: None,
        }
    }

    fn name(text: &str) -> MetricName {
        text.parse().unwrap()
    }

    #[test]
    fn a_thousand_metrics_of_one_pair_are_one_line_with_the_flag_that_helps() {
        let mut schemas = Schemas::default();
        for number in 0..1234 {
            schemas.add(&name(&format!("m{number:04}")), &difference(6500, 0), false);
        }
        assert_eq!(
            schemas.lines(OnSchemaDifference::Keep),
            [
                "1,234 metrics: source 60s:30d,1h:5y, owner 60s:1d: 8,021,000 points have no place at the owner (such as \
                 m0000).",
                "Their sources stay. Run again with `--on-schema-difference reshape` to give the owners' files \
                 the archives of both, `coarsen` to accept coarser averages, or `drop` to lose these points.",
            ]
        );
    }

    #[test]
    fn the_policy_decides_what_is_said_about_the_points() {
        let mut schemas = Schemas::default();
        schemas.add(&name("a"), &difference(60, 60), true);
        let lines = schemas.lines(OnSchemaDifference::Coarsen);
        assert!(lines[0].contains("60 points are kept as 1h averages"), "{lines:?}");
        let lines = schemas.lines(OnSchemaDifference::Drop);
        assert!(lines[0].starts_with("1 metric: ") && lines[0].contains("were lost"), "{lines:?}");
        let mut reshaped = Schemas::default();
        let after = SchemaDifference {
            owner: schema("60s:30d,1h:5y", "average"),
            reshaped_from: Some(schema("60s:1d", "average")),
            ..difference(0, 0)
        };
        reshaped.add(&name("a"), &after, true);
        let lines = reshaped.lines(OnSchemaDifference::Reshape);
        assert!(lines[0].contains("owner 60s:1d: the owners' files were reshaped"), "{lines:?}");
    }

    #[test]
    fn a_difference_of_aggregation_is_in_the_same_table() {
        let mut schemas = Schemas::default();
        let other = SchemaDifference { owner: schema("60s:30d,1h:5y", "sum"), ..difference(0, 0) };
        schemas.add(&name("a"), &other, true);
        let lines = schemas.lines(OnSchemaDifference::Keep);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("source average, x-files factor 0.5; owner sum"), "{lines:?}");
    }
}
