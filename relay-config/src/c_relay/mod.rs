//! carbon-c-relay's configuration: the rings of its clusters.
//!
//! Facts: `conffile.l`, `conffile.y` and `router.c` of carbon-c-relay 3.9, and what 3.7.3 and 3.9 do with
//! odd files.

mod address;
mod cluster_ring;
mod clusters;
mod grammar;
mod groups;
mod keywords;
mod lexer;
mod other_statements;
mod routing;
mod syntax;

use self::clusters::Reader;
pub(crate) use self::grammar::KINDS;
pub(crate) use self::routing::Routing;
use crate::{Configuration, OtherFiles, Program, Refusal, RefusalKind, Selector, SourceFile};

pub(crate) fn read(
    file: &SourceFile,
    files: &mut dyn OtherFiles,
) -> Result<Configuration, Refusal> {
    let mut reader = Reader::new(files);
    reader.file(file, 0)?;
    let (choices, routing) = reader.finish();
    if choices.is_empty() {
        return Err(Refusal {
            kind: RefusalKind::NoRing,
            place: file.place(0),
            message: "no cluster is defined here".to_owned(),
        });
    }
    Ok(Configuration {
        program: Program::CarbonCRelay,
        selector: Some(Selector::Cluster),
        choices,
        routing: Some(routing),
    })
}
