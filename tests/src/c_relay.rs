//! Asks carbon-c-relay itself where it sends names (its test mode, `-t`).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::peer;

/// What one rule of the relay does with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The cluster; empty if the metric is dropped.
    pub cluster: String,
    /// The servers, as `host:port`.
    pub owners: Vec<String>,
}

/// Where each of `names` is sent, in the order of the rules, or `None` if the relay does not start with the
/// configuration `text`. It is written into `folder`.
///
/// # Panics
/// If the relay cannot be run.
#[track_caller]
pub fn ask(folder: &Path, text: &str, names: &[String]) -> Option<Vec<Vec<Sent>>> {
    let path = folder.join("relay.conf");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(peer::program("carbon-c-relay"));
    command.arg("-f").arg(&path).arg("-t");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A name that no rule takes gives no line. The marks say where each name ends.
    let marked = names.iter().map(|name| format!("{name}\n"));
    let lines = marked.collect::<String>();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // A relay that does not start does not read.
    let _ = writer.join().unwrap();
    if !output.status.success() {
        return None;
    }
    let answer = String::from_utf8(output.stdout).unwrap();
    let mut found = vec![Vec::new(); names.len()];
    let mut name = None;
    for line in answer.lines() {
        if let Some((_, asked)) = line.split_once("-> ")
            && !line.trim_start().starts_with("using(")
        {
            name = names.iter().position(|name| name == asked.trim());
        }
        let Some(sent) = name.and_then(|name: usize| found.get_mut(name)) else { continue };
        read_line(line, sent);
    }
    Some(found)
}

/// A line of the relay's answer: `    carbon_ch(main)`, and then its servers.
fn read_line(line: &str, sent: &mut Vec<Sent>) {
    if let Some(owner) = line.strip_prefix("        ") {
        let owner = owner.split(' ').next().unwrap_or_default();
        if let Some(last) = sent.last_mut().filter(|_| !owner.starts_with("using(")) {
            last.owners.push(owner.to_owned());
        }
    } else if let Some(cluster) = line.strip_prefix("    ")
        && let Some((_, cluster)) = cluster.split_once('(')
        && let Some(cluster) = cluster.strip_suffix(')')
    {
        sent.push(Sent { cluster: cluster.to_owned(), owners: Vec::new() });
    }
}
