//! Which program a file is for, by its content.

use crate::{Program, Refusal, RefusalKind, SourceFile, c_relay, command_line, graphite_web};

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
        return match command_line::starts_daemon(file) {
            true => Ok(Program::Buckyd),
            false => {
                refuse("the file has a NUL byte in it, and is not the command line of a buckyd")
            }
        };
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
    let signs = Signs::of(file);
    match signs.programs().as_slice() {
        [program] => Ok(*program),
        // What is wrong with its command line is said by its reader.
        [] if text.contains("buckyd") => Ok(Program::Buckyd),
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
    /// Whether the last section was one that only carbon has.
    in_carbon: bool,
    /// A key of carbon's and carbonate's settings, in any section.
    ini_key: bool,
    /// The same in a section of any other name than carbon's.
    other_key: bool,
    /// A statement of carbon-c-relay.
    c_relay: bool,
    /// A table or an array of TOML as carbon-relay-ng has it.
    relay_ng: bool,
    /// A command that starts the daemon.
    buckyd: bool,
}

impl Signs {
    fn of(file: &SourceFile) -> Self {
        let mut signs = Self { buckyd: command_line::starts_daemon(file), ..Self::default() };
        for line in file.text.split(['\n', '\r']).map(str::trim) {
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
            self.in_carbon = matches!(program, "relay" | "aggregator" | "cache");
            match program.to_ascii_lowercase().as_str() {
                _ if self.in_carbon => self.carbon_section = true,
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
        let is_ini = is_ini && !line.contains("= [") && !line.contains("=[");
        self.ini_key |= is_ini;
        self.other_key |= is_ini && self.other_section && !self.in_carbon;
        let of_toml = ["init", "spool_dir", "route"];
        self.relay_ng |= line.contains("addRoute ")
            || of_toml.contains(&first.to_ascii_lowercase().as_str()) && line.contains('=');
        let has_words =
            line.split_whitespace().nth(1).is_some() || matches!(first, "cluster" | "match");
        let kind = line.split_whitespace().nth(2).unwrap_or_default();
        let is_cluster = first == "cluster" && c_relay::KINDS.contains(&kind);
        self.c_relay |= has_words
            && (is_cluster || !line.contains(" = "))
            && matches!(
                first,
                "cluster" | "match" | "include" | "rewrite" | "aggregate" | "listen" | "statistics"
            );
    }

    fn programs(self) -> Vec<Program> {
        let mut programs = Vec::new();
        if self.carbon_section {
            programs.push(Program::Carbon);
            // carbonate may have a cluster of this name; carbon has no such other section.
            if self.other_key {
                programs.push(Program::Carbonate);
            }
        } else if self.ini_key && self.other_section && !self.relay_ng {
            programs.push(Program::Carbonate);
        } else if self.ini_key && !self.relay_ng {
            programs.push(Program::Carbon);
        }
        if self.relay_ng {
            programs.push(Program::CarbonRelayNg);
        }
        if self.c_relay && programs.is_empty() {
            programs.push(Program::CarbonCRelay);
        }
        if self.buckyd {
            programs.push(Program::Buckyd);
        }
        programs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> String {
        match program(&SourceFile::new("f", text)) {
            Ok(program) => program.to_string(),
            Err(refusal) => refusal.message,
        }
    }

    #[test]
    fn a_file_that_mentions_the_daemon_is_still_its_relays() {
        let carbon = "[relay]\nDESTINATIONS = a:2004:a\nLOG_DIR = /var/log/buckyd x\n";
        assert_eq!(found(carbon), "carbon");
        for text in [
            "cluster buckyd carbon_ch a:2003=x b:2003=y;\nmatch * send to buckyd;\n",
            "cluster g carbon_ch\n a:2003=x # buckyd runs here\n ;\n",
            "cluster g carbon_ch a:2003 = x b:2003 = buckyd;\n",
        ] {
            assert_eq!(found(text), "carbon-c-relay", "{text}");
        }
        let toml = "[[route]]\nkey = 'a' # for buckyd\n";
        assert_eq!(found(toml), "carbon-relay-ng");
    }

    #[test]
    fn keys_in_other_letter_cases_and_other_line_ends_are_known() {
        for text in ["[[Route]]\nKey = 'a'", "route = [ {key = 'a'} ]", "[Init]\ncmds = []"] {
            assert_eq!(found(text), "carbon-relay-ng", "{text}");
        }
        assert_eq!(found("# x\r[relay]\rDESTINATIONS = a:1\r"), "carbon");
    }

    #[test]
    fn a_file_of_two_programs_is_refused() {
        let both = "[main]\nDESTINATIONS = a:1\n[relay]\nDESTINATIONS = b:1\n";
        assert_eq!(found(both), "this could be a file of carbon or of carbonate");
        let apart = "[relay]\nDESTINATIONS = b:1\n[other]\nx = y\n";
        assert_eq!(found(apart), "carbon");
        assert_eq!(
            found("DESTINATIONS = a:1\nbuckyd a b\n"),
            "this could be a file of carbon or of buckyd"
        );
        assert!(found("hello").starts_with("not the configuration of a relay"));
    }
}
