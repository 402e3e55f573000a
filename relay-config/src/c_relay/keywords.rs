//! The keywords of carbon-c-relay's configuration, and the states in which each is one.

/// What the lexer expects: names of the states as in `conffile.l`, where those with a text begin with `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Initial,
    Cl,
    Ma,
    Re,
    Ag,
    Se,
    St,
    Li,
    IdCl,
    IdMa,
    IdAg,
    IdIn,
    IdLi,
}

use State::{Ag, Cl, IdAg, IdCl, IdIn, IdLi, IdMa, Initial, Li, Ma, Re, Se, St};

/// A keyword: the states in which it is one, the state after it, and the state after the text behind it.
pub(super) struct Keyword(
    &'static [State],
    pub(super) &'static str,
    pub(super) Option<State>,
    pub(super) Option<State>,
);

/// In the order of `conffile.l`. Words that mean the same have the spelling of the first.
const KEYWORDS: &[Keyword] = &[
    Keyword(&[Initial], "cluster", Some(IdCl), Some(Cl)),
    Keyword(&[Cl], "forward", Some(IdCl), Some(IdCl)),
    Keyword(&[Cl], "any_of", Some(IdCl), Some(IdCl)),
    Keyword(&[Cl], "failover", Some(IdCl), Some(IdCl)),
    Keyword(&[IdCl], "useall", None, None),
    Keyword(&[Cl], "carbon_ch", Some(IdCl), Some(IdCl)),
    Keyword(&[Cl], "fnv1a_ch", Some(IdCl), Some(IdCl)),
    Keyword(&[Cl], "jump_fnv1a_ch", Some(IdCl), Some(IdCl)),
    Keyword(&[IdCl], "replication", None, None),
    Keyword(&[IdCl], "dynamic", None, None),
    Keyword(&[Cl], "file", Some(IdCl), Some(IdCl)),
    Keyword(&[IdCl], "ip", None, None),
    Keyword(&[IdCl], "proto", None, None),
    Keyword(&[IdCl], "udp", None, None),
    Keyword(&[IdCl], "tcp", None, None),
    Keyword(&[IdCl], "type", None, None),
    Keyword(&[IdCl], "linemode", None, None),
    Keyword(&[IdCl], "syslog", None, None),
    Keyword(&[IdCl], "transport", None, None),
    Keyword(&[IdCl], "plain", None, None),
    Keyword(&[IdCl], "gzip", None, None),
    Keyword(&[IdCl], "lz4", None, None),
    Keyword(&[IdCl], "snappy", None, None),
    Keyword(&[IdCl], "ssl", None, None),
    Keyword(&[IdCl], "mtls", None, None),
    Keyword(&[IdCl], "=", None, None),
    Keyword(&[Initial], "match", Some(IdMa), Some(IdMa)),
    Keyword(&[IdMa], "*", None, None),
    Keyword(&[IdMa], "validate", Some(IdMa), Some(Ma)),
    Keyword(&[Ma], "else", None, None),
    Keyword(&[Ma], "log", None, None),
    Keyword(&[Ma], "drop", None, None),
    Keyword(&[Ma, IdMa], "route", Some(Ma), None),
    Keyword(&[Ma], "using", Some(IdMa), Some(Ma)),
    Keyword(&[Ma, IdMa], "send", Some(Ma), None),
    Keyword(&[Ma], "to", Some(IdCl), Some(IdCl)),
    Keyword(&[IdCl], "blackhole", None, None),
    Keyword(&[Ma, IdCl, Ag], "stop", None, None),
    Keyword(&[Initial], "rewrite", Some(IdMa), Some(Re)),
    Keyword(&[Re], "into", Some(IdMa), Some(Re)),
    Keyword(&[Initial], "aggregate", Some(IdAg), Some(IdAg)),
    Keyword(&[IdAg], "every", Some(Ag), None),
    Keyword(&[Ag], "seconds", None, None),
    Keyword(&[Ag], "expire", None, None),
    Keyword(&[Ag], "after", None, None),
    Keyword(&[Ag], "timestamp", None, None),
    Keyword(&[Ag], "at", None, None),
    Keyword(&[Ag], "start", None, None),
    Keyword(&[Ag], "middle", None, None),
    Keyword(&[Ag], "end", None, None),
    Keyword(&[Ag], "of", None, None),
    Keyword(&[Ag], "bucket", None, None),
    Keyword(&[Ag], "compute", None, None),
    Keyword(&[Ag], "summary", None, None),
    Keyword(&[Ag], "sum", None, None),
    Keyword(&[Ag], "count", None, None),
    Keyword(&[Ag], "cnt", None, None),
    Keyword(&[Ag], "maximum", None, None),
    Keyword(&[Ag], "max", None, None),
    Keyword(&[Ag], "minimum", None, None),
    Keyword(&[Ag], "min", None, None),
    Keyword(&[Ag], "average", None, None),
    Keyword(&[Ag], "avg", None, None),
    Keyword(&[Ag], "median", None, None),
    Keyword(&[Ag], "percentile", None, None),
    Keyword(&[Ag], "variance", None, None),
    Keyword(&[Ag], "stddev", None, None),
    Keyword(&[Ag], "write", None, None),
    Keyword(&[Ag], "to", Some(IdAg), Some(Ag)),
    Keyword(&[Ag], "send", Some(Ma), None),
    Keyword(&[Initial], "send", Some(Se), None),
    Keyword(&[Se], "statistics", Some(Ma), None),
    Keyword(&[Initial], "statistics", Some(St), None),
    Keyword(&[St], "submit", None, None),
    Keyword(&[St], "every", None, None),
    Keyword(&[St], "seconds", None, None),
    Keyword(&[St], "reset", None, None),
    Keyword(&[St], "counters", None, None),
    Keyword(&[St], "after", None, None),
    Keyword(&[St], "interval", None, None),
    Keyword(&[St], "prefix", None, None),
    Keyword(&[St], "with", Some(IdAg), Some(St)),
    Keyword(&[St], "send", Some(Ma), None),
    Keyword(&[Initial], "listen", Some(Li), None),
    Keyword(&[Li], "type", None, None),
    Keyword(&[Li], "linemode", Some(IdLi), Some(Li)),
    Keyword(&[IdLi], "transport", None, None),
    Keyword(&[IdLi], "plain", None, None),
    Keyword(&[IdLi], "gzip", None, None),
    Keyword(&[IdLi], "lz4", None, None),
    Keyword(&[IdLi], "snappy", None, None),
    Keyword(&[IdLi], "ssl", Some(IdLi), Some(IdLi)),
    Keyword(&[IdLi], "mtls", Some(IdLi), Some(IdLi)),
    Keyword(&[Li, IdLi], "protomin", Some(Li), None),
    Keyword(&[Li, IdLi], "protomax", Some(Li), None),
    Keyword(&[Li], "ssl3", Some(IdLi), None),
    Keyword(&[Li], "tls1.0", Some(IdLi), None),
    Keyword(&[Li], "tls1.1", Some(IdLi), None),
    Keyword(&[Li], "tls1.2", Some(IdLi), None),
    Keyword(&[Li], "tls1.3", Some(IdLi), None),
    Keyword(&[Li, IdLi], "ciphersuites", Some(IdLi), None),
    Keyword(&[Li, IdLi], "ciphers", Some(IdLi), None),
    Keyword(&[Li, IdLi], "proto", Some(Li), None),
    Keyword(&[Li], "udp", Some(IdLi), Some(Li)),
    Keyword(&[Li], "tcp", Some(IdLi), Some(Li)),
    Keyword(&[Li], "unix", Some(IdLi), Some(Li)),
    Keyword(&[Initial], "include", Some(IdIn), Some(Initial)),
];

impl State {
    /// Whether a text is possible here.
    pub(super) fn takes_text(self) -> bool {
        matches!(self, IdCl | IdMa | IdAg | IdIn | IdLi)
    }

    /// The longest keyword at the beginning of `rest`, and how much of it that is.
    pub(super) fn keyword(self, rest: &str) -> Option<(&'static Keyword, usize)> {
        let here = KEYWORDS.iter().filter(|keyword| keyword.0.contains(&self));
        let found = here.filter(|keyword| rest.starts_with(keyword.1)).map(|keyword| {
            let word = keyword.1.len();
            let number = if keyword.1 == "percentile" { digits(&rest[word..]) } else { 0 };
            (keyword, word + number)
        });
        // Of equally long ones the first.
        found.fold(None, |best: Option<(&Keyword, usize)>, next| match best {
            Some(best) if best.1 >= next.1 => Some(best),
            _ => Some(next),
        })
    }
}

/// How many bytes of digits `text` begins with.
pub(super) fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}
