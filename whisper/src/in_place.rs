//! Writing a fill into a file that somebody else may be writing to without a lock.
//!
//! Where an archive holds points already, positions are fixed, and two writers meet at most in one slot, with two points
//! for that slot. Where it holds none, the first point that is written becomes its base and decides where all others lie:
//! two writers who both take themselves for the first put points of different times into the same slots. So an archive
//! without a base is looked at once more right before its first slot is written, and right after all of it is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::{FillPlan, Image, Run};

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

/// Writes `plan` into `file`, whose content was `destination` when the plan was made, run by run. Makes nothing durable.
///
/// # Errors
/// What the system says; some runs may have been written.
pub fn write_in_place(
    plan: &FillPlan,
    destination: &Image<'_>,
    file: &File,
) -> io::Result<Written> {
    let empty: Vec<u64> = destination
        .archives()
        .filter(|archive| archive.base() == 0)
        .map(|archive| archive.slot_offset(0))
        .collect();
    let mut bases = Vec::new();
    for run in plan.runs() {
        if empty.contains(&run.offset) {
            if timestamp_at(file, run.offset)? != [0; 4] {
                return Ok(Written::Disturbed);
            }
            bases.push(run);
        }
        file.write_all_at(run.bytes, run.offset)?;
    }
    for base in bases {
        if !is_still_there(base, file)? {
            return Ok(Written::Disturbed);
        }
    }
    Ok(Written::Whole)
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
mod tests {
    use super::*;
    use crate::{
        Aggregation, AggregationSix, FillOptions, Header, Point, Retention, XFilesFactor, fill,
    };

    const NOW: u32 = 1_700_000_040;

    /// A file with these points, in an archive of 10 minutes by 60 s.
    fn content(points: &[Point]) -> Vec<u8> {
        let retention: Retention = "60s:10m".parse().unwrap();
        let factor = XFilesFactor::new(0.0).unwrap();
        let header = Header::for_retentions(&[retention], Aggregation::Last, factor).unwrap();
        let mut bytes = header.encode();
        bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
        let start = usize::try_from(header.size_bytes()).unwrap();
        for (slot, point) in points.iter().enumerate() {
            bytes[start + slot * 12..start + slot * 12 + 12].copy_from_slice(&point.encode());
        }
        bytes
    }

    fn point(age: u32) -> Point {
        Point { timestamp: NOW - NOW % 60 - age * 60, value: f64::from(age) }
    }

    fn valid(file: &File) -> Vec<u32> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let image = Image::parse(&bytes).unwrap();
        let newest = point(0).timestamp;
        let ages = |point: Point| (newest - point.timestamp) / 60;
        image.archives().flat_map(|archive| archive.points_valid(NOW)).map(ages).collect()
    }

    fn first_points(file: &File) {
        let start = content(&[]).len() - 10 * 12;
        let points = [point(1).encode(), point(0).encode()];
        file.write_all_at(points.as_flattened(), start as u64).unwrap();
    }

    fn options() -> FillOptions {
        FillOptions { now: NOW, aggregation_six: AggregationSix::default() }
    }

    /// A writer without a lock that looked at an archive without a base before we did, and writes after we did.
    #[test]
    fn a_first_point_that_came_before_our_write_is_not_overwritten() {
        let (source, empty) = (content(&[point(5), point(4), point(3)]), content(&[]));
        let (source, looked_at) = (Image::parse(&source).unwrap(), Image::parse(&empty).unwrap());
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&empty, 0).unwrap();
        let plan = fill(&source, &looked_at, options());
        first_points(&file);
        assert_eq!(write_in_place(&plan, &looked_at, &file).unwrap(), Written::Disturbed);
        assert_eq!(valid(&file), [1, 0], "the writer's points are as they were");
        let mut there = empty.clone();
        file.read_exact_at(&mut there, 0).unwrap();
        let there = Image::parse(&there).unwrap();
        let plan = fill(&source, &there, options());
        assert_eq!(write_in_place(&plan, &there, &file).unwrap(), Written::Whole);
        assert_eq!(valid(&file), [5, 4, 3, 1, 0]);
    }

    #[test]
    fn a_first_point_that_comes_during_our_write_is_noticed() {
        let (source, empty) = (content(&[point(5), point(4), point(3)]), content(&[]));
        let (source, looked_at) = (Image::parse(&source).unwrap(), Image::parse(&empty).unwrap());
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&empty, 0).unwrap();
        let plan = fill(&source, &looked_at, options());
        assert_eq!(write_in_place(&plan, &looked_at, &file).unwrap(), Written::Whole);
        let run = plan.runs().next().unwrap();
        assert!(is_still_there(run, &file).unwrap());
        first_points(&file);
        assert!(!is_still_there(run, &file).unwrap());
    }
}
