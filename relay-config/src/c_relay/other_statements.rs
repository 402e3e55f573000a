//! The statements that hold no cluster: aggregations, statistics and listeners. They are read because the relay
//! does not start if they are wrong, and for the clusters that they send to.

use super::grammar::{Parser, clusters};
use super::lexer::What;
use super::syntax::{Aggregate, Statement};
use crate::{Refusal, RefusalKind};

impl Parser<'_> {
    pub(super) fn aggregate(&mut self) -> Result<Statement, Refusal> {
        self.step()?;
        let expressions = self.texts("an expression")?;
        self.expect("every")?;
        let every = self.seconds()?;
        self.expect("expire")?;
        self.expect("after")?;
        let offset = self.next.offset;
        let expire = self.seconds()?;
        if every <= 0 || expire <= every {
            return Err(Refusal {
                kind: RefusalKind::Syntax,
                place: self.file.place(offset),
                message: "an aggregation must expire after more seconds than its interval has"
                    .to_owned(),
            });
        }
        if self.accept("timestamp")? {
            self.expect("at")?;
            self.one_of(&["start", "middle", "end"])?;
            self.expect("of")?;
            self.expect("bucket")?;
        }
        self.compute()?;
        while self.is("compute") {
            self.compute()?;
        }
        let send_to = self.opt_send_to()?;
        let stops = self.accept("stop")?;
        Ok(Statement::Aggregate(Aggregate { expressions, send_to, stops }))
    }

    /// `N seconds`; a number that is too long for the relay counts as 0.
    fn seconds(&mut self) -> Result<i32, Refusal> {
        let (digits, _) = self.number()?;
        self.expect("seconds")?;
        Ok(digits.parse().unwrap_or_default())
    }

    fn compute(&mut self) -> Result<(), Refusal> {
        self.expect("compute")?;
        if let What::Percentile(number) = &self.next.what {
            if !number.parse::<u32>().is_ok_and(|number| (1..=99).contains(&number)) {
                return Err(self.unexpected("a percentile of 1 to 99"));
            }
            self.step()?;
        } else {
            self.one_of(&[
                "sum", "summary", "count", "cnt", "max", "maximum", "min", "minimum", "average",
                "avg", "median", "variance", "stddev",
            ])?;
        }
        self.expect("write")?;
        self.expect("to")?;
        self.text("the name of the aggregate").map(drop)
    }

    pub(super) fn send_statistics(&mut self) -> Result<Statement, Refusal> {
        self.step()?;
        self.expect("statistics")?;
        self.expect("to")?;
        let to = self.destinations()?;
        self.accept("stop")?;
        Ok(Statement::Statistics(clusters(Some(to))))
    }

    pub(super) fn statistics(&mut self) -> Result<Statement, Refusal> {
        self.step()?;
        if self.accept("submit")? {
            self.expect("every")?;
            self.seconds()?;
        }
        if self.accept("reset")? {
            self.expect("counters")?;
            self.expect("after")?;
            self.expect("interval")?;
        }
        if self.accept("prefix")? {
            self.expect("with")?;
            self.text("a prefix")?;
        }
        let to = self.opt_send_to()?;
        self.accept("stop")?;
        Ok(Statement::Statistics(clusters(to)))
    }

    pub(super) fn listen(&mut self) -> Result<Statement, Refusal> {
        self.step()?;
        self.expect("type")?;
        self.expect("linemode")?;
        if self.accept("transport")? {
            self.one_of(&["plain", "gzip", "lz4", "snappy"])?;
            if self.accept("ssl")? || self.accept("mtls")? {
                self.listen_ssl()?;
            }
        }
        loop {
            self.text("an address to listen on")?;
            self.expect("proto")?;
            self.one_of(&["udp", "tcp", "unix"])?;
            if !matches!(self.next.what, What::Text { .. }) {
                return Ok(Statement::Other);
            }
        }
    }

    fn listen_ssl(&mut self) -> Result<(), Refusal> {
        self.text("the file of a certificate")?;
        while self.accept("protomin")? || self.accept("protomax")? {
            self.one_of(&["ssl3", "tls1.0", "tls1.1", "tls1.2", "tls1.3"])?;
        }
        if self.accept("ciphers")? {
            self.text("ciphers")?;
        }
        if self.accept("ciphersuites")? {
            self.text("cipher suites")?;
        }
        Ok(())
    }
}
