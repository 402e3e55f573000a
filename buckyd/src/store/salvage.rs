//! Sources that were cut off. The rest of one is accepted only if the request asks for it.

use bucky_api::archive::Member;
use bucky_api::{Problem, chain};
use bucky_whisper::{Digest, Header, HeaderError, cut_from, salvage};

use super::Store;
use super::failure::Failure;
use super::rules::OnCut;
use crate::memory::Share;

/// A complete file made from a member that was cut off.
pub(super) struct SalvagedFile {
    pub(super) member: Member,
    /// Held while it is in memory.
    _share: Share,
}

/// The original length of `member`, which was cut off.
fn cut_from_len(member: &Member) -> Option<u64> {
    let head_bytes = usize::try_from(Header::SIZE_MAX_BYTES).unwrap_or(usize::MAX);
    let head = member.content.get(..head_bytes).unwrap_or(&member.content);
    cut_from(head, member.content.len() as u64)
}

impl Store {
    /// Whether the complete file for the rest of `member` would be too long for memory.
    pub(super) fn is_cut_of_large(&self, member: &Member, on_cut: OnCut) -> bool {
        let is_large = |bytes| bytes > self.file_limit_bytes();
        on_cut == OnCut::Salvage && cut_from_len(member).is_some_and(is_large)
    }

    /// A complete file from the rest of `member`, which `error` says is incomplete.
    ///
    /// # Errors
    /// Why it is refused, or that there is no memory for it now.
    pub(super) fn salvaged(
        &self,
        member: &Member,
        on_cut: OnCut,
        error: &HeaderError,
    ) -> Result<SalvagedFile, Failure> {
        let content = &member.content;
        let cut_from = cut_from_len(member);
        let bytes = match (cut_from, on_cut) {
            (Some(bytes), OnCut::Salvage) => bytes,
            (cut_from, _) => return Err(refused(error, cut_from.is_some())),
        };
        let share = self.options.memory.receiving.share_now(bytes).map_err(|error| {
            Failure::failed(Problem::Busy, format!("cannot salvage it now: {}", chain(&error)))
        })?;
        let salvaged = salvage(content).ok_or_else(|| refused(error, true))?;
        let digest = Digest::of(&salvaged.bytes);
        let member = Member {
            metric: member.metric.clone(),
            meta: member.meta,
            content: salvaged.bytes,
            digest,
            is_sparse: member.is_sparse,
            announced: None,
        };
        Ok(SalvagedFile { member, _share: share })
    }
}

pub(super) fn refused(error: &HeaderError, is_cut: bool) -> Failure {
    let way_out = if is_cut {
        "; `bucky rebalance --salvage` takes the points that can be read, and keeps the file aside"
    } else {
        ""
    };
    let reason =
        format!("the source's file is not a valid Whisper file: {}{way_out}", chain(error));
    Failure::refused(Problem::SourceDamaged, reason)
}
