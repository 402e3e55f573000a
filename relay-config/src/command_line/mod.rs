//! The command line of a daemon: the Go tool's `buckyd`, or ours.

mod program;
mod words;

use bucky_ring::{Algorithm, NodeError, NodeListError, Relay, RingSpec, TaggedNames, nodes_in};

use self::program::started;
use self::words::Word;
use crate::{
    Choice, Configuration, FoundRing, Need, Origins, OtherFiles, Program, Refusal, RefusalKind,
    SourceFile,
};

/// The flags of both daemons that take a value. A test of `buckyd` compares them with what it declares.
pub const FLAGS_WITH_VALUE: [&str; 39] = [
    "aggregation-6",
    "aggregation-rules",
    "auth-jwt-accept-secret-file",
    "auth-jwt-secret-file",
    "b",
    "bind",
    "cache-path",
    "cache_path",
    "cluster",
    "follow",
    "hash",
    "idle-timeout",
    "local-prefix",
    "lock-timeout",
    "log-format",
    "max-clock-difference",
    "max-transfers",
    "memory",
    "n",
    "node",
    "p",
    "peer",
    "peer-timeout",
    "pprof",
    "prefix",
    "pyroscope",
    "relay",
    "replicas",
    "replication-factor",
    "ring-from",
    "route",
    "section",
    "series",
    "state-dir",
    "t",
    "tagged-names",
    "timeout",
    "tmpdir",
    "tombstone-grace",
];

/// The flags of both daemons without a value, sorted. The same test compares them.
pub const FLAGS_WITHOUT_VALUE: [&str; 6] =
    ["compressed", "diverse-replicas", "h", "help", "mtime", "sparse"];
/// The most nodes of a ring.
const NODES_MOST: usize = 4096;
/// Flags that start no daemon.
const HELP: [&str; 4] = ["h", "help", "V", "version"];
/// The values of a boolean flag, as Go's flag package reads them.
const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE: [&str; 6] = ["0", "f", "F", "FALSE", "false", "False"];

pub(crate) fn read(
    file: &SourceFile,
    _files: &mut dyn OtherFiles,
) -> Result<Configuration, Refusal> {
    let mut found: Option<Line<'_>> = None;
    for one in started(file)? {
        if matches!(one.arguments.as_slice(), [flag] if HELP.contains(&flag.text.trim_start_matches('-')))
        {
            continue;
        }
        let line = Line::parse(file, &one.arguments)?;
        // It only names the program, such as in a test whether it runs.
        if line.nodes.is_empty() && line.flags_given == 0 {
            continue;
        }
        if found.replace(line).is_some() {
            return Err(Refusal {
                kind: RefusalKind::UnknownProgram,
                place: file.place(one.program.offset),
                message: "a second command line of buckyd; give a file with one".to_owned(),
            });
        }
    }
    let Some(line) = found else {
        return Err(Refusal {
            kind: RefusalKind::NoRing,
            place: file.place(0),
            message: "no command line of buckyd with nodes is here".to_owned(),
        });
    };
    let choices = vec![Choice { name: String::new(), ring: line.ring() }];
    Ok(Configuration { program: Program::Buckyd, selector: None, choices, routing: None })
}

/// Whether a command in `file` starts the daemon. A file that cannot be cut into words has none.
pub(crate) fn starts_daemon(file: &SourceFile) -> bool {
    started(file).is_ok_and(|started| !started.is_empty())
}

/// Whether `word` is the value of a flag in `arguments`.
fn is_value(arguments: &[Word], word: &Word) -> bool {
    let at = arguments.iter().position(|other| other.offset == word.offset && other == word);
    let before = at.and_then(|at| at.checked_sub(1)).and_then(|before| arguments.get(before));
    before.is_some_and(|flag| {
        flag.text.starts_with('-') && FLAGS_WITH_VALUE.contains(&flag.text.trim_start_matches('-'))
    })
}

/// A flag's value, and where it stands.
type Given = Option<(String, usize)>;

/// What a command line says about the ring.
struct Line<'f> {
    file: &'f SourceFile,
    hash: Given,
    relay: Given,
    replicas: Given,
    tagged_names: Given,
    diverse: Option<usize>,
    aggregation_rules: Option<usize>,
    ring_from: Given,
    nodes: Vec<Word>,
    flags_given: usize,
}

impl<'f> Line<'f> {
    fn parse(file: &'f SourceFile, words: &[Word]) -> Result<Self, Refusal> {
        let mut line = Self {
            file,
            hash: None,
            relay: None,
            replicas: None,
            tagged_names: None,
            diverse: None,
            aggregation_rules: None,
            ring_from: None,
            nodes: Vec::new(),
            flags_given: 0,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word.text == "--" {
                line.nodes.extend(words.cloned());
                break;
            }
            let Some(flag) = word.text.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                line.nodes.push(word.clone());
                continue;
            };
            if !line.nodes.is_empty() {
                return Err(line.refuse(
                    RefusalKind::BadCommand,
                    word.offset,
                    format!("{:?} is behind the nodes, where the Go tool takes it for a node; put flags first", word.text),
                ));
            }
            line.flags_given += 1;
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => {
                    (name, Some(Word { text: value.to_owned(), ..word.clone() }))
                }
                None => (flag, None),
            };
            let takes_value = FLAGS_WITH_VALUE.contains(&name);
            if !takes_value && !FLAGS_WITHOUT_VALUE.contains(&name) {
                let message = format!(
                    "buckyd has no flag {:?}, so it is not known whether a value follows it",
                    word.text
                );
                return Err(line.refuse(RefusalKind::BadCommand, word.offset, message));
            }
            let value = match value {
                None if takes_value => words.next().cloned(),
                value => value,
            };
            line.note(name, word, value)?;
        }
        Ok(line)
    }

    fn refuse(&self, kind: RefusalKind, offset: usize, message: String) -> Refusal {
        Refusal { kind, place: self.file.place(offset), message }
    }

    /// A word whose variables the file does not have says nothing.
    fn known(&self, word: &Word) -> Result<(), Refusal> {
        let Some(offset) = word.variable else { return Ok(()) };
        let message = format!("{:?} has a variable, whose value is not in this file", word.text);
        Err(self.refuse(RefusalKind::BadCommand, offset, message))
    }

    fn note(&mut self, name: &str, flag: &Word, value: Option<Word>) -> Result<(), Refusal> {
        let field = match name {
            "hash" => &mut self.hash,
            "relay" => &mut self.relay,
            "replicas" | "replication-factor" => &mut self.replicas,
            "tagged-names" => &mut self.tagged_names,
            "ring-from" => &mut self.ring_from,
            "diverse-replicas" => {
                let value = value.map_or_else(|| "true".to_owned(), |value| value.text);
                if !TRUE.contains(&value.as_str()) && !FALSE.contains(&value.as_str()) {
                    let message = format!("{} is neither true nor false", flag.text);
                    return Err(self.refuse(RefusalKind::BadCommand, flag.offset, message));
                }
                self.diverse = TRUE.contains(&value.as_str()).then_some(flag.offset);
                return Ok(());
            }
            "aggregation-rules" => {
                self.aggregation_rules = Some(flag.offset);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let Some(value) = value else {
            let message = format!("{} needs a value", flag.text);
            return Err(self.refuse(RefusalKind::BadCommand, flag.offset, message));
        };
        *field = Some((value.text.clone(), value.offset));
        self.known(&value)
    }

    fn ring(&self) -> Result<FoundRing, Refusal> {
        if let Some((path, offset)) = &self.ring_from {
            let message = format!("this daemon reads its ring from {path}; give that file");
            return Err(self.refuse(RefusalKind::NoRing, *offset, message));
        }
        if let Some(one_too_many) = self.nodes.get(NODES_MOST) {
            return Err(self.refuse(
                RefusalKind::TooManyServers,
                one_too_many.offset,
                format!("more than {NODES_MOST} nodes"),
            ));
        }
        let mut nodes = Vec::new();
        let mut places = Vec::new();
        for (index, word) in self.nodes.iter().enumerate() {
            self.known(word)?;
            let read = nodes_in(&word.text, index + 1 == self.nodes.len());
            let read = read.map_err(|error| self.bad_node(word, &error))?;
            places.extend(read.iter().map(|_| self.file.place(word.offset)));
            nodes.extend(read);
        }
        if nodes.is_empty() {
            return Err(self.refuse(
                RefusalKind::NoRing,
                0,
                "this command line names no node".to_owned(),
            ));
        }
        let algorithm: Option<Algorithm> = self.parsed(&self.hash, RefusalKind::UnknownHash)?;
        let relay: Option<Relay> = self.parsed(&self.relay, RefusalKind::UnknownMethod)?;
        let tagged: Option<TaggedNames> = self.parsed(&self.tagged_names, RefusalKind::Syntax)?;
        let algorithm = algorithm.unwrap_or(Algorithm::default_of(relay));
        let (relay, tagged_names) =
            bucky_ring::resolve(algorithm, relay, tagged).map_err(|error| {
                let offset =
                    self.relay.as_ref().or(self.hash.as_ref()).map_or(0, |(_, offset)| *offset);
                self.refuse(RefusalKind::UnknownHash, offset, error.to_string())
            })?;
        let place = |given: &Given| given.as_ref().map(|(_, offset)| self.file.place(*offset));
        let need =
            self.aggregation_rules.map(|offset| Need::aggregation_rules(self.file.place(offset)));
        Ok(FoundRing {
            spec: RingSpec {
                nodes,
                algorithm,
                relay,
                replication_factor: self.copies()?,
                diverse_replicas: self.diverse.is_some(),
                tagged_names,
                aggregation: None,
                routes: None,
            },
            origins: Origins {
                nodes: places,
                algorithm: place(&self.hash),
                replication_factor: place(&self.replicas),
                diverse_replicas: self.diverse.map(|offset| self.file.place(offset)),
            },
            warnings: Vec::new(),
            needs: need.into_iter().collect(),
        })
    }

    fn bad_node(&self, word: &Word, error: &NodeListError) -> Refusal {
        let kind = match error {
            NodeListError::Node { source: NodeError::BadInstance { .. }, .. } => {
                RefusalKind::BadInstance
            }
            NodeListError::Node {
                source: NodeError::BadPort(_) | NodeError::OctalPort(_), ..
            } => RefusalKind::BadPort,
            NodeListError::Empty { .. } => RefusalKind::EmptyDestination,
            NodeListError::Node { .. } | NodeListError::Joined { .. } => RefusalKind::BadHost,
        };
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        self.refuse(kind, word.offset, format!("{error}{}", source.unwrap_or_default()))
    }

    fn parsed<T: std::str::FromStr<Err = bucky_ring::UnknownName>>(
        &self,
        given: &Given,
        kind: RefusalKind,
    ) -> Result<Option<T>, Refusal> {
        let Some((text, offset)) = given else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|error: bucky_ring::UnknownName| self.refuse(kind, *offset, error.to_string()))
    }

    /// As Go reads numbers: with `0x`, `0b`, `0o` and `_`. Only the plain ones are in use.
    fn copies(&self) -> Result<usize, Refusal> {
        let Some((text, offset)) = &self.replicas else { return Ok(1) };
        let copies = text.parse().ok().filter(|copies| *copies > 0);
        copies.ok_or_else(|| {
            let message = format!("-replicas {text} is not a number of at least 1");
            self.refuse(RefusalKind::BadReplicationFactor, *offset, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoOtherFiles;

    fn ring(text: &str) -> Result<String, String> {
        let file = SourceFile::new("f", text);
        let read =
            crate::read(&file, None, &mut NoOtherFiles).map_err(|refusal| refusal.to_string())?;
        assert_eq!(read.program, Program::Buckyd, "{text}");
        let choice = read.choices.into_iter().next().expect("a choice");
        let found = choice.ring.map_err(|refusal| refusal.to_string())?;
        Ok(found.spec.daemon_words().join(" "))
    }

    #[test]
    fn a_line_of_the_go_tool_is_read_from_wherever_it_is_kept() {
        let due = "--relay buckytools --hash fnv1a a:2003=x b:2003=y";
        for text in [
            "/usr/bin/buckyd -node a -hash fnv1a a:2003=x b:2003=y",
            "buckyd --hash=fnv1a -sparse -p /data -- a:2003=x b:2003=y",
            "[Unit]\nDescription=buckyd\n[Service]\nExecStart=-/usr/bin/buckyd -hash fnv1a \\\n  a:2003=x \\\n  b:2003=y\n",
            "/usr/bin/buckyd\0-hash\0fnv1a\0a:2003=x\0b:2003=y\0",
            "#!/bin/sh\n# start it\nexec buckyd -hash fnv1a 'a:2003=x' b:2003:y >/var/log/buckyd 2>&1 &\n",
            "exec buckyd -hash fnv1a a:2003=x b:2003=y 2>&1 | logger -t buckyd",
            "buckyd -hash fnv1a a:2003=x b:2003=y &\nbuckyd --help\n",
            "nohup buckyd -hash carbon -hash fnv1a_ch -b :4242 a:2003:x, b:2003:y",
        ] {
            assert_eq!(ring(text).as_deref(), Ok(due), "{text}");
        }
    }

    #[test]
    fn a_line_of_ours_has_all_parts_of_a_ring() {
        assert_eq!(
            ring("buckyd --relay carbon --replicas 2 --diverse-replicas -local-prefix a.b a:1=x b:1=x").as_deref(),
            Ok("--relay carbon --hash carbon --replicas 2 --diverse-replicas a:1=x b:1=x")
        );
        assert_eq!(
            ring("buckyd --relay carbon-relay-ng a:1=x b:1=x").as_deref(),
            Ok("--relay carbon-relay-ng --hash consistentHashing a:1=x b:1=x")
        );
    }

    #[test]
    fn what_the_line_does_not_say_is_refused() {
        for (text, said) in [
            ("buckyd -hash fnv1a $NODES", "f:1:20: \"$NODES\" has a variable"),
            ("buckyd -hash ${HASH} a:1", "[bad-command]"),
            ("buckyd a:1 -hash fnv1a", "f:1:12: \"-hash\" is behind the nodes"),
            ("buckyd -hash md5 a:1", "[unknown-hash]"),
            ("buckyd -relay x a:1", "[unknown-method]"),
            ("buckyd -replicas 0 a:1", "[bad-replication-factor]"),
            ("buckyd --ring-from /etc/carbon.conf", "give that file [no-ring]"),
            ("buckyd -b :1", "names no node [no-ring]"),
            ("buckyd a:1:", "[bad-host]"),
            ("buckyd a:x", "[bad-port]"),
            ("buckyd a:1\nbuckyd b:1", "f:2:1: a second command line"),
            ("buckyd a:1; buckyd -hash fnv1a b:1", "f:1:13: a second command line"),
            ("buckyd -logdir bar a:1", "f:1:8: buckyd has no flag \"-logdir\""),
            ("buckyd -diverse-replicas=no a:1", "-diverse-replicas=no is neither true nor false"),
            ("[Service]\nExecStart=buckyd a:1 # two", "node \"#\""),
            ("[Service]\nExecStart=buckyd a:1 b:2003=%H", "f:2:29: \"b:2003=%H\" has a variable"),
            ("buckyd -hash", "-hash needs a value"),
        ] {
            let refusal = ring(text).expect_err(text);
            assert!(refusal.contains(said), "{text}: {refusal}");
        }
    }
}
