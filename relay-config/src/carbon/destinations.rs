//! DESTINATIONS, as carbon's `parseDestination` reads each of them.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use bucky_ring::{Node, NodeError};

use super::ini::{Ini, Value};
use super::python::{int, is_space, strip};
use crate::{Place, Refusal, RefusalKind};

/// The most destinations: as many as a ring may have nodes.
const DESTINATIONS_MOST: usize = 4096;

/// What happens to a destination that is listed twice, to the letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    /// It counts once: carbon's client manager passes it over.
    Once,
    /// It is an error: carbonate adds it to the ring again.
    Refused,
}

/// What is done with white space before a destination is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blanks {
    /// It stays, and becomes a part of host or instance: refused.
    Stay,
    /// Blanks are removed everywhere: carbonate. Other white space stays.
    Removed,
}

/// The nodes of a DESTINATIONS value, in its order, and where each stands.
///
/// # Errors
/// [`Refusal`] for what carbon refuses, and for what it takes otherwise than it looks.
pub(crate) fn destinations(
    ini: &Ini<'_>,
    value: &Value,
    twice: Twice,
    blanks: Blanks,
) -> Result<(Vec<Node>, Vec<Place>), Refusal> {
    let (mut nodes, mut places) = (Vec::<Node>::new(), Vec::new());
    let mut known: HashMap<(String, Option<String>), usize> = HashMap::new();
    if value.text.split(',').nth(DESTINATIONS_MOST).is_some() {
        return Err(Refusal {
            kind: RefusalKind::TooManyServers,
            place: ini.place(value.key_offset),
            message: format!("more than {DESTINATIONS_MOST} destinations"),
        });
    }
    let mut at = 0;
    for part in value.text.split(',') {
        let begin = at + part.find(|c| !is_space(c)).unwrap_or(0);
        // An empty part has no place of its own: that of the comma before it.
        let shown = if strip(part).is_empty() { at.saturating_sub(1) } else { begin };
        let place = ini.place(value.offset(shown));
        let white = |within: usize| ini.place(value.offset(begin + within));
        let node = node(strip(part), blanks, &place, &white)?;
        at += part.len() + 1;
        let key = (node.host().to_owned(), node.instance().map(str::to_owned));
        let first = known.get(&key).and_then(|first| nodes.get(*first));
        if let Some(first) = first {
            if *first == node && twice == Twice::Once {
                continue;
            }
            return Err(Refusal {
                kind: RefusalKind::DuplicateNode,
                place,
                message: format!(
                    "{} is already a destination ({}): carbon knows a node by host and instance, and does not start",
                    strip(part),
                    listed(first)
                ),
            });
        }
        known.insert(key, nodes.len());
        nodes.push(node);
        places.push(place);
    }
    Ok((nodes, places))
}

/// A node as DESTINATIONS has it.
fn listed(node: &Node) -> String {
    let host = if node.host().contains(':') {
        format!("[{}]", node.host())
    } else {
        node.host().to_owned()
    };
    let instance = node.instance().map(|instance| format!(":{instance}")).unwrap_or_default();
    format!("{host}:{}{instance}", node.port())
}

fn node(
    text: &str,
    blanks: Blanks,
    place: &Place,
    white: &dyn Fn(usize) -> Place,
) -> Result<Node, Refusal> {
    let refuse = |kind, message: String| Err(Refusal { kind, place: place.clone(), message });
    let cleaned = match blanks {
        Blanks::Stay => text.to_owned(),
        Blanks::Removed => text.replace(' ', ""),
    };
    if cleaned.is_empty() {
        let message = "a destination is empty: carbon does not start; remove the comma";
        return refuse(RefusalKind::EmptyDestination, message.to_owned());
    }
    check_white_space(text, blanks, white)?;
    let (host, port, instance) = match split(&cleaned) {
        Split::Parts(host, port, instance) => (host, port, instance),
        Split::NoPort => {
            let message = format!("{text:?} has no port: write HOST:PORT or HOST:PORT:INSTANCE");
            return refuse(RefusalKind::NoPort, message);
        }
    };
    if is_bare_ipv6(&cleaned) {
        let message =
            format!("{text:?} is an IPv6 address without brackets: write [ADDRESS]:PORT:INSTANCE");
        return refuse(RefusalKind::Ipv6WithoutBrackets, message);
    }
    let port = int(port).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let Some(port) = port else {
        let message =
            format!("{text:?}: the port is not a number from 1 to 65535; write HOST:PORT:INSTANCE");
        return refuse(RefusalKind::BadPort, message);
    };
    if instance == Some("") {
        let message = format!(
            "{text:?} ends with a colon: carbon hashes an empty instance, which is another ring than without \
             one; remove the colon, or name the instance"
        );
        return refuse(RefusalKind::EmptyInstance, message);
    }
    Node::new(host, port, instance).or_else(|error| {
        let kind = match error {
            NodeError::BadInstance { .. } => RefusalKind::BadInstance,
            _ => RefusalKind::BadHost,
        };
        refuse(kind, format!("{text:?}: {error}"))
    })
}

/// White space inside a destination means another ring than what was meant: a comment that Python 3 leaves in
/// the value, a comma that is missing, a key that is indented.
fn check_white_space(
    text: &str,
    blanks: Blanks,
    white: &dyn Fn(usize) -> Place,
) -> Result<(), Refusal> {
    let mut after_space = false;
    for (at, c) in text.char_indices() {
        if after_space && matches!(c, '#' | ';') {
            return Err(Refusal {
                kind: RefusalKind::InlineComment,
                place: white(at),
                message: format!(
                    "a comment behind a value: Python 3 makes it a part of the instance ({text:?}), Python 2 \
                     cut it off; put it on a line of its own"
                ),
            });
        }
        after_space = is_space(c);
    }
    let counts = |c: char| is_space(c) && (blanks == Blanks::Stay || c != ' ');
    let Some(begin) = text.find(counts) else { return Ok(()) };
    let next = begin + text[begin..].find(|c| !is_space(c)).unwrap_or(0);
    Err(Refusal {
        kind: RefusalKind::BlankInDestination,
        place: white(next),
        message: format!(
            "white space inside of a destination becomes a part of its host or instance ({text:?}); is a comma \
             missing before it, or is the line indented too far?"
        ),
    })
}

enum Split<'a> {
    Parts(&'a str, &'a str, Option<&'a str>),
    NoPort,
}

/// Host, port and instance as `parseDestination` cuts them.
fn split(text: &str) -> Split<'_> {
    let (host, rest) = if text.starts_with('[') {
        match text.rfind("]:") {
            Some(end) => (&text[1..end], &text[end + 2..]),
            None => return Split::NoPort,
        }
    } else {
        match text.split_once(':') {
            Some(parts) => parts,
            // carbon cuts the last character off and takes all of it for the port.
            None => return Split::NoPort,
        }
    };
    match rest.split_once(':') {
        Some((port, instance)) => Split::Parts(host, port, Some(instance)),
        None => Split::Parts(host, rest, None),
    }
}

/// Whether `text` is an IPv6 address without brackets, perhaps with a port and an instance behind it.
fn is_bare_ipv6(text: &str) -> bool {
    fn shorter<'t>(text: &&'t str) -> Option<&'t str> {
        text.rsplit_once(':').map(|(before, _)| before)
    }
    let mut candidates = std::iter::successors(Some(text), shorter).take(3);
    candidates.any(|text| text.contains(':') && text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;
    use crate::carbon::ini::Ini;

    fn read(value: &str, twice: Twice, blanks: Blanks) -> String {
        let file = SourceFile::new("f", &format!("[a]\nd = {value}\n"));
        let ini = Ini::parse(&file).expect("a file");
        let value = ini.get(ini.section("a").expect("a section"), "d").expect("a key");
        match destinations(&ini, value, twice, blanks) {
            Ok((nodes, places)) => {
                let nodes = nodes.iter().zip(places);
                nodes
                    .map(|(node, place)| format!("{node}@{}", place.column))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            Err(refusal) => refusal.to_string(),
        }
    }

    fn carbon(value: &str) -> String {
        read(value, Twice::Once, Blanks::Stay)
    }

    #[test]
    fn destinations_are_cut_as_carbon_cuts_them() {
        let cases = [
            ("a:2004", "a:2004@5"),
            ("a:2004:x, b:2004:y", "a:2004=x@5 b:2004=y@15"),
            ("h:2004:a:b", "h:2004=a:b@5"),
            ("[fd00::1]:2004:a,[fd00::1]:2004", "[fd00::1]:2004=a@5 [fd00::1]:2004@22"),
            ("a:02004:x,b:+2004:x,c:2_004:x", "a:2004=x@5 b:2004=x@15 c:2004=x@25"),
            ("a:1:x,a:1:x,b:1", "a:1=x@5 b:1@17"),
            ("[a]:1:x", "a:1=x@5"),
        ];
        for (value, nodes) in cases {
            assert_eq!(carbon(value), nodes, "{value}");
        }
    }

    #[test]
    fn what_carbon_refuses_or_reads_otherwise_than_it_looks_is_refused() {
        let cases = [
            ("", "[empty-destination]"),
            ("a:1,", "f:2:8: a destination is empty"),
            ("a:1,,b:1", "f:2:8: a destination is empty"),
            ("a", "\"a\" has no port"),
            ("20041", "\"20041\" has no port"),
            ("[fd00::1]", "[no-port]"),
            ("a:", "[bad-port]"),
            ("a:pickle:x", "[bad-port]"),
            ("a:0", "[bad-port]"),
            ("a:-1", "[bad-port]"),
            ("a:65536", "[bad-port]"),
            ("a:1:", "[empty-instance]"),
            ("::1:2004:a", "[ipv6-without-brackets]"),
            ("2001:db8::5:2004:b", "[ipv6-without-brackets]"),
            ("fd00:30::2:2004:b", "[ipv6-without-brackets]"),
            ("fd00:30::2", "[ipv6-without-brackets]"),
            ("a:1:x ; c", "f:2:11: a comment behind a value"),
            ("a:1 # c, b:1", "f:2:9: a comment behind a value"),
            ("a : 1 : x", "f:2:7: white space inside of a destination"),
            ("a:1:x\n  b:1:y", "f:3:3: white space inside of a destination"),
            ("a/b:1", "[bad-host]"),
            ("-a:1", "[bad-host]"),
            ("a:1:x\u{7}y", "[bad-instance]"),
            ("a:1:x,a:2:x", "f:2:11: a:2:x is already a destination (a:1:x)"),
        ];
        for (value, said) in cases {
            let found = carbon(value);
            assert!(found.contains(said), "{value}: {found}");
        }
    }

    #[test]
    fn carbonate_removes_blanks_and_refuses_a_repetition() {
        let carbonate = |value| read(value, Twice::Refused, Blanks::Removed);
        assert_eq!(carbonate("a : 1 : x, b :1: y"), "a:1=x@5 b:1=y@16");
        assert!(carbonate("a:1:x,a:1:x").contains("[duplicate-node]"));
        assert!(carbonate("a:1:x\n  b:1:y").contains("[blank-in-destination]"));
        assert!(carbonate("a:1:x ; c").contains("[inline-comment]"));
    }
}
