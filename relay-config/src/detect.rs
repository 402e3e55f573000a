//! Skeleton.
use crate::{Program, Refusal, RefusalKind, SourceFile};

pub(crate) fn program(file: &SourceFile) -> Result<Program, Refusal> {
    Err(Refusal {
        kind: RefusalKind::UnknownProgram,
        place: file.place(0),
        message: "not known yet".to_owned(),
    })
}
