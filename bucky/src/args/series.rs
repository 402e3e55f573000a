//! `--series FILE`: the series of tagged files that are named by a hash.

use std::path::PathBuf;

use bucky_placement::SeriesList;

use super::heading;
use crate::chain;
use crate::outcome::UsageError;
use crate::output::{Output, human_count};
use crate::placement::Series;

/// Arguments of the commands that place metrics.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct SeriesArgs {
    /// File with the series of tagged files, one a line (name;tag1=value1;tag2=value2)
    ///
    /// Export it from the tag database. It shows which nodes own the tagged files that are named by the hash
    /// of their series.
    #[arg(long, value_name = "FILE", help_heading = heading::SELECTION, hide_short_help = true)]
    series: Option<PathBuf>,
}

impl SeriesArgs {
    /// The series in the file, or none without a file. Warns of what is odd about it.
    ///
    /// # Errors
    /// [`UsageError`] if the file cannot be used.
    pub(crate) async fn read(&self, output: &Output) -> anyhow::Result<Series> {
        let Some(path) = self.series.clone() else { return Ok(Series::default()) };
        let read = tokio::task::spawn_blocking(move || SeriesList::read(&path));
        let list = read
            .await?
            .map_err(|error| UsageError::because(format!("--series: {}", chain(&error))))?;
        let counts = list.counts();
        if let Some(first) = &counts.first_not_series {
            let lines = human_count(counts.not_series);
            output.say(format_args!("bucky: --series: lines skipped: {lines}; {first}"));
        }
        if counts.duplicates > 0 {
            let lines = human_count(counts.duplicates);
            output.say(format_args!("bucky: --series: lines that repeat a series: {lines}"));
        }
        Ok(Series::of(list))
    }
}
