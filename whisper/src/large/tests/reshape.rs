//! Long files that get the archives of both: compared with the reshape in memory, and with a concurrent
//! writer.

use super::*;
use crate::reshape::Layout;
use crate::{Coverage, reshape};

/// A file of the length that `header` states, all zeros.
fn new_file(header: &Header) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(header.file_size_bytes()).unwrap();
    file
}

fn layout(owner: &[u8], source: &[u8]) -> Result<Layout, crate::ReshapeError> {
    let header = |bytes| Image::parse(bytes).unwrap().header().clone();
    Layout::of(&header(owner), &header(source))
}

/// The reshaped file, and how many points of the owner it lacks.
fn reshaped(
    owner: &[u8],
    source: &[u8],
    options: FillOptions,
    window: u32,
) -> Option<(Vec<u8>, u64)> {
    let layout = layout(owner, source).ok()?;
    let (old, from, new) = (on_disk(owner), on_disk(source), new_file(layout.header()));
    let done = super::super::reshape::reshape_by(&layout, (&old, &from), &new, options, window);
    let lost = super::super::reshape::lost_by(&old, &new, options, window).unwrap().count;
    let len = usize::try_from(layout.header().file_size_bytes()).unwrap();
    let new = content_of(&new, len);
    let coverage =
        Coverage::of(&Image::parse(source).unwrap(), &Image::parse(&new).unwrap(), options.clocks);
    assert_eq!(done.unwrap(), coverage);
    Some((new, lost))
}

proptest! {
    #[test]
    fn it_reshapes_as_a_reshape_in_memory_does_whatever_the_windows(
        owner in file(), source in file(), window in 1_u32..3_000,
    ) {
        let expected = reshape(
            &Image::parse(&owner).unwrap(), &Image::parse(&source).unwrap(), options(),
        );
        let found = reshaped(&owner, &source, options(), window);
        match (expected, found) {
            (Ok(expected), Some((found, lost))) => {
                prop_assert_eq!(lost, 0);
                prop_assert_eq!(points(&found), points(&expected));
                prop_assert_eq!(&found[..28], &expected[..28]);
            }
            (Err(_), found) => prop_assert!(found.is_none_or(|(_, lost)| lost > 0)),
            (Ok(_), None) => prop_assert!(false, "refused"),
        }
    }

    /// For any clocks, and with points from clocks that were ahead: no point of the owner is lost without
    /// being counted.
    #[test]
    fn a_point_of_the_owner_is_in_the_new_file_or_counted_as_lost(
        owner in file_with(1), source in file_with(1), window in 1_u32..3_000, apart in 0_u32..4_000,
    ) {
        let options = FillOptions { clocks: Clocks::new(NOW - apart, NOW), ..options() };
        if let Some((new, lost)) = reshaped(&owner, &source, options, window) {
            let images = [&owner, &new].map(|bytes| Image::parse(bytes).unwrap());
            let coverage = Coverage::of(&images[0], &images[1], options.clocks);
            prop_assert!(coverage.is_whole() || lost > 0, "{:?}", coverage);
        }
    }

    /// A writer without a lock writes before the exchange. Each of its points is in the new file, and the
    /// owner's other points are unchanged.
    #[test]
    fn points_written_during_a_reshape_are_carried_over(
        owner in file(), source in file(), ages in prop::collection::vec(0_u32..50, 1..20),
    ) {
        let Ok(layout) = layout(&owner, &source) else { return Ok(()) };
        let old = tempfile::NamedTempFile::new().unwrap();
        old.as_file().write_all_at(&owner, 0).unwrap();
        let (from, new) = (on_disk(&source), tempfile::NamedTempFile::new().unwrap());
        new.as_file().set_len(layout.header().file_size_bytes()).unwrap();
        let mut before = BlockDigests::of(old.as_file()).unwrap();
        reshape_large(&layout, (old.as_file(), &from), new.as_file(), options()).unwrap();
        prop_assume!(lost_by_reshape(old.as_file(), new.as_file(), options()).unwrap().count == 0);

        let step = Image::parse(&owner).unwrap().header().archives[0].seconds_per_point;
        let mut writer = crate::WhisperFile::of_locked(old.reopen().unwrap(), old.path()).unwrap();
        for age in &ages {
            writer.update(1000.0 + f64::from(*age), NOW - age, NOW).unwrap();
        }
        let files = (old.as_file(), new.as_file());
        // Points that are missing before they are carried over must count as late.
        let lost = lost_by_reshape(old.as_file(), new.as_file(), options()).unwrap();
        prop_assert!(lost.count > 0);
        let carried = carry_late(&mut before, files, new.path(), options()).unwrap();
        prop_assert_eq!((carried.is_empty(), carried.lost, lost.not_late(&carried)), (false, 0, 0));
        let found = std::fs::read(new.path()).unwrap();
        let image = Image::parse(&found).unwrap();
        let old_now = std::fs::read(old.path()).unwrap();
        let coverage = Coverage::of(&Image::parse(&old_now).unwrap(), &image, options().clocks);
        prop_assert!(coverage.is_whole(), "{:?}", coverage);
        for age in ages {
            let t = (NOW - age) / step * step;
            let same = |of: &Image<'_>| {
                let view = of.archives().find(|view| view.archive().seconds_per_point == step);
                view.and_then(|view| view.valid(t, NOW))
            };
            let expected = same(&Image::parse(&old_now).unwrap());
            prop_assert!(expected.is_some());
            prop_assert_eq!(same(&image), expected);
        }
        // A second call finds nothing.
        prop_assert!(carry_late(&mut before, files, new.path(), options()).unwrap().is_empty());
        prop_assert_eq!(std::fs::read(new.path()).unwrap(), found);
    }
}

#[test]
fn only_the_blocks_that_have_changed_are_looked_at_and_a_file_that_was_emptied_has_nothing() {
    let header = header(&["1s:1h", "60s:1d"], Aggregation::Last, 0.0);
    let old = tempfile::NamedTempFile::new().unwrap();
    old.as_file().write_all_at(&header.encode(), 0).unwrap();
    old.as_file().set_len(header.file_size_bytes()).unwrap();
    let new = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(old.path(), new.path()).unwrap();
    let mut before = BlockDigests::of(old.as_file()).unwrap();
    let files = (old.as_file(), new.as_file());
    assert_eq!(carry_late(&mut before, files, new.path(), options()).unwrap(), Carried::default());
    let point = Point { timestamp: NOW, value: 4.0 };
    old.as_file().write_all_at(&point.encode(), header.archives[0].offset.into()).unwrap();
    let lost = lost_by_reshape(files.0, files.1, options()).unwrap();
    let carried = carry_late(&mut before, files, new.path(), options()).unwrap();
    assert_eq!(
        (lost.count, lost.not_late(&carried), lost.not_late(&Carried::default())),
        (1, 0, 1)
    );
    let found = std::fs::read(new.path()).unwrap();
    assert_eq!(Image::parse(&found).unwrap().archive(0).unwrap().valid(NOW, NOW), Some(4.0));
    old.as_file().set_len(0).unwrap();
    carry_late(&mut before, files, new.path(), options()).unwrap();
    assert_eq!(std::fs::read(new.path()).unwrap(), found);
}

/// The owner's archives do not fit into one file with the source's. The source's layout is used, and the loss
/// counted.
#[test]
fn steps_that_do_not_divide_take_the_sources_layout_and_what_is_lost_is_counted() {
    let header = |layout: &[&str]| header(layout, Aggregation::Last, 0.0);
    let file = |header: &Header, times: &[u32]| {
        let mut bytes = header.encode();
        bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
        let at = usize::try_from(header.archives[0].offset).unwrap();
        for (number, t) in times.iter().enumerate() {
            let slot = Point { timestamp: *t, value: 1.0 }.encode();
            bytes[at + number * 12..at + number * 12 + 12].copy_from_slice(&slot);
        }
        bytes
    };
    let sixty = header(&["60s:1h"]);
    let source = file(&header(&["40s:1h"]), &[NOW / 40 * 40]);
    let t = NOW / 60 * 60 - 120;
    let owner = file(&sixty, &[t, t + 60]);
    let (_, lost) = reshaped(&owner, &source, options(), 100).unwrap();
    assert_eq!(lost, 2);
    let (new, lost) = reshaped(&file(&sixty, &[]), &source, options(), 100).unwrap();
    assert_eq!((lost, points(&new)[0].len()), (0, 1));
}

/// The same case as in memory: carbon writes to the owner's coarse file while it is given the source's
/// minutes.
#[test]
fn a_point_that_came_late_takes_no_finer_points_place() {
    let slot = NOW / 600 * 600 - 7_200;
    for old_layout in [&["600s:4d"][..], &["60s:1h", "600s:4d"]] {
        let header_of = |layout: &[&str]| header(layout, Aggregation::Average, 0.5);
        let (of_old, of_source) = (header_of(old_layout), header_of(&["60s:1d", "600s:4d"]));
        let source_file = tempfile::NamedTempFile::new().unwrap();
        let old = tempfile::NamedTempFile::new().unwrap();
        for (file, header) in [(&old, &of_old), (&source_file, &of_source)] {
            file.as_file().write_all_at(&header.encode(), 0).unwrap();
            file.as_file().set_len(header.file_size_bytes()).unwrap();
        }
        let writer = |file: &tempfile::NamedTempFile| {
            crate::WhisperFile::of_locked(file.reopen().unwrap(), file.path()).unwrap()
        };
        for (t, value) in [(slot, 1.0), (slot + 60, 2.0)] {
            writer(&source_file).update(value, t, NOW).unwrap();
        }
        let layout = Layout::of(&of_old, &of_source).unwrap();
        let new = tempfile::NamedTempFile::new().unwrap();
        new.as_file().set_len(layout.header().file_size_bytes()).unwrap();
        let mut before = BlockDigests::of(old.as_file()).unwrap();
        let files = (old.as_file(), source_file.as_file());
        reshape_large(&layout, files, new.as_file(), options()).unwrap();
        writer(&old).update(5.0, slot + 60, NOW).unwrap();
        let files = (old.as_file(), new.as_file());
        let carried = carry_late(&mut before, files, new.path(), options()).unwrap();
        assert_eq!((carried.is_empty(), carried.lost), (false, 0));
        let found = std::fs::read(new.path()).unwrap();
        let image = Image::parse(&found).unwrap();
        let value = |archive: usize, t| image.archive(archive).unwrap().valid(t, NOW);
        assert_eq!([value(0, slot), value(0, slot + 60)], [Some(1.0), Some(2.0)], "{old_layout:?}");
        assert_eq!(value(1, slot), Some(5.0), "{old_layout:?}");
    }
}

/// Two runs of points with more empty slots between them than one write spans; the source has points in that
/// gap.
#[test]
fn points_behind_a_long_gap_lie_in_their_own_slots() {
    let header = |layout: &[&str]| header(layout, Aggregation::Last, 0.0);
    let (owner, source) = (header(&["60s:5d"]), header(&["60s:5d", "600s:9d"]));
    let newest = NOW / 60 * 60;
    let file = |header: &Header, ages: &[u32]| {
        let mut bytes = header.encode();
        bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
        let oldest = ages.iter().max().unwrap();
        for age in ages {
            let at = (header.archives[0].offset + (oldest - age) * 12) as usize;
            let point = Point { timestamp: newest - age * 60, value: f64::from(*age) };
            bytes[at..at + 12].copy_from_slice(&point.encode());
        }
        bytes
    };
    for (gap, points_behind) in
        [(1_023, 900), (1_024, 900), (1_025, 900), (1_500, 1_000), (2_500, 50)]
    {
        let behind: Vec<u32> = (0..points_behind).collect();
        let before: Vec<u32> = (0..50).map(|number| points_behind + gap + number).collect();
        let between: Vec<u32> = (points_behind..points_behind + gap).collect();
        let owner = file(&owner, &[before, behind].concat());
        for source in [file(&source, &between), file(&source, &[5])] {
            let images = [&owner, &source].map(|file| Image::parse(file).unwrap());
            let expected = reshape(&images[0], &images[1], options()).unwrap();
            let window = super::super::WINDOW_SLOTS;
            let (found, lost) = reshaped(&owner, &source, options(), window).unwrap();
            assert_eq!(lost, 0, "{gap}");
            assert!(points(&found) == points(&expected), "{gap}");
        }
    }
}
