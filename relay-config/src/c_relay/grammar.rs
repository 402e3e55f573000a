//! The statements of carbon-c-relay's configuration (`conffile.y` of 3.9).

use super::lexer::{Lexer, Token, What};
use super::syntax::{
    Cluster, Host, Instance, Kind, Match, Rewrite, SendTo, Statement, Text, Validate,
};
use crate::{Refusal, RefusalKind, SourceFile};

/// The words for the kind of a cluster.
pub(crate) const KINDS: [&str; 7] =
    ["carbon_ch", "fnv1a_ch", "jump_fnv1a_ch", "forward", "any_of", "failover", "file"];

/// Reads statements one after the other.
pub(super) struct Parser<'f> {
    pub(super) file: &'f SourceFile,
    lexer: Lexer<'f>,
    /// The next token, which is already cut.
    pub(super) next: Token,
    /// Where the token before begins.
    before: usize,
}

impl<'f> Parser<'f> {
    /// A parser at the beginning of `file`.
    ///
    /// # Errors
    /// [`Refusal`] if the file does not even begin as it should.
    pub(super) fn new(file: &'f SourceFile) -> Result<Self, Refusal> {
        let mut lexer = Lexer::new(file);
        let next = lexer.next()?;
        Ok(Self { file, lexer, next, before: 0 })
    }

    /// The next statement, or `None` at the end.
    ///
    /// # Errors
    /// [`Refusal`] for what the relay's grammar does not have.
    pub(super) fn statement(&mut self) -> Result<Option<Statement>, Refusal> {
        let offset = self.next.offset;
        let statement = match self.next.what {
            What::End => return Ok(None),
            What::Keyword("cluster") => self.cluster(offset)?,
            What::Keyword("match") => self.matching()?,
            What::Keyword("rewrite") => self.rewrite(offset)?,
            What::Keyword("aggregate") => self.aggregate()?,
            What::Keyword("send") => self.send_statistics()?,
            What::Keyword("statistics") => self.statistics()?,
            What::Keyword("listen") => self.listen()?,
            What::Keyword("include") => {
                self.step()?;
                Statement::Include(self.text("the name of a file")?)
            }
            _ => {
                return Err(
                    self.unexpected("a statement: cluster, match, rewrite, aggregate, include")
                );
            }
        };
        if self.next.what != What::Semicolon {
            return Err(self.unexpected("`;`"));
        }
        self.step()?;
        Ok(Some(statement))
    }

    pub(super) fn step(&mut self) -> Result<Token, Refusal> {
        self.before = self.next.offset;
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self.next.what, What::Keyword(found) if found == word)
    }

    /// Takes `word` if it is next.
    pub(super) fn accept(&mut self, word: &str) -> Result<bool, Refusal> {
        let is_next = self.is(word);
        if is_next {
            self.step()?;
        }
        Ok(is_next)
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), Refusal> {
        match self.accept(word)? {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{word}`"))),
        }
    }

    /// Takes the one of `words` that is next.
    pub(super) fn one_of(&mut self, words: &[&'static str]) -> Result<&'static str, Refusal> {
        for word in words {
            if self.accept(word)? {
                return Ok(word);
            }
        }
        Err(self.unexpected(&words.join(" or ")))
    }

    pub(super) fn unexpected(&self, wanted: &str) -> Refusal {
        let mut offset = self.next.offset;
        let found = match &self.next.what {
            What::Keyword(word) => format!("`{word}`"),
            What::Percentile(number) => format!("`percentile{number}`"),
            What::Text { text, .. } => format!("{text:?}"),
            What::Number(number) => format!("`{number}`"),
            What::Semicolon => "`;`".to_owned(),
            What::Unexpected('#') => "a comment without a newline at its end".to_owned(),
            What::Unexpected(c) => format!("{c:?}"),
            What::End => {
                // The end has no line of its own that an operator would find.
                offset = self.before;
                "the end of the file".to_owned()
            }
        };
        Refusal {
            kind: RefusalKind::Syntax,
            place: self.file.place(offset),
            message: format!(
                "{found} is here, where carbon-c-relay expects {wanted}; is a `;` missing before it?"
            ),
        }
    }

    pub(super) fn text(&mut self, wanted: &str) -> Result<Text, Refusal> {
        if !matches!(self.next.what, What::Text { .. }) {
            return Err(self.unexpected(wanted));
        }
        let Token { what, offset } = self.step()?;
        match what {
            What::Text { text, is_quoted } => Ok(Text { text, offset, is_quoted }),
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// One text at least.
    pub(super) fn texts(&mut self, wanted: &str) -> Result<Vec<Text>, Refusal> {
        let mut texts = vec![self.text(wanted)?];
        while matches!(self.next.what, What::Text { .. }) {
            texts.push(self.text(wanted)?);
        }
        Ok(texts)
    }

    /// A number, as it is written, and its place.
    pub(super) fn number(&mut self) -> Result<(String, usize), Refusal> {
        match self.next.what.clone() {
            What::Number(number) => Ok((number, self.step()?.offset)),
            _ => Err(self.unexpected("a number")),
        }
    }

    fn cluster(&mut self, offset: usize) -> Result<Statement, Refusal> {
        self.step()?;
        let name = self.text("the name of a cluster")?;
        let kind_offset = self.next.offset;
        let word = self.one_of(&KINDS)?;
        let (mut replication, mut dynamic) = (None, None);
        let kind = match word {
            "carbon_ch" => Kind::CarbonCh,
            "fnv1a_ch" => Kind::Fnv1aCh,
            "jump_fnv1a_ch" => Kind::JumpFnv1aCh,
            "forward" => Kind::Forward,
            "any_of" => Kind::AnyOf,
            "failover" => Kind::Failover,
            _ => Kind::File,
        };
        match kind {
            Kind::CarbonCh | Kind::Fnv1aCh | Kind::JumpFnv1aCh => {
                if self.accept("replication")? {
                    replication = Some(self.number()?);
                }
                let place = self.next.offset;
                if self.accept("dynamic")? {
                    dynamic = Some(place);
                }
            }
            Kind::Forward | Kind::AnyOf | Kind::Failover => {
                self.accept("useall")?;
            }
            Kind::File => {
                self.accept("ip")?;
            }
        }
        let mut hosts = Vec::new();
        if kind == Kind::File {
            self.text("a path")?;
            if matches!(self.next.what, What::Text { .. }) {
                self.text("a path")?;
            }
        } else {
            hosts.push(self.host()?);
            while matches!(self.next.what, What::Text { .. }) {
                hosts.push(self.host()?);
            }
        }
        Ok(Statement::Cluster(Cluster {
            offset,
            name,
            kind,
            kind_offset,
            replication,
            dynamic,
            hosts,
        }))
    }

    fn host(&mut self) -> Result<Host, Refusal> {
        let address = self.text("a server, HOST[:PORT][=INSTANCE]")?;
        let mut instance = None;
        if self.accept("=")? {
            instance = Some(match &self.next.what {
                What::Number(_) => {
                    let (digits, offset) = self.number()?;
                    Instance::Number { digits, offset }
                }
                _ => Instance::Text(self.text("the instance")?),
            });
        }
        let is_udp = self.accept("proto")? && self.one_of(&["udp", "tcp"])? == "udp";
        let is_syslog = self.accept("type")? && self.one_of(&["linemode", "syslog"])? == "syslog";
        let mut mtls = None;
        if self.accept("transport")? {
            self.one_of(&["plain", "gzip", "lz4", "snappy"])?;
            let offset = self.next.offset;
            if self.accept("mtls")? {
                self.text("the file of a certificate")?;
                self.text("the file of a key")?;
                mtls = Some(offset);
            } else {
                self.accept("ssl")?;
            }
        }
        Ok(Host { address, instance, is_udp, is_syslog, mtls })
    }

    fn matching(&mut self) -> Result<Statement, Refusal> {
        self.step()?;
        let expressions = match self.accept("*")? {
            true => None,
            false => Some(self.texts("`*` or an expression")?),
        };
        let mut validate = None;
        if self.accept("validate")? {
            let expression = self.text("an expression")?;
            self.expect("else")?;
            validate =
                Some(Validate { expression, drops: self.one_of(&["log", "drop"])? == "drop" });
        }
        let mut route_using = None;
        let offset = self.next.offset;
        if self.accept("route")? {
            self.expect("using")?;
            route_using = Some((offset, self.text("the text to hash")?));
        }
        let send_to = self.opt_send_to()?;
        if send_to.is_none() && validate.is_none() {
            return Err(Refusal {
                kind: RefusalKind::Syntax,
                place: self.file.place(self.before),
                message: "a match without `send to` ends carbon-c-relay with a segmentation fault"
                    .to_owned(),
            });
        }
        let stops = self.accept("stop")?;
        Ok(Statement::Match(Match { expressions, validate, route_using, send_to, stops }))
    }

    pub(super) fn opt_send_to(&mut self) -> Result<Option<SendTo>, Refusal> {
        if !self.accept("send")? {
            return Ok(None);
        }
        self.expect("to")?;
        self.destinations().map(Some)
    }

    pub(super) fn destinations(&mut self) -> Result<SendTo, Refusal> {
        if self.accept("blackhole")? {
            return Ok(SendTo::Blackhole);
        }
        Ok(SendTo::Clusters(self.texts("the name of a cluster")?))
    }

    fn rewrite(&mut self, offset: usize) -> Result<Statement, Refusal> {
        self.step()?;
        let expression = self.text("an expression")?;
        self.expect("into")?;
        let into = self.text("the new name")?;
        Ok(Statement::Rewrite(Rewrite { offset, expression, into }))
    }
}

/// The clusters that something is sent to.
pub(super) fn clusters(to: Option<SendTo>) -> Vec<Text> {
    match to {
        Some(SendTo::Clusters(clusters)) => clusters,
        Some(SendTo::Blackhole) | None => Vec::new(),
    }
}
