//! Reading the points of a span of time, as graphite-web does through whisper.py.
//!
//! Source: `file_fetch` and `__archive_fetch` in whisper.py, which read the first archive of the file that
//! reaches back to the beginning of the span.

use std::path::PathBuf;

use crate::file::WhisperFile;
use crate::header::Archive;
use crate::image::position_of;
use crate::slots::AccessError;

/// The points of a span of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// The time of the first value, Unix seconds.
    pub from: u64,
    /// The end of the last value's step, Unix seconds.
    pub until: u64,
    /// The resolution: the time between two values.
    pub seconds_per_point: u32,
    /// The values, oldest first; `None` if no point is stored. Length: `(until - from) / seconds_per_point`.
    pub values: Vec<Option<f64>>,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The span ends before it begins.
    #[error("{} was asked for a span that begins at {from} and ends before that, at {until}", path.display())]
    FromAfterUntil {
        /// The file.
        path: PathBuf,
        /// The beginning of the span.
        from: u32,
        /// Its end.
        until: u32,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl WhisperFile {
    /// The points after `from`, up to and including `until`, at the time `now`; all are Unix seconds.
    ///
    /// `None` if the whole span lies in the future, or is older than the header's maximal retention. The
    /// parts that lie outside are cut off. Both ends are rounded down to the resolution and moved forward by
    /// one step, as in whisper.py; an empty span has one point. If the header's maximal retention is longer
    /// than any archive, the last archive is read only as far back as it reaches; whisper.py would read it
    /// several times over.
    ///
    /// # Errors
    /// [`FetchError::FromAfterUntil`], or [`FetchError::Access`].
    pub fn fetch(&self, from: u32, until: u32, now: u32) -> Result<Option<Fetched>, FetchError> {
        if from > until {
            return Err(FetchError::FromAfterUntil { path: self.path().to_owned(), from, until });
        }
        let oldest = now.saturating_sub(self.header().max_retention);
        if from > now || until < oldest {
            return Ok(None);
        }
        let (from, until) = (from.max(oldest), until.min(now));
        let age = u64::from(now - from);
        let archives = &self.header().archives;
        if let Some(archive) = archives.iter().find(|archive| archive.retention() >= age) {
            return Ok(Some(self.fetch_archive(archive, from, until)?));
        }
        // Reached only if the header's maximal retention is longer than every archive.
        let Some(archive) = archives.last() else {
            return Ok(None);
        };
        let reaches_back = u32::try_from(archive.retention()).unwrap_or(u32::MAX);
        let oldest = now.saturating_sub(reaches_back);
        if until < oldest {
            return Ok(None);
        }
        Ok(Some(self.fetch_archive(archive, from.max(oldest), until)?))
    }

    /// The points of one archive. The span must not be longer than the archive.
    fn fetch_archive(
        &self,
        archive: &Archive,
        from: u32,
        until: u32,
    ) -> Result<Fetched, AccessError> {
        let seconds_per_point = archive.seconds_per_point;
        let step = u64::from(seconds_per_point);
        let next_slot = |t: u32| u64::from(t) / step * step + step;
        let from = next_slot(from);
        let until = match next_slot(until) {
            until if until == from => until + step,
            until => until,
        };
        let count = u32::try_from((until - from) / step).unwrap_or(u32::MAX).min(archive.points);

        let base = self.slots().base(archive)?;
        // A slot beyond 32 bits, after the year 2106, cannot be stored and has no value.
        let first = u32::try_from(from).ok().and_then(|from| position_of(archive, base, from));
        let values = match first {
            None => vec![None; count as usize],
            Some(first) => self
                .slots()
                .read(archive, first, count)?
                .into_iter()
                .zip((from..).step_by(seconds_per_point as usize))
                .map(|(point, t)| (u64::from(point.timestamp) == t).then_some(point.value))
                .collect(),
        };
        Ok(Fetched { from, until, seconds_per_point, values })
    }
}
