//! An owner with the Go tool's daemon: what it may be sent, and what its file must hold before a source may
//! be deleted. Pure.
//!
//! Such a daemon proves nothing. So its file is fetched and compared here, before and after it is sent
//! anything. Its fill overwrites the good point behind a gap (D8). So it gets its own file with the points
//! that it lacks, and nothing if it lacks none. `bucky` and `buckyd` both use these two functions, and have
//! no rule of their own.

use bucky_whisper::{AggregationSix, Clocks, Coverage, FillOptions, Image, ImageError, fill};

use crate::SchemaDifference;

/// Why the points of a source and of an owner's file cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum NotComparable {
    /// One of the files is in go-carbon's compressed format.
    #[error(
        "the two files have different content, and one of them is compressed: their points cannot be merged"
    )]
    Compressed,
    /// The source is not a valid Whisper file.
    #[error("the source's file is corrupt")]
    Source(#[source] ImageError),
    /// The owner's file is not a valid Whisper file.
    #[error("the owner's file is corrupt")]
    Owner(#[source] ImageError),
}

/// What an owner's file holds of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The source's points, by whether the owner's file holds them. Empty if the two files are equal.
    pub coverage: Coverage,
    /// How the two schemas differ; `None` if they are equal and every point is held.
    pub difference: Option<SchemaDifference>,
}

/// The file to send to an owner that has `owned`, so that it holds all points of `source` that have a place
/// there: `owned` with the points that it lacks. `None` if it lacks none, and must not be sent anything.
///
/// # Errors
/// [`NotComparable`].
pub fn to_send(
    source: &[u8],
    owned: &[u8],
    clocks: Clocks,
) -> Result<Option<Vec<u8>>, NotComparable> {
    if source == owned {
        return Ok(None);
    }
    let (source, destination) = parse(source, owned)?;
    // The points that are filled do not depend on the meaning of aggregation method 6.
    let options = FillOptions { clocks, aggregation_six: AggregationSix::default() };
    let plan = fill(&source, &destination, options);
    if plan.is_empty() {
        return Ok(None);
    }
    let mut sent = owned.to_vec();
    plan.apply(&mut sent);
    Ok(Some(sent))
}

/// What `owned`, the owner's file as it was fetched, holds of `source`.
///
/// # Errors
/// [`NotComparable`].
pub fn held(source: &[u8], owned: &[u8], clocks: Clocks) -> Result<Held, NotComparable> {
    if source == owned {
        return Ok(Held::default());
    }
    let (source, owned) = parse(source, owned)?;
    let coverage = Coverage::of(&source, &owned, clocks);
    let difference = SchemaDifference::of(source.header(), owned.header(), &coverage);
    Ok(Held { coverage, difference })
}

fn parse<'f>(source: &'f [u8], owned: &'f [u8]) -> Result<(Image<'f>, Image<'f>), NotComparable> {
    match (Image::parse(source), Image::parse(owned)) {
        (Err(ImageError::Compressed), _) | (_, Err(ImageError::Compressed)) => {
            Err(NotComparable::Compressed)
        }
        (Err(error), _) => Err(NotComparable::Source(error)),
        (_, Err(error)) => Err(NotComparable::Owner(error)),
        (Ok(source), Ok(owned)) => Ok((source, owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OnSchemaDifference;

    const NOW: u32 = 1_700_000_000;
    const SLOTS: u32 = 10;

    /// A file of one archive of ten points, with points of the value 1 at these ages in seconds.
    fn file(seconds_per_point: u32, ages: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in
            [1, seconds_per_point * SLOTS, 0.5_f32.to_bits(), 1, 28, seconds_per_point, SLOTS]
        {
            bytes.extend(field.to_be_bytes());
        }
        let mut slots = vec![(0, 0.0); 10];
        let newest = NOW - NOW % seconds_per_point;
        for age in ages {
            let time = newest - age;
            slots[(time / seconds_per_point % SLOTS) as usize] = (time, 1.0);
        }
        // A ring begins at the time in its first slot.
        let first = slots.iter().position(|(time, _)| *time != 0).unwrap_or(0);
        slots.rotate_left(first);
        for (time, value) in slots {
            bytes.extend(u32::to_be_bytes(time));
            bytes.extend(f64::to_be_bytes(value));
        }
        bytes
    }

    fn clocks() -> Clocks {
        Clocks::new(NOW, NOW)
    }

    fn is_enough(source: &[u8], owned: &[u8]) -> bool {
        let held = held(source, owned, clocks()).unwrap();
        OnSchemaDifference::Keep.accepts(&held.coverage)
    }

    #[test]
    fn an_owner_gets_its_own_file_with_the_points_that_it_lacks() {
        let (source, owned) = (file(60, &[60, 120]), file(60, &[120, 180]));
        assert!(!is_enough(&source, &owned));
        let sent = to_send(&source, &owned, clocks()).unwrap().unwrap();
        assert!(is_enough(&source, &sent) && is_enough(&owned, &sent));
        assert_eq!(to_send(&source, &sent, clocks()).unwrap(), None);
    }

    #[test]
    fn an_owner_that_lacks_no_point_is_sent_nothing() {
        let (source, owned) = (file(60, &[60]), file(60, &[60, 120]));
        assert_eq!(to_send(&source, &owned, clocks()).unwrap(), None);
        assert!(is_enough(&source, &owned));
        let equal = to_send(&source, &source, clocks()).unwrap();
        assert_eq!((equal, held(&source, &source, clocks()).unwrap()), (None, Held::default()));
    }

    #[test]
    fn points_without_a_place_are_neither_sent_nor_held() {
        let (source, owned) = (file(60, &[60]), file(7, &[]));
        assert_eq!(to_send(&source, &owned, clocks()).unwrap(), None);
        let held = held(&source, &owned, clocks()).unwrap();
        assert_eq!(held.coverage.without_place(), 1);
        assert_eq!(held.difference.unwrap().points_without_place(), 1);
    }

    #[test]
    fn files_that_cannot_be_compared_are_named() {
        let sound = file(60, &[60]);
        let bad = b"not a Whisper file".to_vec();
        for outcome in [
            (to_send(&bad, &sound, clocks()).map(drop), to_send(&sound, &bad, clocks()).map(drop)),
            (held(&bad, &sound, clocks()).map(drop), held(&sound, &bad, clocks()).map(drop)),
        ] {
            assert!(matches!(outcome.0, Err(NotComparable::Source(_))), "{outcome:?}");
            assert!(matches!(outcome.1, Err(NotComparable::Owner(_))), "{outcome:?}");
        }
        // Equal content needs no comparison, whatever it is.
        assert_eq!(to_send(&bad, &bad, clocks()).unwrap(), None);
        assert_eq!(held(&bad, &bad, clocks()).unwrap(), Held::default());
    }
}
