//! The report of a verification: counts, some findings of each kind, and what to do next; or everything as
//! JSON.

mod layouts;
mod words;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use bucky_api::DaemonAddr;
use bucky_api::counted::counted;
use serde::Serialize;
use serde_json::json;

use self::layouts::LayoutPairs;
use self::words::{heading, next_steps, notes};
use super::finding::{MetricFinding, What};
use crate::output::{Output, OutputError, human_count, while_read};

/// How many findings of each kind are shown.
const SHOWN: usize = 10;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct VerifyCounts {
    /// Metrics.
    pub(crate) metrics: u64,
    /// Metrics without a finding.
    pub(crate) in_place: u64,
    /// Copies that were read.
    pub(crate) copies: u64,
    /// Points in them, roll-ups included.
    pub(crate) points: u64,
    /// Their total length, in bytes.
    pub(crate) bytes: u64,
    /// Metrics whose copies differ from each other, which a move does not change.
    pub(crate) differ: u64,
    /// Metrics whose second reading had another result than the first.
    pub(crate) changed: u64,
    /// Metrics that are unplaceable.
    pub(crate) unplaceable: u64,
    /// Local metrics.
    pub(crate) local: u64,
    /// Copies in go-carbon's compressed format, whose points cannot be counted.
    pub(crate) compressed: u64,
}

impl VerifyCounts {
    /// Adds those of another part.
    pub(crate) fn add(&mut self, other: &Self) {
        self.metrics += other.metrics;
        self.in_place += other.in_place;
        self.copies += other.copies;
        self.points += other.points;
        self.bytes += other.bytes;
        self.differ += other.differ;
        self.changed += other.changed;
        self.unplaceable += other.unplaceable;
        self.local += other.local;
        self.compressed += other.compressed;
    }
}

/// A remark about a node or the cluster, beside the findings about metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Remark {
    /// The node; empty if the remark is about the cluster.
    pub(crate) node: String,
    /// The remark.
    pub(crate) text: String,
    /// Whether it means that something was not verified.
    pub(crate) is_finding: bool,
}

/// Collects findings and reports them at the end.
pub(crate) struct Report {
    json: bool,
    strict: bool,
    errors: Option<BufWriter<File>>,
    written: u64,
    kinds: [KindCount; What::NAMES.len()],
    layouts: LayoutPairs,
    /// How many metrics are misplaced, and lacked by an owner.
    elsewhere: u64,
}

#[derive(Clone, Debug, Default)]
struct KindCount {
    metrics: u64,
    copies: u64,
    last_metric: String,
    shown: Vec<String>,
}

/// What the report says at the end, beside the findings.
pub(crate) struct Ending<'a> {
    /// What was read.
    pub(crate) counts: VerifyCounts,
    /// The number of nodes.
    pub(crate) nodes: usize,
    /// The size and the seed of the sample, as text.
    pub(crate) sample: Option<String>,
    /// The remarks.
    pub(crate) remarks: Vec<Remark>,
    /// Why it ended early.
    pub(crate) broken_off: Option<String>,
    /// The daemon that is named in the next steps.
    pub(crate) seed: &'a str,
    /// The drained nodes that are named in the next steps.
    pub(crate) drained: &'a [DaemonAddr],
}

impl Report {
    /// A report without findings; all findings are also written to `errors`.
    ///
    /// # Errors
    /// If that file cannot be created, or nothing can be written.
    pub(crate) fn begin(
        json: bool,
        strict: bool,
        errors: Option<&Path>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            let file = File::create(path)
                .with_context(|| format!("cannot write the findings to {}", path.display()));
            file.map(BufWriter::new)
        };
        let errors = errors.map(create).transpose()?;
        if json {
            while_read(output.data_text("{\"findings\":["))?;
        }
        Ok(Self {
            json,
            strict,
            errors,
            written: 0,
            kinds: Default::default(),
            layouts: LayoutPairs::default(),
            elsewhere: 0,
        })
    }

    /// Adds a finding; they arrive in the order of the output.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn add(&mut self, finding: &MetricFinding, output: &Output) -> anyhow::Result<()> {
        let MetricFinding { metric, node, what } = finding;
        if let Some(errors) = &mut self.errors {
            let kind = What::NAMES[what.number()];
            writeln!(errors, "{node}\t{metric}\t{kind}: {}", what.detail())
                .context("cannot write the findings to the file of --errors")?;
        }
        let count = &mut self.kinds[what.number()];
        count.copies += 1;
        if count.metrics == 0 || count.last_metric != *metric {
            count.metrics += 1;
            count.last_metric.clone_from(metric);
            // All findings of a metric arrive together.
            let other = match what {
                What::Missing => "misplaced",
                What::Misplaced { .. } => "missing",
                _ => "",
            };
            let is_also = self.kind(other).is_some_and(|other| other.last_metric == *metric);
            self.elsewhere += u64::from(is_also);
        }
        let count = &mut self.kinds[what.number()];
        if let What::LayoutsDiffer { other, layout, others } = what {
            self.layouts.add(metric, (node, layout), (other, others));
            return Ok(());
        }
        if self.json {
            let separator = if self.written == 0 { "\n" } else { ",\n" };
            let line = format!("{separator}{}", serde_json::to_string(finding)?);
            while_read(output.data_text(line))?;
        }
        self.written += 1;
        if count.shown.len() < SHOWN {
            let node = if node.is_empty() { String::new() } else { format!("{node}: ") };
            count.shown.push(format!("{node}{metric}: {}", what.detail()));
        }
        Ok(())
    }

    /// Whether a finding makes the command fail.
    pub(crate) fn has_findings(&self) -> bool {
        let fails = |(number, kind): (usize, &KindCount)| kind.copies > 0 && self.fails(number);
        self.kinds.iter().enumerate().any(fails)
    }

    fn fails(&self, number: usize) -> bool {
        self.strict || !What::is_difference(What::NAMES[number])
    }

    fn kind(&self, kind: &str) -> Option<&KindCount> {
        let number = What::NAMES.iter().position(|name| *name == kind)?;
        self.kinds.get(number)
    }

    fn count(&self, kind: &str) -> u64 {
        self.kind(kind).map_or(0, |count| count.metrics)
    }

    /// Prints the report.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn end(mut self, ending: &Ending<'_>, output: &Output) -> anyhow::Result<()> {
        if let Some(errors) = &mut self.errors {
            errors.flush().context("cannot write the findings to the file of --errors")?;
        }
        // The exit code is right even if nothing reads on.
        let written =
            if self.json { self.end_json(ending, output) } else { self.end_text(ending, output) };
        Ok(while_read(written)?)
    }

    fn end_json(&self, ending: &Ending<'_>, output: &Output) -> Result<(), OutputError> {
        let kinds: serde_json::Map<String, serde_json::Value> = What::NAMES
            .iter()
            .zip(&self.kinds)
            .map(|(name, count)| {
                let value = json!({ "metrics": count.metrics, "copies": count.copies });
                ((*name).to_owned(), value)
            })
            .collect();
        let mut summary = json!({
            "complete": ending.broken_off.is_none(),
            "all_in_place": self.is_all_in_place(ending),
            "nodes": ending.nodes,
            "sample": ending.sample,
            "kinds": kinds,
            "layouts": self.layouts.by_count(),
            "remarks": ending.remarks,
            "broken_off": ending.broken_off,
        });
        let counts = serde_json::to_value(ending.counts);
        if let (Some(summary), Ok(serde_json::Value::Object(counts))) =
            (summary.as_object_mut(), counts)
        {
            summary.extend(counts);
        }
        let separator = if self.written == 0 { "" } else { "\n" };
        output.data_line(format_args!("{separator}],\n\"summary\":{summary}}}"))
    }

    fn is_all_in_place(&self, ending: &Ending<'_>) -> bool {
        ending.broken_off.is_none()
            && self.kinds.iter().all(|kind| kind.copies == 0)
            && !ending.remarks.iter().any(|remark| remark.is_finding)
    }

    fn end_text(&self, ending: &Ending<'_>, output: &Output) -> Result<(), OutputError> {
        output.data_line(self.headline(ending))?;
        for (number, count) in self.kinds.iter().enumerate().filter(|(_, count)| count.copies > 0) {
            output.data_line(format_args!("\n{}:", heading(number, count, self.elsewhere)))?;
            if What::NAMES[number] == "layouts_differ" {
                for line in self.layouts.lines() {
                    output.data_line(format_args!("  {line}"))?;
                }
                continue;
            }
            for line in &count.shown {
                output.data_line(format_args!("  {line}"))?;
            }
            let more = count.copies - count.shown.len() as u64;
            if more > 0 {
                let (more, hint) = (human_count(more), self.errors_hint());
                output.data_line(format_args!("  and {more} more{hint}"))?;
            }
        }
        let notes = notes(ending);
        if !notes.is_empty() {
            output.data_line("")?;
        }
        for note in notes {
            output.data_line(note)?;
        }
        if ending.broken_off.is_none() && self.is_only_misplaced() {
            output.data_line("\nNo misplaced copy has a point that its owner lacks.")?;
        }
        let is_lost = self.count("missing") > self.elsewhere;
        for step in next_steps(ending, is_lost, |kind| self.count(kind) > 0) {
            output.data_line(format_args!("\n{step}"))?;
        }
        Ok(())
    }

    /// Whether copies are misplaced and their owners have all their points: a move would only tidy up.
    fn is_only_misplaced(&self) -> bool {
        let other = |(name, count): (&&str, &KindCount)| {
            *name != "misplaced" && !What::is_difference(name) && count.copies > 0
        };
        self.count("misplaced") > 0 && !What::NAMES.iter().zip(&self.kinds).any(other)
    }

    fn errors_hint(&self) -> &'static str {
        if self.errors.is_some() {
            "; the file of --errors names all"
        } else {
            "; --errors FILE names all"
        }
    }

    fn headline(&self, ending: &Ending<'_>) -> String {
        let VerifyCounts { metrics, copies, points, in_place, differ, .. } = ending.counts;
        let sample = ending.sample.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
        let read = format!(
            "{}{sample} on {}, {} read, {}",
            counted(metrics, "metric", "metrics"),
            counted(ending.nodes as u64, "node", "nodes"),
            counted(copies, "copy", "copies"),
            counted(points, "point", "points"),
        );
        let verdict = if let Some(reason) = &ending.broken_off {
            format!("ended early: {reason}")
        } else if metrics == 0 && !self.has_findings() {
            "there was nothing to check".into()
        } else if self.is_all_in_place(ending) {
            "all in place".into()
        } else if in_place == metrics && differ > 0 {
            let metrics = counted(differ, "metric", "metrics");
            format!("every copy is where it belongs, but copies of {metrics} differ")
        } else if in_place == metrics {
            "everything that was checked is in place".into()
        } else {
            format!("{} in place, {} not", human_count(in_place), human_count(metrics - in_place))
        };
        format!("{read}: {verdict}.")
    }
}

#[cfg(test)]
mod tests;
