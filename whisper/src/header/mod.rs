//! The header of a Whisper file: what the file keeps, and where.
//!
//! Pure: parses bytes at their offsets and checks every field before it is used, so that the rest of the
//! crate can compute positions without further checks. It accepts what carbon itself would serve, which is
//! more than what may be created: archives in any order, steps that do not divide each other, bytes behind
//! the last archive, and a maximal retention that differs from that of the archives. whisper.py uses the
//! header's value to decide what is too old to write or fetch; so does [`crate::WhisperFile`].
//!
//! Whisper before 0.9.9 had no aggregation methods. Its header begins with the time of the last update
//! instead, and its archives are rolled up by average. go-carbon still reads and writes such files: a first
//! field above 1,024 is a time. whisper.py 0.9 read every unknown number as average; since 1.0 it refuses
//! them. This crate follows go-carbon. 0 and 9 to 1,024 are neither a method nor a time: whisper.py refuses
//! them, go-carbon panics at the first roll-up, and this crate treats them as damage.

use crate::aggregation::Aggregation;
use crate::retention::{
    Retention, RetentionError, XFilesFactor, finest_first, retention_text, validate_retentions,
};

/// The first bytes of go-carbon's compressed files.
const COMPRESSED_MAGIC: &[u8] = b"whisper_compressed";

/// Size of the four fields before the list of archives.
const METADATA_BYTES: u64 = 16;
/// Size of one entry in the list of archives.
const ARCHIVE_ENTRY_BYTES: u64 = 12;
/// Size of a point: a timestamp of 4 bytes and a value of 8.
pub(crate) const POINT_BYTES: u64 = 12;
/// The offset of the aggregation's code.
pub(crate) const AGGREGATION_AT: u64 = 0;
/// The offset of the x-files factor.
pub(crate) const X_FILES_FACTOR_AT: u64 = 8;
const ARCHIVE_COUNT_AT: u64 = 12;
/// The greatest number in the first field that is read as an aggregation method, known or not. A greater
/// number is a time. Source: `OpenWithOptions` in go-whisper.
const METHOD_CODE_MAX: u32 = 1_024;

/// Whether a file that begins with `head` is in go-carbon's compressed format, which holds no Whisper header.
pub fn is_compressed(head: &[u8]) -> bool {
    head.starts_with(COMPRESSED_MAGIC)
}

/// Where an archive lies in its file, and what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The first byte of its first point, counted from the beginning of the file.
    pub offset: u32,
    /// Its resolution.
    pub seconds_per_point: u32,
    /// How many points it keeps.
    pub points: u32,
}

impl Archive {
    /// How far back it reaches, in seconds.
    pub fn retention(&self) -> u64 {
        u64::from(self.seconds_per_point) * u64::from(self.points)
    }

    /// Its size in the file, in bytes.
    pub fn size_bytes(&self) -> u64 {
        u64::from(self.points) * POINT_BYTES
    }

    /// The offset of the first byte after it.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + self.size_bytes()
    }
}

/// A checked header: every archive has points, lies inside the file and does not overlap another archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// How finer points become a coarser one.
    pub aggregation: Aggregation,
    /// The time, in Unix seconds, in the first field of a file that whisper before 0.9.9 wrote. Such a file
    /// has no field for the aggregation method; it is average. `None` in all other files.
    pub last_update: Option<u32>,
    /// How old a point may be, in seconds. Usually the retention of the longest archive; see the module's
    /// description.
    pub max_retention: u32,
    /// The share of finer points that must be known for a coarser one.
    pub x_files_factor: XFilesFactor,
    /// The archives in the order of the file. whisper.py writes the finest first.
    pub archives: Vec<Archive>,
}

/// Why bytes are not the header of a standard Whisper file. Offsets count from the beginning of the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// The bytes end before the header does.
    #[error("header cut off at byte {at} of {needed}")]
    CutOff {
        /// How many bytes there are.
        at: u64,
        /// How many bytes the header needs, by the fields read so far.
        needed: u64,
    },
    /// The first field is not an aggregation method. It is not the time that old files begin with either,
    /// judging by the fields that follow.
    #[error("aggregation method {found} at byte 0 is not 1 to 8")]
    Aggregation {
        /// The code that was found.
        found: u32,
    },
    /// The x-files factor is NaN or outside 0 to 1.
    #[error("x-files factor {found} at byte 8 is not between 0 and 1")]
    XFilesFactor {
        /// The number that was found.
        found: f32,
    },
    /// The file has no archive.
    #[error("archive count at byte 12 is 0")]
    NoArchives,
    /// The file has more archives than [`Header::ARCHIVES_MAX`].
    #[error("archive count {found} at byte 12 is more than {}", Header::ARCHIVES_MAX)]
    TooManyArchives {
        /// The count that was found.
        found: u32,
    },
    /// An archive has the resolution 0.
    #[error("seconds per point of archive {archive} at byte {at} is 0")]
    ZeroSecondsPerPoint {
        /// The archive's number in the file, from 0.
        archive: usize,
        /// The offset of the field.
        at: u64,
    },
    /// An archive has 0 points.
    #[error("number of points of archive {archive} at byte {at} is 0")]
    ZeroPoints {
        /// The archive's number in the file, from 0.
        archive: usize,
        /// The offset of the field.
        at: u64,
    },
    /// An archive begins inside the header.
    #[error(
        "offset {found} of archive {archive} at byte {at} lies inside the header of {header_bytes} bytes"
    )]
    InsideHeader {
        /// The archive's number in the file, from 0.
        archive: usize,
        /// The offset of the field.
        at: u64,
        /// The offset that was found.
        found: u32,
        /// The size of the header.
        header_bytes: u64,
    },
    /// An archive reaches beyond the end of the file: the file is truncated, or the offset or the count is
    /// wrong.
    #[error(
        "archive {archive}, described at byte {at}, ends at byte {end}, behind the file's end at {file_bytes}"
    )]
    BeyondFile {
        /// The archive's number in the file, from 0.
        archive: usize,
        /// The offset of its entry.
        at: u64,
        /// The offset of the first byte after the archive.
        end: u64,
        /// The size of the file.
        file_bytes: u64,
    },
    /// Two archives share bytes.
    #[error("archive {archive}, described at byte {at}, overlaps archive {other}")]
    Overlap {
        /// The number of the archive that begins later.
        archive: usize,
        /// The offset of its entry.
        at: u64,
        /// The number of the archive that begins earlier.
        other: usize,
    },
}

impl Header {
    /// The most archives that are accepted. Real files have a handful; this bound limits how much of a file
    /// must be read for its header, since a file may claim four billion archives.
    pub const ARCHIVES_MAX: u32 = 1_024;

    /// The size of the largest header that is accepted: reading this much of a file is enough to parse it.
    pub const SIZE_MAX_BYTES: u64 =
        METADATA_BYTES + ARCHIVE_ENTRY_BYTES * Self::ARCHIVES_MAX as u64;

    /// Parses and checks the header at the beginning of a file.
    ///
    /// `head` is the beginning of the file: [`Self::SIZE_MAX_BYTES`], or the whole file if it is shorter.
    /// `file_len_bytes` is the size of the whole file. Source of the layout: `__readHeader` in whisper.py.
    ///
    /// # Errors
    /// The first field that is wrong, in the order of the file; overlaps are checked last.
    pub fn parse(head: &[u8], file_len_bytes: u64) -> Result<Self, HeaderError> {
        let head = Head { bytes: head, file_len_bytes };
        head.require(METADATA_BYTES)?;
        let (aggregation, last_update) = first_field(head.u32_at(AGGREGATION_AT)?)?;
        let max_retention = head.u32_at(4)?;
        let share = f32::from_bits(head.u32_at(X_FILES_FACTOR_AT)?);
        // Then the first field is not a time after all, but the beginning of a file of another kind.
        let x_files_factor = XFilesFactor::new(share).map_err(|_| match last_update {
            Some(found) => HeaderError::Aggregation { found },
            None => HeaderError::XFilesFactor { found: share },
        })?;
        let archives = head.archives()?;
        check_overlaps(&archives)?;
        Ok(Self { aggregation, last_update, max_retention, x_files_factor, archives })
    }

    /// The header of a new file, as whisper.py's `create` writes it: finest archive first, without gaps.
    ///
    /// # Errors
    /// [`RetentionError`] if whisper.py would refuse to create the file, or fail to.
    pub fn for_retentions(
        retentions: &[Retention],
        aggregation: Aggregation,
        x_files_factor: XFilesFactor,
    ) -> Result<Self, RetentionError> {
        validate_retentions(retentions)?;
        let limit = Self::ARCHIVES_MAX as usize;
        if retentions.len() > limit {
            return Err(RetentionError::TooMany { found: retentions.len(), limit });
        }
        let mut archives = Vec::with_capacity(retentions.len());
        let mut end = header_bytes(retentions.len());
        let mut max_retention = 0;
        for retention in finest_first(retentions) {
            let beyond_format = |_| RetentionError::BeyondFormat { retention };
            let archive = Archive {
                offset: u32::try_from(end).map_err(beyond_format)?,
                seconds_per_point: retention.seconds_per_point(),
                points: retention.points(),
            };
            max_retention =
                u32::try_from(retention.seconds()).map_err(beyond_format)?.max(max_retention);
            end = archive.end();
            archives.push(archive);
        }
        Ok(Self { aggregation, last_update: None, max_retention, x_files_factor, archives })
    }

    /// The header's bytes in the file.
    pub fn encode(&self) -> Vec<u8> {
        let count = u32::try_from(self.archives.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(16 + 12 * self.archives.len());
        bytes.extend(self.last_update.unwrap_or(self.aggregation.code()).to_be_bytes());
        bytes.extend(self.max_retention.to_be_bytes());
        bytes.extend(self.x_files_factor.get().to_be_bytes());
        bytes.extend(count.to_be_bytes());
        for archive in &self.archives {
            bytes.extend(archive.offset.to_be_bytes());
            bytes.extend(archive.seconds_per_point.to_be_bytes());
            bytes.extend(archive.points.to_be_bytes());
        }
        bytes
    }

    /// The archives as in `storage-schemas.conf`, the finest first: `60s:30d,1h:5y`.
    pub fn layout(&self) -> String {
        let archives =
            self.finest_first().into_iter().filter_map(|number| self.archives.get(number));
        let texts: Vec<String> = archives
            .map(|archive| retention_text(archive.seconds_per_point, archive.points))
            .collect();
        texts.join(",")
    }

    /// Checks that every archive lies inside a file of `file_len_bytes`, for a file that is shorter than was
    /// announced.
    ///
    /// # Errors
    /// [`HeaderError::BeyondFile`] for the first archive that does not.
    pub(crate) fn require_inside(&self, file_len_bytes: u64) -> Result<(), HeaderError> {
        let beyond = |(_, archive): &(usize, &Archive)| archive.end() > file_len_bytes;
        match self.archives.iter().enumerate().find(beyond) {
            None => Ok(()),
            Some((archive, found)) => Err(HeaderError::BeyondFile {
                archive,
                at: header_bytes(archive),
                end: found.end(),
                file_bytes: file_len_bytes,
            }),
        }
    }

    /// The size of the header itself.
    pub fn size_bytes(&self) -> u64 {
        header_bytes(self.archives.len())
    }

    /// The size of a file that ends with its last archive. A file may be larger, but not smaller.
    pub fn file_size_bytes(&self) -> u64 {
        self.archives.iter().map(Archive::end).max().unwrap_or(0).max(self.size_bytes())
    }

    /// The numbers of the archives by resolution, the finest first; equal ones in the order of the file.
    pub fn finest_first(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.archives.len()).collect();
        numbers.sort_by_key(|&number| {
            self.archives.get(number).map(|archive| archive.seconds_per_point)
        });
        numbers
    }
}

/// The meaning of the first field: an aggregation method, or the time that whisper before 0.9.9 wrote there.
fn first_field(found: u32) -> Result<(Aggregation, Option<u32>), HeaderError> {
    if found > METHOD_CODE_MAX {
        return Ok((Aggregation::Average, Some(found)));
    }
    let aggregation = Aggregation::from_code(found).ok_or(HeaderError::Aggregation { found })?;
    Ok((aggregation, None))
}

fn header_bytes(archives: usize) -> u64 {
    METADATA_BYTES + ARCHIVE_ENTRY_BYTES * archives as u64
}

/// The beginning of a file, and the length of the whole file.
struct Head<'a> {
    bytes: &'a [u8],
    file_len_bytes: u64,
}

impl Head<'_> {
    /// Checks that the first `needed` bytes exist.
    fn require(&self, needed: u64) -> Result<(), HeaderError> {
        let at = self.file_len_bytes.min(self.bytes.len() as u64);
        if at < needed { Err(HeaderError::CutOff { at, needed }) } else { Ok(()) }
    }

    fn u32_at(&self, at: u64) -> Result<u32, HeaderError> {
        let found =
            usize::try_from(at).ok().and_then(|start| self.bytes.get(start..)?.first_chunk());
        found.map(|bytes| u32::from_be_bytes(*bytes)).ok_or(HeaderError::CutOff {
            at: self.bytes.len() as u64,
            needed: at.saturating_add(4),
        })
    }

    fn archives(&self) -> Result<Vec<Archive>, HeaderError> {
        let count = self.u32_at(ARCHIVE_COUNT_AT)?;
        if count == 0 {
            return Err(HeaderError::NoArchives);
        }
        if count > Header::ARCHIVES_MAX {
            return Err(HeaderError::TooManyArchives { found: count });
        }
        let header_bytes = header_bytes(count as usize);
        self.require(header_bytes)?;
        (0..count as usize).map(|archive| self.archive(archive, header_bytes)).collect()
    }

    fn archive(&self, archive: usize, header_bytes: u64) -> Result<Archive, HeaderError> {
        let at = self::header_bytes(archive);
        let found = Archive {
            offset: self.u32_at(at)?,
            seconds_per_point: self.u32_at(at + 4)?,
            points: self.u32_at(at + 8)?,
        };
        if u64::from(found.offset) < header_bytes {
            return Err(HeaderError::InsideHeader {
                archive,
                at,
                found: found.offset,
                header_bytes,
            });
        }
        if found.seconds_per_point == 0 {
            return Err(HeaderError::ZeroSecondsPerPoint { archive, at: at + 4 });
        }
        if found.points == 0 {
            return Err(HeaderError::ZeroPoints { archive, at: at + 8 });
        }
        if found.end() > self.file_len_bytes {
            let file_bytes = self.file_len_bytes;
            return Err(HeaderError::BeyondFile { archive, at, end: found.end(), file_bytes });
        }
        Ok(found)
    }
}

fn check_overlaps(archives: &[Archive]) -> Result<(), HeaderError> {
    let mut by_offset: Vec<(usize, &Archive)> = archives.iter().enumerate().collect();
    by_offset.sort_by_key(|(_, archive)| archive.offset);
    for pair in by_offset.windows(2) {
        if let [(other, earlier), (archive, later)] = *pair
            && earlier.end() > u64::from(later.offset)
        {
            return Err(HeaderError::Overlap { archive, at: header_bytes(archive), other });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
