//! Figures, gathered and printed.

use serde::Serialize;

/// What was measured of one figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// What is measured, and against what.
    name: String,
    /// What it should be; none where it is only told.
    bar: Option<Bar>,
    /// The unit: `x` for a ratio.
    unit: &'static str,
    /// What each run gave, in order.
    values: Vec<f64>,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// All figures.
#[derive(Debug)]
pub(crate) struct Table {
    only: Option<String>,
    figures: Vec<Figure>,
}

impl Table {
    /// An empty one, of figures in whose name `only` is found.
    pub(crate) fn new(only: Option<String>) -> Self {
        Self { only, figures: Vec::new() }
    }

    /// Whether a figure, or a group of them, is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Adds what one run gave, which should be `bar` at most.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, bar: f64, value: f64) {
        self.note(name, unit, Some(Bar::AtMost(bar)), value);
    }

    /// Adds what one run gave, which should be `bar` at least.
    pub(crate) fn add_at_least(&mut self, name: &str, unit: &'static str, bar: f64, value: f64) {
        self.note(name, unit, Some(Bar::AtLeast(bar)), value);
    }

    /// Adds what one run gave and no bar was set for.
    pub(crate) fn tell(&mut self, name: &str, unit: &'static str, value: f64) {
        self.note(name, unit, None, value);
    }

    fn note(&mut self, name: &str, unit: &'static str, bar: Option<Bar>, value: f64) {
        say(&format!("{name}: {value:.2} {unit}"));
        if let Some(figure) = self.figures.iter_mut().find(|figure| figure.name == name) {
            figure.values.push(value);
            return;
        }
        self.figures.push(Figure { name: name.to_owned(), bar, unit, values: vec![value] });
    }

    /// Prints all of it.
    #[expect(clippy::print_stdout, reason = "it is what the bench is for")]
    pub(crate) fn print(mut self, as_json: bool) -> anyhow::Result<()> {
        for figure in &mut self.figures {
            figure.values.sort_unstable_by(f64::total_cmp);
        }
        if as_json {
            println!("{}", serde_json::to_string_pretty(&self.figures)?);
            return Ok(());
        }
        println!(
            "| figure | bar | median | least .. greatest | runs |\n| --- | --- | --- | --- | --- |"
        );
        for Figure { name, bar, unit, values } in &self.figures {
            let bar = match bar {
                Some(Bar::AtMost(bar)) => format!("{bar} {unit}"),
                Some(Bar::AtLeast(bar)) => format!("at least {bar} {unit}"),
                None => String::new(),
            };
            let [least, .., greatest] = values.as_slice() else {
                println!("| {name} | {bar} | {:.2} {unit} | | 1 |", values[0]);
                continue;
            };
            let (median, runs) = (values[values.len() / 2], values.len());
            println!(
                "| {name} | {bar} | {median:.2} {unit} | {least:.2} .. {greatest:.2} | {runs} |"
            );
        }
        Ok(())
    }
}

/// Tells how far the bench is.
#[expect(clippy::print_stderr, reason = "a bench takes minutes and tells what it does")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
