//! The journal of a rebalance as a crash or an editor has left it.

pub(super) fn check(bytes: &[u8]) {
    let Ok(whole_bytes) = bucky::journal_whole_bytes(bytes, "r1") else { return };
    let whole_bytes = usize::try_from(whole_bytes).unwrap();
    assert!(whole_bytes <= bytes.len());
    let (whole, torn) = bytes.split_at(whole_bytes);
    assert!(!torn.contains(&b'\n'), "a whole line was taken for a torn one");
    assert!(whole.is_empty() || whole.ends_with(b"\n"));
    let again = bucky::journal_whole_bytes(whole, "r1").expect("the whole lines are a journal");
    assert_eq!(again, whole_bytes as u64, "it was read otherwise without its torn line");
}
