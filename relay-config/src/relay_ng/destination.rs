//! A destination: `HOST:PORT[:INSTANCE] OPTION=VALUE...`

use bucky_ring::{Node, NodeError};

use crate::{Place, Refusal, RefusalKind};

/// The options that carbon-relay-ng takes for a destination of a hash ring, and the kind of their values.
const OPTIONS: [(&str, OptionValue); 12] = [
    ("connbuf", OptionValue::Number),
    ("flush", OptionValue::Number),
    ("iobuf", OptionValue::Number),
    ("pickle", OptionValue::Boolean),
    ("reconn", OptionValue::Number),
    ("spool", OptionValue::Boolean),
    ("spoolbuf", OptionValue::Number),
    ("spoolmaxbytesperfile", OptionValue::Number),
    ("spoolsleep", OptionValue::Number),
    ("spoolsyncevery", OptionValue::Number),
    ("spoolsyncperiod", OptionValue::Number),
    ("unspoolsleep", OptionValue::Number),
];

/// Words that the relay's scanner takes for themselves wherever a word begins with them.
const SCANNED: [&str; 2] = ["true", "false"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OptionValue {
    Number,
    Boolean,
}

/// The address in `text`, which is everything before the first blank.
///
/// # Errors
/// [`Refusal`] for what keeps the relay from starting: no address, an option that it does not take here.
pub(super) fn address<'t>(text: &'t str, place: &Place) -> Result<&'t str, Refusal> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let refuse = |kind, message: String| Refusal { kind, place: place.clone(), message };
    let Some(address) = words.next() else {
        return Err(refuse(RefusalKind::EmptyDestination, "a destination is empty".to_owned()));
    };
    if SCANNED.iter().any(|word| address.starts_with(word)) {
        let message = format!(
            "{address:?} begins with true or false, which carbon-relay-ng takes for an option"
        );
        return Err(refuse(RefusalKind::BadHost, message));
    }
    for word in words {
        let known = word.split_once('=').and_then(|(name, value)| {
            let (_, kind) = OPTIONS.iter().find(|(known, _)| *known == name)?;
            Some(match kind {
                OptionValue::Number => {
                    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
                }
                OptionValue::Boolean => matches!(value, "true" | "false"),
            })
        });
        if known != Some(true) {
            let message = format!(
                "{word:?} is not an option of a destination of a hash ring; in an init command, two blanks separate \
                 destinations"
            );
            return Err(refuse(RefusalKind::BadCommand, message));
        }
    }
    Ok(address)
}

/// The node at `address`: two colons give an instance; the host is what is before the first.
///
/// # Errors
/// [`Refusal`] for what the relay hashes otherwise than it looks.
pub(super) fn node(address: &str, place: &Place) -> Result<Node, Refusal> {
    let refuse = |kind, message: String| Err(Refusal { kind, place: place.clone(), message });
    if address.contains('$') {
        let message = format!(
            "{address:?}: carbon-relay-ng replaces $HOST and ${{…}} when it starts; write the name"
        );
        return refuse(RefusalKind::BadHost, message);
    }
    let parts: Vec<&str> = address.split(':').collect();
    let (host, port, instance) = match parts.as_slice() {
        [host] => (*host, None, ""),
        [host, port] => (*host, Some(*port), ""),
        [host, port, instance] => (*host, Some(*port), *instance),
        _ => {
            let message = format!(
                "{address:?} has too many colons: carbon-relay-ng cuts the host at the first one, so it cannot have \
                 IPv6 addresses; give it a name"
            );
            return refuse(RefusalKind::BadHost, message);
        }
    };
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u16>().ok()).flatten().filter(|port| *port > 0)
    };
    let port = match port {
        None => 0,
        Some(digits) => match number(digits) {
            Some(port) => port,
            None => {
                let message =
                    format!("port {digits:?} of {address:?} is not a number from 1 to 65535");
                return refuse(RefusalKind::BadPort, message);
            }
        },
    };
    Node::new(host, port, Some(instance)).or_else(|error| {
        let kind = match error {
            NodeError::BadInstance { .. } => RefusalKind::BadInstance,
            _ => RefusalKind::BadHost,
        };
        refuse(kind, format!("{address:?}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    fn read(text: &str) -> String {
        let place = SourceFile::new("f", "").place(0);
        match address(text, &place).and_then(|address| node(address, &place)) {
            Ok(node) => node.to_string(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn two_colons_give_an_instance() {
        let cases = [
            ("a:2003", "a:2003"),
            ("a:2003:x", "a:2003=x"),
            ("a:2003:", "a:2003"),
            ("a", "a"),
            ("a:2003:x spool=true  flush=1000 pickle=false", "a:2003=x"),
        ];
        for (text, node) in cases {
            assert_eq!(read(text), node, "{text}");
        }
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        let cases = [
            ("", "[empty-destination]"),
            ("[fd00::1]:2003:a", "[bad-host]"),
            ("a:1:x:y", "[bad-host]"),
            ("truest:1", "[bad-host]"),
            ("$HOST:1", "write the name [bad-host]"),
            ("a:x", "[bad-port]"),
            ("a:0", "[bad-port]"),
            ("a/b:1", "[bad-host]"),
            ("a:1 b:1", "[bad-command]"),
            ("a:1 spool=yes", "[bad-command]"),
            ("a:1 prefix=x", "[bad-command]"),
        ];
        for (text, said) in cases {
            let found = read(text);
            assert!(found.contains(said), "{text}: {found}");
        }
    }
}
