use proptest::prelude::*;

use super::*;
use crate::pickle_relay::datapoint::append_line;

/// The lines of a pickle, and what was dropped.
fn lines(pickle: &[u8]) -> Result<(String, Vec<String>), PickleError> {
    let pickle = Pickle::read(pickle)?;
    let (mut lines, mut dropped) = (Vec::new(), Vec::new());
    for datapoint in pickle.datapoints()? {
        let appended = datapoint.and_then(|datapoint| append_line(&datapoint, &mut lines));
        dropped.extend(appended.err().map(|reason| reason.shown()));
    }
    Ok((String::from_utf8(lines).unwrap(), dropped))
}

fn only_lines(pickle: &[u8]) -> String {
    let (lines, dropped) = lines(pickle).unwrap();
    assert_eq!(dropped, Vec::<String>::new());
    lines
}

/// `[('a.b', (60, 1.5))]` in each protocol, as Python 3.11 writes it, and in protocol 0 as Python 2 does.
const PYTHONS: [&[u8]; 7] = [
    b"(lp0\n(Va.b\np1\n(I60\nF1.5\ntp2\ntp3\na.",
    b"]q\x00X\x03\x00\x00\x00a.bq\x01(K<G?\xf8\x00\x00\x00\x00\x00\x00tq\x02\x86q\x03a.",
    b"\x80\x02]q\x00X\x03\x00\x00\x00a.bq\x01K<G?\xf8\x00\x00\x00\x00\x00\x00\x86q\x02\x86q\x03a.",
    b"\x80\x03]q\x00X\x03\x00\x00\x00a.bq\x01K<G?\xf8\x00\x00\x00\x00\x00\x00\x86q\x02\x86q\x03a.",
    b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00]\x94\x8c\x03a.b\x94K<G?\xf8\x00\x00\x00\x00\x00\x00\x86\x94\x86\x94a.",
    b"\x80\x05\x95\x1a\x00\x00\x00\x00\x00\x00\x00]\x94\x8c\x03a.b\x94K<G?\xf8\x00\x00\x00\x00\x00\x00\x86\x94\x86\x94a.",
    b"(lp0\n(S'a.b'\np1\n(I60\nF1.5\ntp2\ntp3\na.",
];

#[test]
fn all_protocols_are_read() {
    for pickle in PYTHONS {
        assert_eq!(only_lines(pickle), "a.b 1.500000000000 60\n", "{pickle:?}");
    }
}

#[test]
fn every_prefix_of_a_pickle_is_cut_off() {
    for pickle in PYTHONS {
        for len in 0..pickle.len() {
            assert!(lines(&pickle[..len]).is_err(), "{len} of {pickle:?}");
        }
    }
}

/// D38: a pickle with an entry of one element crashes the Go relay.
#[test]
fn malformed_entries_are_dropped_and_the_rest_is_sent() {
    // [('a',), (), None, 7, ('b', ()), ('c', (1,)), ('d', (1, True)), (b'e', (1, 2)), ('f', (None, 2)),
    // ('ok', (1, 2))]
    let pickle = b"\x80\x03]((X\x01\x00\x00\x00at)NK\x07X\x01\x00\x00\x00b)\x86X\x01\x00\x00\x00cK\x01\x85\x86\
        X\x01\x00\x00\x00dK\x01\x88\x86\x86C\x01eK\x01K\x02\x86\x86X\x01\x00\x00\x00fNK\x02\x86\x86\
        X\x02\x00\x00\x00okK\x01K\x02\x86\x86e.";
    let (lines, dropped) = lines(pickle).unwrap();
    assert_eq!(lines, "ok 2 1\n");
    assert_eq!(
        dropped,
        [
            "an entry is a sequence of 1 and should be (name, (timestamp, value))",
            "an entry is a sequence of 0 and should be (name, (timestamp, value))",
            "an entry is None and should be (name, (timestamp, value))",
            "an entry is an integer and should be (name, (timestamp, value))",
            "b: the point is a sequence of 0 and should be (timestamp, value)",
            "c: the point is a sequence of 1 and should be (timestamp, value)",
            "d: the value is a bool and should be a number",
            "a name is bytes and should be UTF-8 text, not too long",
            "f: the timestamp is None and should be a number",
        ]
    );
}

/// `os.system('false')` in all ways in which pickles can call. Nothing is called, and only that entry is
/// dropped.
#[test]
fn no_code_is_run_and_objects_cost_only_their_entry() {
    let good = b"X\x02\x00\x00\x00okK\x01K\x02\x86\x86";
    for call in [
        &b"cos\nsystem\nX\x05\x00\x00\x00false\x85R"[..],
        b"(cos\nsystem\nX\x05\x00\x00\x00falseo",
        b"(X\x05\x00\x00\x00falseios\nsystem\n",
        b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93X\x05\x00\x00\x00false\x85R",
        b"cbuiltins\nobject\n)\x81}b",
        b"cbuiltins\nobject\n)}\x92",
        b"P1\n",
        b"K\x01Q",
        b"\x82\x01",
        b"}X\x01\x00\x00\x00aK\x01s",
        b"}(X\x01\x00\x00\x00aK\x01u",
        b"\x8f(K\x01\x90",
        b"(K\x01\x91",
    ] {
        let pickle = [b"\x80\x04](", call, good, b"e."].concat();
        let (lines, dropped) = lines(&pickle).unwrap();
        assert_eq!(lines, "ok 2 1\n", "{call:?}");
        assert_eq!(dropped, ["an entry is an object and should be (name, (timestamp, value))"]);
    }
}

#[test]
fn numbers_and_texts_of_all_kinds_are_read() {
    let point = |value: &[u8]| [b"]X\x01\x00\x00\x00aK\x01", value, b"\x86\x86a."].concat();
    for (value, text) in [
        (&b"I-5\n"[..], "-5"),
        (b"L123456789012L\n", "123456789012"),
        (b"L-7L\n", "-7"),
        (b"L18446744073709551615L\n", "18446744073709551615"),
        (b"F1e300\n", &format!("{:.12}", 1e300)),
        (b"Fnan\n", "NaN"),
        (b"F-inf\n", "-Inf"),
        (b"J\xff\xff\xff\xff", "-1"),
        (b"M\xff\xff", "65535"),
        (b"\x8a\x00", "0"),
        (b"\x8a\x02\x00\x80", "-32768"),
        (b"\x8a\x05\x00\x00\x00\x00\x01", "4294967296"),
        (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "9223372036854775807"),
        (b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00", "18446744073709551615"),
        (b"\x8b\x01\x00\x00\x00\x05", "5"),
        (b"X\x03\x00\x00\x001.5", "1.5"),
        (b"U\x0217", "17"),
        (b"V3\n", "3"),
    ] {
        assert_eq!(only_lines(&point(value)), format!("a {text} 1\n"), "{value:?}");
    }
    let listed = |name_op: &[u8]| [b"((", name_op, b"(I1\nI2\nttl."].concat();
    for (op, text) in [
        (&b"Vcaf\xe9.\\u20ac\\U0001f600\n"[..], "café.€😀"),
        (b"S'a\\'b\\x2ec\\\\'\n", "a'b.c\\"),
        (b"S\"quoted\"\n", "quoted"),
        (b"T\x03\x00\x00\x00a.b", "a.b"),
        (b"U\x03a.b", "a.b"),
        (b"\x8d\x03\x00\x00\x00\x00\x00\x00\x00a.b", "a.b"),
    ] {
        assert_eq!(only_lines(&listed(op)), format!("{text} 2 1\n"), "{op:?}");
    }
    for large in
        [&b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], b"\x8a\x09\0\0\0\0\0\0\0\0\xff"]
    {
        let (lines, dropped) = lines(&point(large)).unwrap();
        assert_eq!((lines.as_str(), dropped.len()), ("", 1), "{large:?}");
    }
}

#[test]
fn bytes_that_are_not_a_pickle_are_reported_by_their_position() {
    for (bytes, message) in [
        (&b""[..], "it is cut off at byte 0"),
        (b"\xff.", "byte 0 is 0xff, which is not an opcode of protocols 0 to 5"),
        (b"\x80\x09N.", "it uses protocol 9; the newest supported is 5"),
        (b".", "the opcode 0x2e at byte 0 finds too little on the stack"),
        (b"K\x01(.", "the opcode 0x2e at byte 3 finds too little on the stack"),
        (b"a.", "the opcode 0x61 at byte 0 finds too little on the stack"),
        (b"t.", "the opcode 0x74 at byte 0 finds too little on the stack"),
        (b"h\x07.", "the opcode at byte 0 reads entry 7 of the memo, which is empty"),
        (b"Ix\n.", "the argument at byte 0 is \"x\" and should be a number"),
        (b"S'abc\n.", "the text at byte 0 is not quoted"),
        (b"X\xff\xff\xff\xffabc.", "it is cut off at byte 9"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.", "it is cut off at byte 13"),
        (b"N.", "it is not a list or tuple of datapoints, but None"),
        (b"}.", "it is not a list or tuple of datapoints, but an object"),
    ] {
        assert_eq!(lines(bytes).unwrap_err().to_string(), message, "{bytes:?}");
    }
}

/// Inputs that would overflow a recursive reader, or fill its memory: nesting, lists that contain themselves,
/// one list a million times.
#[test]
fn bombs_are_no_larger_than_they_are() {
    let deep = [vec![b']'; 500_000], vec![b'a'; 499_999], b".".to_vec()].concat();
    let (text, dropped) = lines(&deep).unwrap();
    assert_eq!((text.as_str(), dropped.len()), ("", 1));
    // Small values take little memory: none has room for more than it contains.
    let tuples = [&[b'N'][..], &[0x85; 1000], b"."].concat();
    let held = Pickle::read(&tuples).unwrap();
    assert_eq!(held.sequences.iter().map(Vec::capacity).sum::<usize>(), 1000);
    for short in [&b"N\x86."[..], b"N(N\x86.", b"\x85."] {
        assert!(matches!(Pickle::read(short), Err(PickleError::StackTooShort { .. })));
    }
    let itself = b"]q\x00h\x00a.";
    assert_eq!(lines(itself).unwrap().1.len(), 1);
    // Each list contains the one before eight times: 8^30 in total.
    let mut laughs = b"]q\x00".to_vec();
    for level in 1..30_u8 {
        laughs.extend(b"](");
        (0..8).for_each(|_| laughs.extend([b'h', level - 1]));
        laughs.extend([b'e', b'q', level]);
    }
    laughs.push(b'.');
    assert_eq!(lines(&laughs).unwrap().1.len(), 8);
    // One long name, a hundred thousand times.
    let mut long = b"(X\x00\x00\x04\x00".to_vec();
    long.resize(long.len() + 0x4_0000, b'x');
    long.extend(b"q\x000");
    (0..100_000).for_each(|_| long.extend(b"h\x00K\x01\x86"));
    long.extend(b"l.");
    let started = std::time::Instant::now();
    assert_eq!(lines(&long).unwrap().1.len(), 100_000);
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

proptest! {
    /// No input causes a panic, and the output is always whole lines of three parts.
    #[test]
    fn any_bytes_give_lines_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes)?;
    }

    /// Random sequences of opcodes: lines or an error, never a panic.
    #[test]
    fn any_opcodes_give_lines_or_an_error(
        parts in proptest::collection::vec(proptest::sample::select(PARTS.to_vec()), 0..60),
    ) {
        let mut bytes = parts.concat();
        bytes.push(b'.');
        check(&bytes)?;
    }

    /// Valid pickles with some bytes changed: lines or an error, never a panic.
    #[test]
    fn damaged_pickles_give_lines_or_an_error(
        which in 0..PYTHONS.len(),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = PYTHONS[which].to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        check(&bytes)?;
    }
}

const PARTS: [&[u8]; 26] = [
    b"(",
    b"]",
    b")",
    b"t",
    b"l",
    b"a",
    b"e",
    b"0",
    b"1",
    b"2",
    b"q\x00",
    b"h\x00",
    b"\x94",
    b"\x85",
    b"\x86",
    b"\x87",
    b"K\x01",
    b"N",
    b"\x88",
    b"X\x03\x00\x00\x00a.b",
    b"G?\xf8\x00\x00\x00\x00\x00\x00",
    b"}",
    b"R",
    b"b",
    b"s",
    b"cos\nsystem\n",
];

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok((lines, _)) = lines(bytes) else { return Ok(()) };
    for line in lines.split_terminator('\n') {
        prop_assert_eq!(line.split_whitespace().count(), 3, "{:?} from {:?}", line, bytes);
        prop_assert!(!line.contains(char::is_control), "{:?}", line);
    }
    prop_assert!(lines.is_empty() || lines.ends_with('\n'));
    Ok(())
}
