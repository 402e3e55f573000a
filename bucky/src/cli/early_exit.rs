//! What ends the program before a command runs: help, the version, or a mistake on the command line.

use std::ffi::OsStr;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::outcome::Outcome;
use crate::output::Output;

/// A text that ends the program before a command runs.
pub(crate) struct EarlyExit {
    /// For standard output.
    pub(super) data: String,
    /// For standard error.
    pub(super) message: String,
    pub(super) outcome: Outcome,
}

impl EarlyExit {
    /// A text that the operator asked for.
    pub(super) fn asked(data: String) -> Self {
        Self { data, message: String::new(), outcome: Outcome::Done }
    }

    /// A mistake on the command line.
    pub(super) fn mistake(message: String) -> Self {
        Self { data: String::new(), message, outcome: Outcome::Usage }
    }

    /// Prints it.
    pub(crate) fn print(self, output: &Output) -> Outcome {
        if !self.message.is_empty() {
            output.say(self.message.trim_end());
        }
        let written = output.data_text(self.data).and_then(|()| output.flush());
        if written.is_err_and(|error| !error.is_reader_gone()) {
            return Outcome::SomeFailed;
        }
        self.outcome
    }
}

impl From<clap::Error> for EarlyExit {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        if error.use_stderr() { Self::mistake(text) } else { Self::asked(text) }
    }
}

/// What is printed for clap's `error` about the command `name`.
pub(super) fn mistake_of(error: clap::Error, name: &OsStr) -> EarlyExit {
    let name = name.to_string_lossy();
    let context = |kind| error.get(kind).map(ToString::to_string);
    if error.kind() == ErrorKind::InvalidSubcommand {
        // The most similar name is the last.
        let similar = match error.get(ContextKind::SuggestedSubcommand) {
            Some(ContextValue::Strings(names)) => names.last(),
            Some(ContextValue::String(name)) => Some(name),
            _ => None,
        };
        let similar = similar.map_or_else(String::new, |name| format!("; did you mean {name}?"));
        return EarlyExit::mistake(format!(
            "bucky: unknown command: {name}{similar}\n`bucky help` lists all commands."
        ));
    }
    let lacks_host = error.kind() == ErrorKind::InvalidValue
        && context(ContextKind::InvalidArg).is_some_and(|flag| flag.starts_with("--host"))
        && context(ContextKind::InvalidValue).is_some_and(|value| value.is_empty());
    if lacks_host {
        return EarlyExit::mistake(format!(
            "bucky: -h is --host and needs HOST[:PORT]; for help: bucky help {name}"
        ));
    }
    error.into()
}
