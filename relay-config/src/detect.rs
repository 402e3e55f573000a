//! Which program a file is for, by its content.

use crate::{Program, Refusal, RefusalKind, SourceFile, command_line, graphite_web};

/// The program that reads `file`.
///
/// # Errors
/// [`Refusal`] with [`RefusalKind::UnknownProgram`] if it is of none, or could be of several.
pub(crate) fn program(file: &SourceFile) -> Result<Program, Refusal> {
    let text = file.text.as_str();
    let refuse = |message: &str| {
        Err(Refusal {
            kind: RefusalKind::UnknownProgram,
            place: file.place(0),
            message: message.to_owned(),
        })
    };
    if text.trim().is_empty() {
        return refuse("the file is empty");
    }
    if text.contains('\0') {
        return Ok(Program::Buckyd);
    }
    if text.trim_start().starts_with('{') {
        return Ok(Program::RingDocument);
    }
    if text.trim_start().starts_with('<') {
        return refuse("this looks like a web page, not like a configuration");
    }
    if graphite_web::first_setting(text).is_some() {
        return Ok(Program::GraphiteWeb);
    }
    let signs = Signs::of(text);
    match signs.programs().as_slice() {
        [program] => Ok(*program),
        [] => refuse(
            "not the configuration of a relay: no section with DESTINATIONS, no cluster, no route, and no command \
             line of buckyd",
        ),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            refuse(&format!("this could be a file of {}", names.join(" or of ")))
        }
    }
}

/// What the lines of a file look like.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    /// A section that only carbon has.
    carbon_section: bool,
    /// A section of any other name.
    other_section: bool,
    /// A key of carbon's and carbonate's settings.
    ini_key: bool,
    /// A statement of carbon-c-relay.
    c_relay: bool,
    /// A table or an array of TOML as carbon-relay-ng has it.
    relay_ng: bool,
    /// The program's name, with something behind it.
    buckyd: bool,
}

impl Signs {
    fn of(text: &str) -> Self {
        let mut signs = Self::default();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            signs.note(line);
        }
        signs
    }

    fn note(&mut self, line: &str) {
        let first = line.split([' ', '\t', '=', '[']).next().unwrap_or_default();
        if let Some(name) = line.strip_prefix('[') {
            let name = name.split(']').next().unwrap_or_default();
            let program = name.split(':').next().unwrap_or_default();
            match program {
                "relay" | "aggregator" | "cache" => self.carbon_section = true,
                "[route" | "init" | "[aggregation" | "[rewriter" | "instrumentation" => {
                    self.relay_ng = true
                }
                _ => self.other_section = true,
            }
            return;
        }
        let key = line.split(['=', ':']).next().unwrap_or_default().trim().to_ascii_uppercase();
        let is_ini = line.contains(['=', ':'])
            && matches!(key.as_str(), "DESTINATIONS" | "REPLICATION_FACTOR" | "RELAY_METHOD");
        self.ini_key |= is_ini && !line.contains("= [") && !line.contains("=[");
        self.relay_ng |= line.contains("addRoute ")
            || matches!(first, "init" | "spool_dir") && line.contains('=');
        let has_words =
            line.split_whitespace().nth(1).is_some() || matches!(first, "cluster" | "match");
        self.c_relay |= has_words
            && !line.contains(" = ")
            && matches!(
                first,
                "cluster" | "match" | "include" | "rewrite" | "aggregate" | "listen" | "statistics"
            );
        let mut words = line.split_whitespace();
        self.buckyd |= words.by_ref().any(command_line::is_program) && words.next().is_some();
    }

    fn programs(self) -> Vec<Program> {
        let mut programs = Vec::new();
        if self.carbon_section {
            programs.push(Program::Carbon);
        } else if self.ini_key && self.other_section && !self.relay_ng {
            programs.push(Program::Carbonate);
        } else if self.ini_key && !self.relay_ng {
            programs.push(Program::Carbon);
        }
        if self.relay_ng {
            programs.push(Program::CarbonRelayNg);
        }
        if self.buckyd {
            return vec![Program::Buckyd];
        }
        if self.c_relay && programs.is_empty() {
            programs.push(Program::CarbonCRelay);
        }
        programs
    }
}
