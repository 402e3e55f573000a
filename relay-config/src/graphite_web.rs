//! Skeleton.
use crate::{Configuration, OtherFiles, Refusal, RefusalKind, SourceFile};

pub(crate) fn read(
    file: &SourceFile,
    _files: &mut dyn OtherFiles,
) -> Result<Configuration, Refusal> {
    Err(Refusal {
        kind: RefusalKind::UnknownProgram,
        place: file.place(0),
        message: "not read yet".to_owned(),
    })
}
