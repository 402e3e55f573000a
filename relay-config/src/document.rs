//! A ring document, as `GET /hashring` serves it.

use bucky_ring::RingDocument;

use crate::{
    Choice, Configuration, FoundRing, Origins, OtherFiles, Program, Refusal, RefusalKind,
    SourceFile,
};

pub(crate) fn read(
    file: &SourceFile,
    _files: &mut dyn OtherFiles,
) -> Result<Configuration, Refusal> {
    let document = RingDocument::from_json(file.text.as_bytes()).map_err(|error| {
        let place = file.place_of_line(error.line(), error.column());
        Refusal {
            kind: RefusalKind::Syntax,
            place,
            message: format!("not a ring document: {error}"),
        }
    })?;
    let choice = match document.to_spec() {
        Ok(spec) => {
            let nodes = vec![file.place(0); spec.nodes.len()];
            let origins = Origins { nodes, ..Origins::default() };
            Ok(FoundRing { spec, origins, warnings: Vec::new(), needs: Vec::new() })
        }
        Err(error) => Err(Refusal {
            kind: RefusalKind::Syntax,
            place: file.place(0),
            message: with_sources(&error),
        }),
    };
    let choices = vec![Choice { name: String::new(), ring: choice }];
    Ok(Configuration { program: Program::RingDocument, selector: None, choices, routing: None })
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
