use proptest::prelude::*;

use super::*;

/// Two archives behind a header of 40 bytes: 1 s of 60 points, 60 s of 10 points.
fn sound() -> Header {
    Header {
        aggregation: Aggregation::Sum,
        last_update: None,
        max_retention: 600,
        x_files_factor: XFilesFactor::new(0.25).unwrap(),
        archives: vec![
            Archive { offset: 40, seconds_per_point: 1, points: 60 },
            Archive { offset: 760, seconds_per_point: 60, points: 10 },
        ],
    }
}

const SOUND_BYTES: u64 = 880;

/// The sound header's bytes with one field, 4 bytes long, replaced.
fn with_field(at: usize, value: u32) -> Vec<u8> {
    let mut bytes = sound().encode();
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn parse(head: &[u8]) -> Result<Header, HeaderError> {
    Header::parse(head, SOUND_BYTES)
}

#[test]
fn a_header_has_the_bytes_of_the_format() {
    let expected: [u32; 10] = [2, 600, 0x3e80_0000, 2, 40, 1, 60, 760, 60, 10];
    let expected: Vec<u8> = expected.iter().flat_map(|field| field.to_be_bytes()).collect();
    assert_eq!(sound().encode(), expected);
    assert_eq!(parse(&expected), Ok(sound()));
    assert_eq!((sound().size_bytes(), sound().file_size_bytes()), (40, SOUND_BYTES));
}

#[test]
fn each_wrong_field_is_named_with_what_was_found() {
    let cases = [
        (with_field(0, 0), HeaderError::Aggregation { found: 0 }),
        (with_field(0, 9), HeaderError::Aggregation { found: 9 }),
        (with_field(0, 77), HeaderError::Aggregation { found: 77 }),
        (with_field(0, 1_024), HeaderError::Aggregation { found: 1_024 }),
        (with_field(8, 1.5f32.to_bits()), HeaderError::XFilesFactor { found: 1.5 }),
        (with_field(8, (-0.5f32).to_bits()), HeaderError::XFilesFactor { found: -0.5 }),
        (with_field(12, 0), HeaderError::NoArchives),
        (with_field(12, u32::MAX), HeaderError::TooManyArchives { found: u32::MAX }),
        (with_field(12, 3), HeaderError::CutOff { at: 40, needed: 52 }),
        (with_field(20, 0), HeaderError::ZeroSecondsPerPoint { archive: 0, at: 20 }),
        (with_field(36, 0), HeaderError::ZeroPoints { archive: 1, at: 36 }),
        (
            with_field(16, 39),
            HeaderError::InsideHeader { archive: 0, at: 16, found: 39, header_bytes: 40 },
        ),
        (
            with_field(36, 11),
            HeaderError::BeyondFile { archive: 1, at: 28, end: 892, file_bytes: SOUND_BYTES },
        ),
        (
            with_field(36, u32::MAX),
            HeaderError::BeyondFile {
                archive: 1,
                at: 28,
                end: 760 + 12 * u64::from(u32::MAX),
                file_bytes: SOUND_BYTES,
            },
        ),
        (with_field(28, 759), HeaderError::Overlap { archive: 1, at: 28, other: 0 }),
        (with_field(28, 40), HeaderError::Overlap { archive: 1, at: 28, other: 0 }),
    ];
    for (head, expected) in cases {
        assert_eq!(parse(&head), Err(expected));
    }
    let nan = parse(&with_field(8, f32::NAN.to_bits()));
    assert!(matches!(nan, Err(HeaderError::XFilesFactor { found }) if found.is_nan()));
}

#[test]
fn a_header_cut_off_anywhere_says_where() {
    let bytes = sound().encode();
    for at in 0..bytes.len() {
        let needed = if at < 16 { 16 } else { 40 };
        let expected = Err(HeaderError::CutOff { at: at as u64, needed });
        assert_eq!(parse(&bytes[..at]), expected, "the head is short");
        assert_eq!(Header::parse(&bytes, at as u64), expected, "the file is short");
    }
    let error = parse(&bytes[..3]).unwrap_err();
    assert_eq!(error.to_string(), "header cut off at byte 3 of 16");
}

#[test]
fn unusual_headers_that_carbon_would_serve_are_accepted() {
    let mut unordered = sound();
    unordered.archives.reverse();
    let mut indivisible = sound();
    indivisible.archives[0].seconds_per_point = 7;
    let mut longer_than_it_says = sound();
    longer_than_it_says.max_retention = 1;
    let mut with_gaps = sound();
    with_gaps.archives[1].offset += 100;
    for header in [unordered, indivisible, longer_than_it_says, with_gaps] {
        assert_eq!(Header::parse(&header.encode(), 2_000), Ok(header));
    }
}

#[test]
fn a_header_from_before_whisper_0_9_9_begins_with_a_time_and_means_average() {
    for time in [1_025, 1_284_000_600, u32::MAX] {
        let bytes = with_field(0, time);
        let header = parse(&bytes).unwrap();
        assert_eq!((header.aggregation, header.last_update), (Aggregation::Average, Some(time)));
        assert_eq!(header.encode(), bytes, "it is written as it was read");
        assert_eq!(header.archives, sound().archives);
    }
    // A file that was cut off or is of another kind is not mistaken for an old one, because the other fields
    // are checked.
    let mut page = b"<html><body>404 not found</body></html>".repeat(30);
    page.truncate(usize::try_from(SOUND_BYTES).unwrap());
    for other in [&page[..], b"whisper_compresse"] {
        let found = u32::from_be_bytes(*other.first_chunk().unwrap());
        assert_eq!(parse(other), Err(HeaderError::Aggregation { found }));
    }
}

#[test]
fn archives_are_listed_finest_first_in_whatever_order_they_lie() {
    let mut header = sound();
    assert_eq!(header.finest_first(), [0, 1]);
    header.archives.reverse();
    assert_eq!(header.finest_first(), [1, 0]);
}

#[test]
fn the_largest_header_that_is_accepted_fits_what_is_read() {
    let count = u64::from(Header::ARCHIVES_MAX);
    let mut header = sound();
    header.archives = (0..count)
        .map(|number| u32::try_from(Header::SIZE_MAX_BYTES + 12 * number).unwrap())
        .map(|offset| Archive { offset, seconds_per_point: 1, points: 1 })
        .collect();
    let bytes = header.encode();
    assert_eq!(bytes.len() as u64, Header::SIZE_MAX_BYTES);
    assert_eq!(Header::parse(&bytes, header.file_size_bytes()), Ok(header));
}

#[test]
fn archives_beyond_the_format_are_refused() {
    let lay_out = |retentions: &[(u32, u32)]| {
        let retentions: Vec<Retention> = retentions
            .iter()
            .map(|(step, points)| Retention::new(*step, *points).unwrap())
            .collect();
        Header::for_retentions(&retentions, Aggregation::Average, XFilesFactor::default())
    };
    // The second archive would begin after 4 GiB.
    let second = Retention::new(2, 400_000_000).unwrap();
    let expected = Err(RetentionError::BeyondFormat { retention: second });
    assert_eq!(lay_out(&[(1, 400_000_000), (2, 400_000_000)]), expected);
    // 2^32 seconds.
    let long = Retention::new(1 << 16, 1 << 16).unwrap();
    assert_eq!(
        lay_out(&[(1 << 16, 1 << 16)]),
        Err(RetentionError::BeyondFormat { retention: long })
    );
    assert!(lay_out(&[(1 << 16, (1 << 16) - 1)]).is_ok());
}

#[test]
fn a_compressed_file_is_known_by_its_first_bytes() {
    assert!(is_compressed(b"whisper_compressed\0\0\0"));
    assert!(!is_compressed(b"whisper_compresse"));
    assert!(!is_compressed(&sound().encode()));
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), len: u64) {
        let _ = Header::parse(&bytes, len);
    }

    /// Random bytes hardly ever pass the check of the first field; a damaged sound header gets farther.
    #[test]
    fn a_damaged_header_is_refused_or_describes_archives_inside_the_file(
        fields in prop::collection::vec((0usize..10, any::<u32>()), 1..4),
        small in prop::collection::vec((0usize..10, 0u32..900), 0..4),
        cut in 0usize..44,
    ) {
        let mut bytes = sound().encode();
        for (field, value) in fields.into_iter().skip(small.len()).chain(small) {
            bytes[4 * field..4 * field + 4].copy_from_slice(&value.to_be_bytes());
        }
        bytes.truncate(cut);
        if let Ok(header) = parse(&bytes) {
            prop_assert_eq!(&header.encode(), &bytes[..bytes.len().min(header.encode().len())]);
            prop_assert!(header.file_size_bytes() <= SOUND_BYTES);
            for archive in &header.archives {
                prop_assert!(u64::from(archive.offset) >= header.size_bytes());
                prop_assert!(archive.points > 0 && archive.seconds_per_point > 0);
            }
        }
    }
}
