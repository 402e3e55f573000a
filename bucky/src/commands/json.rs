//! `bucky json`: names as a JSON array, for the commands that read one.

use std::io::Read;
use std::sync::Arc;

use crate::byte_order_mark::without_mark;
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, json_string};

/// Arguments of `bucky json`.
#[derive(clap::Args)]
#[command(
    about = "Convert names to a JSON array",
    after_help = "Examples:\n\
        \x20 bucky json - < names.txt"
)]
pub(crate) struct Args {
    /// Names; or `-`: lines on standard input
    #[arg(value_name = "METRIC", required = true)]
    names: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let names = if args.names.first().is_some_and(|name| name == "-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| UsageError::because(format!("cannot read standard input: {error}")))?;
        lines(&bytes)
    } else {
        args.names.clone()
    };
    output.data_line(array(&names))?;
    Ok(Outcome::Done)
}

/// The lines that are not empty, trimmed; bytes that are not UTF-8 become U+FFFD.
fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(without_mark(bytes));
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn array(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| json_string(name)).collect();
    format!("[{}]", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_an_array_on_one_line() {
        assert_eq!(array(&lines(b"a.b\n\n  c<d \r\n\xff")), "[\"a.b\",\"c\\u003cd\",\"\u{fffd}\"]");
        assert_eq!(array(&lines(b"")), "[]");
    }
}
