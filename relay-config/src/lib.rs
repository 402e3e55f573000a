//! Which rings a relay's configuration file describes.
//!
//! A ring that an operator retypes can differ from the relay's in one word, and then every metric that it
//! calls misplaced would be moved away from where the relay writes it. So the ring is read from the file that
//! the relay itself reads, by the relay's own rules, including its odd ones. What those rules leave open, or
//! what people do not mean when they write it, is refused with line, column and reason; it is never guessed.
//!
//! Every parser is pure: it takes text and returns values. Files that a configuration names (an `include`,
//! the aggregation rules) are asked for through [`OtherFiles`]. Only [`disk`] opens files.
//!
//! The facts about each program are in `docs/internals/relay-configs.md`. The files in `tests/corpus/` and
//! the answers beside them, taken from the programs themselves, are the specification.

mod c_relay;
mod carbon;
mod carbonate;
mod choose;
mod command_line;
mod detect;
pub mod disk;
mod document;
mod finding;
mod found;
mod graphite_web;
mod relay_ng;
mod source;

pub use choose::{ChoiceError, Wanted};
pub use command_line::{FLAGS_WITH_VALUE, FLAGS_WITHOUT_VALUE};
pub use finding::{Need, NeedKind, Refusal, RefusalKind, Warning, WarningKind};
pub use found::{Choice, Configuration, FoundRing, Origins, Program, Selector};
pub use source::{NoOtherFiles, OtherFiles, Place, SourceFile};

/// The rings that `file` describes. Without `program`, its content decides which program reads it.
///
/// # Errors
/// [`Refusal`] if it cannot be read as that program reads it, or if the program cannot be known.
pub fn read(
    file: &SourceFile,
    program: Option<Program>,
    files: &mut dyn OtherFiles,
) -> Result<Configuration, Refusal> {
    let program = match program {
        Some(program) => program,
        None => detect::program(file)?,
    };
    match program {
        Program::Carbon => carbon::read(file, files),
        Program::CarbonCRelay => c_relay::read(file, files),
        Program::CarbonRelayNg => relay_ng::read(file, files),
        Program::Carbonate => carbonate::read(file, files),
        Program::GraphiteWeb => graphite_web::read(file, files),
        Program::Buckyd => command_line::read(file, files),
        Program::RingDocument => document::read(file, files),
    }
}
