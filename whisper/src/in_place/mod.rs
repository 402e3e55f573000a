//! Writing a fill into a file that somebody else may be writing to without a lock.
//!
//! Where an archive holds points already, positions are fixed, and two writers meet at most in one slot, with two points
//! for that slot. Where it holds none, the first point that is written becomes its base and decides where all others lie:
//! two writers who both take themselves for the first put points of different times into the same slots. So an archive
//! without a base is looked at once more right before its first slot is written, and right after all of it is.
//!
//! Each run of changed slots is a write of its own: what lies between two runs may have changed since it was read. Where
//! runs are many that costs more than all else, a system call for every other slot. Then a lease is asked for. Where the
//! kernel gives one at once, nobody else has the file open or comes to open it; what lies between is read again, and if it
//! is as it was, runs that lie close to each other are written together with it. In all other cases, each for itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::fill::Stretch;
use crate::lease::{Lease, RELIABLE_ALWAYS, is_of_this_machine};
use crate::{FillPlan, Image, Run};

/// How many writes have to be saved for a lease to be asked for. It costs as much as some twenty of them: the lease itself,
/// and reading once more what is written over.
const WORTH_A_LEASE: usize = 64;

/// How much is read again at once.
const CHUNK_BYTES: usize = 16 << 10;

/// What came of writing a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// All of it is in the file.
    Whole,
    /// Somebody else wrote the first point of an archive meanwhile. What the plan put into that archive may not count:
    /// read the file again, and fill it again.
    Disturbed,
}

/// Writes `plan` into `file`, whose content was `destination` when the plan was made. Makes nothing durable, and waits for
/// nobody.
///
/// # Errors
/// What the system says; some runs may have been written. [`io::ErrorKind::TimedOut`] where a single write took so long
/// that somebody else may have been let in meanwhile, and lost a point of his: see `docs/internals/fill.md`.
pub fn write_in_place(
    plan: &FillPlan,
    destination: &Image<'_>,
    file: &File,
) -> io::Result<Written> {
    let mut writing = Writing::new(destination, file);
    if let Some(lease) = lease_for(plan, file) {
        writing.write_stretches(plan, lease)?;
    } else {
        for run in plan.runs() {
            writing.write(run)?;
        }
    }
    writing.finish()
}

/// A lease, where it is worth it, and to be had without waiting.
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

/// What has been written of a stretch under a lease.
enum Alone {
    Whole,
    FirstRun,
    Nothing,
}

/// A plan while it is written.
struct Writing<'a> {
    file: &'a File,
    before: &'a [u8],
    /// Where the archives begin that had no base.
    empty: Vec<u64>,
    /// What has been written there.
    bases: Vec<Run<'a>>,
    /// Whether somebody else was first in one of them; nothing more is written then.
    disturbed: bool,
}

impl<'a> Writing<'a> {
    fn new(destination: &Image<'a>, file: &'a File) -> Self {
        let empty = destination
            .archives()
            .filter(|archive| archive.base() == 0)
            .map(|archive| archive.slot_offset(0))
            .collect();
        let before = destination.bytes();
        Self { file, before, empty, bases: Vec::new(), disturbed: false }
    }

    /// Writes what changes, and nothing else.
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

    /// Writes stretches as long as nobody waits for the lease, and then run by run.
    fn write_stretches(&mut self, plan: &'a FillPlan, lease: Lease<'_>) -> io::Result<()> {
        let mut lease = Some(lease);
        for stretch in plan.stretches() {
            let alone = match &lease {
                Some(lease) => self.write_alone(&stretch, lease)?,
                None => Alone::Nothing,
            };
            let runs_written = match alone {
                Alone::Whole => continue,
                Alone::FirstRun => 1,
                Alone::Nothing => 0,
            };
            // Whoever waits for us is not to wait for the many writes that follow.
            lease = None;
            for run in stretch.runs().skip(runs_written) {
                self.write(run)?;
            }
        }
        Ok(())
    }

    /// Writes a stretch at once, with what lies between its runs; not where that is not known to be as it was, or may not
    /// stay so.
    fn write_alone(&mut self, stretch: &Stretch<'a>, lease: &Lease<'_>) -> io::Result<Alone> {
        if !self.is_as_it_was(&stretch.whole)? {
            return Ok(Alone::Nothing);
        }
        // A file system that is frozen lets nobody write, for however long. That it is not is shown by the first run, which
        // is as safe as it is without a lease, whenever it is written.
        if let Some(first) = stretch.runs().next() {
            self.write(first)?;
        }
        let begun = Instant::now();
        if self.disturbed || !lease.nobody_waits() {
            return Ok(Alone::FirstRun);
        }
        self.file.write_all_at(stretch.whole.bytes, stretch.whole.offset)?;
        if lease.nobody_waits() || begun.elapsed() < RELIABLE_ALWAYS {
            return Ok(Alone::Whole);
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "a write took too long, so the kernel let another process in, whose latest point may be lost",
        ))
    }

    /// Whether the file holds, where this lies, what it held when the plan was made.
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
