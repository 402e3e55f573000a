//! Asks carbon-c-relay itself where it sends names (its test mode, `-t`), and compares that with a ring.

mod answer;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bucky_ring::Ring;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use self::answer::RelayAnswer;

/// How long the relay may take. It looks up the names of its servers first.
const LIMIT: Duration = Duration::from_secs(120);
/// The longest answer: far more than ten thousand names need.
const ANSWER_MOST_BYTES: u64 = 256 << 20;
/// How much of what the relay says about an error is shown, in lines.
const SAID_LINES: usize = 5;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct RelayQuery {
    /// The relay's program.
    pub(crate) program: PathBuf,
    /// Its configuration.
    pub(crate) file: PathBuf,
    /// The clusters whose servers count.
    pub(crate) clusters: Vec<String>,
}

/// A name that the ring and the relay send to different servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disagreement {
    /// The name.
    pub(crate) name: String,
    /// The owners in the ring, as `host:port`.
    pub(crate) ring: Vec<String>,
    /// The servers of the relay.
    pub(crate) relay: Vec<String>,
}

/// How the ring and the relay compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RelayComparison {
    /// The relay's version, as it prints it.
    pub(crate) version: String,
    /// How many names were compared.
    pub(crate) compared: u64,
    /// How many names the relay sends to none of the clusters.
    pub(crate) elsewhere: u64,
    /// How many names the relay rewrites: files have another name than was asked.
    pub(crate) rewritten: u64,
    /// Those that differ.
    pub(crate) differ: Vec<Disagreement>,
}

/// Why the relay gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// It cannot be started.
    #[error(
        "cannot start {}; run this on the relay's host, or name the program with --program PATH",
        program.display()
    )]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing could be read from it or written to it.
    #[error("cannot speak to {}", program.display())]
    Pipe {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{} does not take {}: {said}", program.display(), file.display())]
    Refused {
        /// The program.
        program: PathBuf,
        /// The configuration.
        file: PathBuf,
        /// The end of what it printed.
        said: String,
    },
    /// It did not end.
    #[error("{} has not answered within {} s", program.display(), LIMIT.as_secs())]
    TooSlow {
        /// The program.
        program: PathBuf,
    },
}

/// Compares where `ring` and the relay place `names`: what the relay hashes of them, each once.
///
/// # Errors
/// [`RelayError`] if the relay does not answer.
pub(crate) async fn compare(
    query: &RelayQuery,
    ring: &Ring,
    names: &BTreeSet<String>,
) -> Result<RelayComparison, RelayError> {
    let program = || query.program.clone();
    let asked = tokio::time::timeout(LIMIT, ask(query, names)).await;
    let answer = asked.map_err(|_| RelayError::TooSlow { program: program() })??;
    Ok(judged(&answer, &query.clusters, ring, names))
}

async fn ask(query: &RelayQuery, names: &BTreeSet<String>) -> Result<RelayAnswer, RelayError> {
    let pipe = |source| RelayError::Pipe { program: query.program.clone(), source };
    let mut command = Command::new(&query.program);
    command.arg("-f").arg(&query.file).arg("-t");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|source| RelayError::NotStarted { program: query.program.clone(), source })?;
    let lines: String = names.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        // A relay that does not start does not read; its exit code says why.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(lines.as_bytes()).await;
        }
    };
    let (mut printed, mut said) = (Vec::new(), Vec::new());
    let read = async {
        match stdout {
            Some(stdout) => stdout.take(ANSWER_MOST_BYTES).read_to_end(&mut printed).await,
            None => Ok(0),
        }
    };
    let read_errors = async {
        match stderr {
            Some(stderr) => stderr.take(ANSWER_MOST_BYTES).read_to_end(&mut said).await,
            None => Ok(0),
        }
    };
    let ((), read, read_errors) = tokio::join!(write, read, read_errors);
    read.and(read_errors).map_err(pipe)?;
    let status = child.wait().await.map_err(pipe)?;
    if !status.success() {
        let said = if said.is_empty() { &printed } else { &said };
        return Err(RelayError::Refused {
            program: query.program.clone(),
            file: query.file.clone(),
            said: format!("{status}\n{}", last_lines(said)),
        });
    }
    Ok(RelayAnswer::read(&String::from_utf8_lossy(&printed), names))
}

fn last_lines(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(SAID_LINES);
    lines[first..]
        .iter()
        .map(|line| format!("  {}", line.trim_end()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The comparison of what the relay answered.
fn judged(
    answer: &RelayAnswer,
    clusters: &[String],
    ring: &Ring,
    names: &BTreeSet<String>,
) -> RelayComparison {
    let mut found =
        RelayComparison { version: answer.version.clone(), ..RelayComparison::default() };
    for name in names {
        let Some(sent) = answer.sent.get(name) else {
            found.rewritten += 1;
            continue;
        };
        let relay: BTreeSet<String> = sent
            .iter()
            .filter(|sent| clusters.contains(&sent.cluster))
            .flat_map(|sent| sent.servers.clone())
            .collect();
        if relay.is_empty() {
            found.elsewhere += 1;
            // A plain ring places every name; the rules may send some elsewhere.
            if !ring.spec().has_rules() {
                continue;
            }
        }
        let own: BTreeSet<String> =
            ring.owners(name).map(|owner| server(&ring.nodes()[owner])).collect();
        found.compared += 1;
        if own != relay {
            found.differ.push(Disagreement {
                name: name.clone(),
                ring: own.into_iter().collect(),
                relay: relay.into_iter().collect(),
            });
        }
    }
    found
}

/// A node as carbon-c-relay prints a server.
fn server(node: &bucky_ring::Node) -> String {
    match node.host().contains(':') {
        true => format!("[{}]:{}", node.host(), node.port()),
        false => format!("{}:{}", node.host(), node.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Ring {
        let document = r#"{"Nodes":[{"Server":"10.0.0.1","Port":2003},{"Server":"fd00::1","Port":2003}],
            "Algo":"carbon","Replicas":2,"Relay":"carbon-c-relay"}"#;
        let document = bucky_ring::RingDocument::from_json(document.as_bytes()).unwrap();
        Ring::new(document.to_spec().unwrap()).unwrap()
    }

    #[test]
    fn names_are_compared_by_the_servers_of_the_chosen_clusters() {
        let printed = "starting carbon-c-relay v3.7.3 (2021-11-09), pid=1\n\
            match\n    * -> a\n    carbon_ch(main)\n        10.0.0.1:2003\n        [fd00::1]:2003\n    \
            forward(far)\n        10.9.9.9:2003\n\
            match\n    * -> b\n    carbon_ch(main)\n        10.0.0.1:2003\n\
            match\n    ^c [strncmp: c]\n    -> c\n    blackholed\n    stop\n\
            nothing matched d\n";
        let names: BTreeSet<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        let answer = RelayAnswer::read(printed, &names);
        let found = judged(&answer, &["main".to_owned()], &ring(), &names);
        assert_eq!(found.version, "carbon-c-relay v3.7.3");
        assert_eq!((found.compared, found.elsewhere, found.rewritten), (2, 2, 1));
        assert_eq!(found.differ.len(), 1);
        assert_eq!(found.differ[0].name, "b");
        assert_eq!(found.differ[0].relay, ["10.0.0.1:2003"]);
        assert_eq!(found.differ[0].ring, ["10.0.0.1:2003", "[fd00::1]:2003"]);
    }

    fn query(program: &str) -> RelayQuery {
        RelayQuery { program: program.into(), file: "relay.conf".into(), clusters: Vec::new() }
    }

    #[tokio::test]
    async fn a_relay_that_gives_no_answer_is_an_error() {
        let names: BTreeSet<String> = ["a".to_owned()].into();
        let missing = compare(&query("/no/such/relay"), &ring(), &names).await.unwrap_err();
        assert!(missing.to_string().contains("--program PATH"), "{missing}");
        let refused = compare(&query("false"), &ring(), &names).await.unwrap_err().to_string();
        assert!(refused.contains("false does not take relay.conf: exit status: 1"), "{refused}");
    }
}
