//! Writes a fill into a file that another process may be writing to without a lock.
//!
//! If an archive already holds points, positions are fixed. Two writers then collide in at most one slot,
//! with two points for that slot. If an archive holds none, the first point written becomes its base and
//! decides where all others lie. Two writers who both assume that they are the first put points of different
//! times into the same slots. So an archive without a base is checked again immediately before its first slot
//! is written, and immediately after all of its slots are.
//!
//! Each run of changed slots is a separate write, because the bytes between two runs may have changed since
//! they were read. With many runs this costs more than everything else: one system call for every other slot.
//! In that case the fill asks for a lease. If the kernel grants one at once, no other process has the file
//! open or opens it; the bytes between the runs are read again, and if they are unchanged, runs that lie
//! close to each other are written together with them. In all other cases each run is written separately.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::fill::Stretch;
use crate::lease::{Lease, RELIABLE_ALWAYS, is_of_this_machine};
use crate::{FillPlan, Image, Run};

/// How many writes must be saved before a lease is requested. A lease costs as much as some twenty writes:
/// the lease itself, and reading again the bytes that are overwritten.
const WORTH_A_LEASE: usize = 64;

/// How many bytes are read again at once.
const CHUNK_BYTES: usize = 16 << 10;

/// The result of writing a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// The whole plan is in the file.
    Whole,
    /// Another process wrote the first point of an archive during the fill. What the plan wrote into that
    /// archive may be in the wrong slots: read the file again, and fill it again.
    Disturbed,
}

/// Writes `plan` into `file`, whose content was `destination` when the plan was made. Syncs nothing, and
/// never waits for another process.
///
/// # Errors
/// The system's error; some runs may have been written. [`io::ErrorKind::TimedOut`] if a single write took so
/// long that the kernel may have let another process in, and that process may have lost a point: see
/// `docs/internals/fill.md`.
pub fn write_in_place(
    plan: &FillPlan,
    destination: &Image<'_>,
    file: &File,
) -> io::Result<Written> {
    let mut writing = PlanWriter::new(destination, file);
    if let Some(lease) = lease_for(plan, file) {
        writing.write_stretches(plan, lease)?;
    } else {
        for run in plan.runs() {
            writing.write(run)?;
        }
    }
    writing.finish()
}

/// A lease, if it is worth its cost and available without waiting.
fn lease_for<'f>(plan: &FillPlan, file: &'f File) -> Option<Lease<'f>> {
    if !is_worth_a_lease(plan) || !is_of_this_machine(file) {
        return None;
    }
    Lease::take_now(file)
}

fn is_worth_a_lease(plan: &FillPlan) -> bool {
    let runs = plan.count_runs();
    runs > WORTH_A_LEASE && runs.saturating_sub(plan.stretches().count()) >= WORTH_A_LEASE
}

/// How much of a stretch has been written under a lease.
enum LeasedWrite {
    Whole,
    FirstRun,
    Nothing,
}

/// A plan while it is written.
struct PlanWriter<'a> {
    file: &'a File,
    before: &'a [u8],
    /// The offsets of the archives that had no base.
    empty: Vec<u64>,
    /// The runs that were written there.
    bases: Vec<Run<'a>>,
    /// Whether another process was first in one of them; nothing more is written then.
    disturbed: bool,
}

impl<'a> PlanWriter<'a> {
    fn new(destination: &Image<'a>, file: &'a File) -> Self {
        let empty = destination
            .archives()
            .filter(|archive| archive.base() == 0)
            .map(|archive| archive.slot_offset(0))
            .collect();
        let before = destination.bytes();
        Self { file, before, empty, bases: Vec::new(), disturbed: false }
    }

    /// Writes one run of changed slots, and nothing else.
    fn write(&mut self, run: Run<'a>) -> io::Result<()> {
        if self.disturbed {
            return Ok(());
        }
        if self.empty.contains(&run.offset) {
            if timestamp_at(self.file, run.offset)? != [0; 4] {
                self.disturbed = true;
                return Ok(());
            }
            self.bases.push(run);
        }
        self.file.write_all_at(run.bytes, run.offset)
    }

    /// Writes stretches while no other process waits for the lease, and then run by run.
    fn write_stretches(&mut self, plan: &'a FillPlan, lease: Lease<'_>) -> io::Result<()> {
        let mut lease = Some(lease);
        for stretch in plan.stretches() {
            let leased_write = match &lease {
                Some(lease) => self.write_under_lease(&stretch, lease)?,
                None => LeasedWrite::Nothing,
            };
            let runs_written = match leased_write {
                LeasedWrite::Whole => continue,
                LeasedWrite::FirstRun => 1,
                LeasedWrite::Nothing => 0,
            };
            // A process that waits for the file must not wait for the many writes that follow.
            lease = None;
            for run in stretch.runs().skip(runs_written) {
                self.write(run)?;
            }
        }
        Ok(())
    }

    /// Writes a stretch at once, including the bytes between its runs. Writes less if those bytes have
    /// changed, or might change.
    fn write_under_lease(
        &mut self,
        stretch: &Stretch<'a>,
        lease: &Lease<'_>,
    ) -> io::Result<LeasedWrite> {
        if !self.is_as_it_was(&stretch.whole)? {
            return Ok(LeasedWrite::Nothing);
        }
        // A frozen file system blocks every write, for any time. The first run shows that it is not frozen:
        // writing a run is as safe as it is without a lease, at any time.
        if let Some(first) = stretch.runs().next() {
            self.write(first)?;
        }
        let begun = Instant::now();
        if self.disturbed || !lease.has_no_waiter() {
            return Ok(LeasedWrite::FirstRun);
        }
        self.file.write_all_at(stretch.whole.bytes, stretch.whole.offset)?;
        if lease.has_no_waiter() || begun.elapsed() < RELIABLE_ALWAYS {
            return Ok(LeasedWrite::Whole);
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "a write took too long, so the kernel let another process in, whose latest point may be lost",
        ))
    }

    /// Whether the file still holds, in the range of `whole`, what it held when the plan was made.
    fn is_as_it_was(&self, whole: &Run<'_>) -> io::Result<bool> {
        let start = usize::try_from(whole.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(whole.bytes.len());
        let Some(before) = self.before.get(start..end) else { return Ok(false) };
        let mut buffer = [0; CHUNK_BYTES];
        let mut offset = whole.offset;
        for before in before.chunks(CHUNK_BYTES) {
            let read = &mut buffer[..before.len()];
            self.file.read_exact_at(read, offset)?;
            if read != before {
                return Ok(false);
            }
            offset += before.len() as u64;
        }
        Ok(true)
    }

    fn finish(self) -> io::Result<Written> {
        for base in self.bases {
            if self.disturbed || !is_still_there(base, self.file)? {
                return Ok(Written::Disturbed);
            }
        }
        Ok(if self.disturbed { Written::Disturbed } else { Written::Whole })
    }
}

fn is_still_there(run: Run<'_>, file: &File) -> io::Result<bool> {
    Ok(run.bytes.starts_with(&timestamp_at(file, run.offset)?))
}

fn timestamp_at(file: &File, offset: u64) -> io::Result<[u8; 4]> {
    let mut timestamp = [0; 4];
    file.read_exact_at(&mut timestamp, offset)?;
    Ok(timestamp)
}

#[cfg(test)]
mod tests;
