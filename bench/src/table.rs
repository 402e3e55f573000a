//! Collects and prints figures.

use serde::Serialize;

use crate::figure::{Bar, Figure};
use crate::machine::Machine;

/// The measured values of one figure.
#[derive(Debug)]
struct Taken {
    figure: Figure,
    /// The value of each run, in order.
    values: Vec<f64>,
}

/// All measured figures.
#[derive(Debug)]
pub(crate) struct Table {
    only: Option<String>,
    taken: Vec<Taken>,
}

/// What `--json` prints; `docs/internals/performance.md` describes it.
#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    size: f64,
    figures: Vec<Row>,
}

/// A figure in the output.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    unit: &'static str,
    bar: Bar,
    median: f64,
    least: f64,
    greatest: f64,
    values: Vec<f64>,
    is_met: Option<bool>,
}

impl Table {
    /// An empty table of the figures whose name contains `only`.
    pub(crate) fn new(only: Option<String>) -> Self {
        Self { only, taken: Vec::new() }
    }

    /// Whether this figure is wanted.
    pub(crate) fn wants(&self, figure: &Figure) -> bool {
        self.only.as_ref().is_none_or(|only| figure.name.contains(only.as_str()))
    }

    /// Whether any of these figures is wanted.
    pub(crate) fn wants_any(&self, figures: &[Figure]) -> bool {
        figures.iter().any(|figure| self.wants(figure))
    }

    /// Adds the value of one run, if the figure is wanted.
    pub(crate) fn add(&mut self, figure: &Figure, value: f64) {
        if !self.wants(figure) {
            return;
        }
        let Figure { name, unit, .. } = *figure;
        say(&format!("{name}: {} {unit}", rounded(value)));
        match self.taken.iter_mut().find(|taken| taken.figure.name == name) {
            Some(taken) => taken.values.push(value),
            None => self.taken.push(Taken { figure: *figure, values: vec![value] }),
        }
    }

    /// Prints all figures as a table in Markdown, or as JSON.
    #[expect(clippy::print_stdout, reason = "it is what the bench is for")]
    pub(crate) fn print(&self, machine: &Machine, size: f64, as_json: bool) -> anyhow::Result<()> {
        let figures: Vec<Row> = self.taken.iter().map(Row::of).collect();
        if as_json {
            let document = Document { machine, size, figures };
            println!("{}", serde_json::to_string_pretty(&document)?);
            return Ok(());
        }
        println!("{machine}. Size {size}.\n");
        println!("| figure | bar | median | least .. greatest | runs | met |");
        println!("| --- | --- | --- | --- | --- | --- |");
        for row in figures {
            println!("{}", row.line());
        }
        Ok(())
    }
}

impl Row {
    fn of(taken: &Taken) -> Self {
        let Figure { name, unit, bar } = taken.figure;
        let median = median(&taken.values);
        let least = taken.values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = taken.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let is_met = bar.is_met_by(median);
        Self { name, unit, bar, median, least, greatest, values: taken.values.clone(), is_met }
    }

    fn line(&self) -> String {
        let Self { name, unit, bar, .. } = self;
        let [median, least, greatest] = [self.median, self.least, self.greatest].map(rounded);
        let met = match self.is_met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let bar = if *bar == Bar::None { bar.to_string() } else { format!("{bar} {unit}") };
        let runs = self.values.len();
        format!("| {name} | {bar} | {median} {unit} | {least} .. {greatest} | {runs} | {met} |")
    }
}

/// The value in the middle; for an even number, the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// Rounds to about three significant digits.
fn rounded(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Prints the progress of the bench.
#[expect(clippy::print_stderr, reason = "a bench takes minutes and reports its progress")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
