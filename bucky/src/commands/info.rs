//! `bucky info`: the header of local Whisper files.

use std::path::PathBuf;
use std::sync::Arc;

use bucky_whisper::{Header, info};
use serde_json::{Value, json};

use crate::chain;
use crate::outcome::Outcome;
use crate::output::Output;

/// Arguments of `bucky info`.
#[derive(clap::Args)]
#[command(
    about = "Show the header of local Whisper files",
    after_help = "Examples:\n\
        \x20 bucky info app.wsp"
)]
pub(crate) struct Args {
    /// Print a JSON object a line
    #[arg(short = 'j', long)]
    json: bool,
    /// Local Whisper files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Done;
    let mut is_first = true;
    for path in &args.files {
        let header = match info(path) {
            Ok(header) => header,
            Err(error) => {
                output.say(format_args!("bucky: {}", chain(&error)));
                outcome = Outcome::SomeFailed;
                continue;
            }
        };
        let shown = path.to_string_lossy();
        if args.json {
            output.data_line(to_json(&shown, &header))?;
        } else {
            let gap = if is_first { "" } else { "\n" };
            output.data_text(format_args!("{gap}{}", text(&shown, &header)))?;
        }
        is_first = false;
    }
    Ok(outcome)
}

fn text(path: &str, header: &Header) -> String {
    let last_update = header.last_update.map_or_else(String::new, |time| {
        format!("lastUpdate: {time} (a file from before whisper 0.9.9, read as average)\n")
    });
    let mut text = format!(
        "path: {path}\naggregationMethod: {}\n{last_update}maxRetention: {}\nxFilesFactor: {}\nfileSize: {}\n",
        header.aggregation,
        header.max_retention,
        header.x_files_factor.get(),
        header.file_size_bytes(),
    );
    for (number, archive) in header.archives.iter().enumerate() {
        text.push_str(&format!(
            "\nArchive {number}\noffset: {}\nsecondsPerPoint: {}\npoints: {}\nretention: {}\nsize: {}\n",
            archive.offset,
            archive.seconds_per_point,
            archive.points,
            archive.retention(),
            archive.size_bytes(),
        ));
    }
    text
}

fn to_json(path: &str, header: &Header) -> Value {
    let archives: Vec<Value> = header
        .archives
        .iter()
        .map(|archive| {
            json!({
                "offset": archive.offset,
                "secondsPerPoint": archive.seconds_per_point,
                "points": archive.points,
                "retention": archive.retention(),
                "size": archive.size_bytes(),
            })
        })
        .collect();
    let mut json = json!({
        "path": path,
        "aggregationMethod": header.aggregation.to_string(),
        "maxRetention": header.max_retention,
        "xFilesFactor": header.x_files_factor.get(),
        "fileSize": header.file_size_bytes(),
        "archives": archives,
    });
    if let Some(time) = header.last_update {
        json["lastUpdate"] = time.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_whisper::{Aggregation, Retention, XFilesFactor};

    fn header() -> Header {
        let retentions: Vec<Retention> =
            ["60s:1d", "5m:7d"].iter().map(|text| text.parse().unwrap()).collect();
        Header::for_retentions(&retentions, Aggregation::Sum, XFilesFactor::new(0.5).unwrap())
            .unwrap()
    }

    #[test]
    fn the_header_is_shown_in_the_words_of_whisper_info() {
        insta::assert_snapshot!(text("/w/a.wsp", &header()));
    }

    #[test]
    fn a_header_from_before_whisper_0_9_9_is_named() {
        let header = Header {
            aggregation: Aggregation::Average,
            last_update: Some(1_284_000_600),
            ..header()
        };
        let text = text("/w/a.wsp", &header);
        let expected = "aggregationMethod: average\n\
            lastUpdate: 1284000600 (a file from before whisper 0.9.9, read as average)\n";
        assert!(text.contains(expected), "{text}");
        assert_eq!(to_json("/w/a.wsp", &header)["lastUpdate"], 1_284_000_600);
    }

    #[test]
    fn the_json_has_every_archive() {
        let json = to_json("/w/a.wsp", &header());
        assert_eq!(json["archives"][1]["secondsPerPoint"], 300);
        assert_eq!(json["aggregationMethod"], "sum");
    }
}
