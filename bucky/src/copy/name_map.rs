//! A map of old names to new ones, as `backfill` reads it: one JSON object.
//!
//! Pure, except for the reading. The whole map is checked before anything is done with it. New names are
//! cleaned. A key that occurs twice with two new names is refused. So is a new name that is also an old one:
//! what is read under it would depend on what was written before, and a second run would read something else.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;

use bucky_whisper::MetricName;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

/// The most entries of a map. Each takes some 200 bytes.
const ENTRIES_MOST: usize = 1_000_000;
/// How many bad names are reported.
const NAMED_MOST: usize = 20;

/// The reason why a file is not a usable map.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MapError {
    /// It cannot be read, or is not a JSON object of strings.
    #[error("it is not a JSON object of old names to new names")]
    NoMap(#[source] serde_json::Error),
    /// It has more than [`ENTRIES_MOST`] entries.
    #[error("it has more than {ENTRIES_MOST} entries; split it")]
    TooLong,
    /// Some names are not valid: examples, and how many there are.
    #[error("{}", named_names(.0, *.1))]
    BadNames(Vec<String>, usize),
    /// An old name has two new names.
    #[error("it maps {old} to both {one} and {other}; keep one of them")]
    Ambiguous { old: MetricName, one: MetricName, other: MetricName },
}

fn named_names(some: &[String], count: usize) -> String {
    let further = match count.saturating_sub(some.len()) {
        0 => String::new(),
        further => format!("\n  and {further} more"),
    };
    format!("it has names that are not valid metric names:\n  {}{further}", some.join("\n  "))
}

/// An entry of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapEntry {
    /// The name that is looked for.
    pub(crate) old: MetricName,
    /// The name that its points are filled into.
    pub(crate) new: MetricName,
}

/// Old names and new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameMap {
    /// In the order of the file.
    entries: Vec<MapEntry>,
    /// The indexes of `entries` in the order of the old names.
    by_old: Vec<u32>,
}

impl NameMap {
    /// Reads the map from `source`.
    ///
    /// # Errors
    /// [`MapError`].
    pub(crate) fn read(source: impl Read) -> Result<Self, MapError> {
        let mut read = EntriesRead::default();
        let mut json = serde_json::Deserializer::from_reader(source);
        let end = read.deserialize(&mut json).and_then(|()| json.end());
        if read.is_too_long {
            return Err(MapError::TooLong);
        }
        end.map_err(MapError::NoMap)?;
        if read.bad_count > 0 {
            return Err(MapError::BadNames(read.bad, read.bad_count));
        }
        Self::of(read.entries)
    }

    fn of(mut entries: Vec<MapEntry>) -> Result<Self, MapError> {
        let by_old = |entries: &[MapEntry]| {
            let mut indexes: Vec<u32> = (0u32..).take(entries.len()).collect();
            indexes.sort_by_key(|index| entries.get(*index as usize).map(|entry| &entry.old));
            indexes
        };
        let mut doubles = BTreeSet::new();
        let indexes = by_old(&entries);
        for (first, second) in indexes.iter().zip(indexes.iter().skip(1)) {
            let (Some(one), Some(other)) =
                (entries.get(*first as usize), entries.get(*second as usize))
            else {
                continue;
            };
            if one.old != other.old {
                continue;
            }
            if one.new != other.new {
                let (old, one, other) = (one.old.clone(), one.new.clone(), other.new.clone());
                return Err(MapError::Ambiguous { old, one, other });
            }
            doubles.insert(*second);
        }
        let mut index = 0u32;
        entries.retain(|_| {
            index += 1;
            !doubles.contains(&(index - 1))
        });
        let by_old = by_old(&entries);
        Ok(Self { entries, by_old })
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at this index.
    pub(crate) fn get(&self, index: u32) -> Option<&MapEntry> {
        self.entries.get(index as usize)
    }

    /// All entries, in the order of the file.
    pub(crate) fn entries(&self) -> &[MapEntry] {
        &self.entries
    }

    /// The indexes of all entries in the order of their old names.
    pub(crate) fn by_old(&self) -> &[u32] {
        &self.by_old
    }

    /// The index of the entry with this old name.
    pub(crate) fn index_of(&self, old: &str) -> Option<u32> {
        let name = |index: &u32| self.get(*index).map(|entry| entry.old.as_str());
        let found = self.by_old.binary_search_by(|index| name(index).cmp(&Some(old))).ok()?;
        self.by_old.get(found).copied()
    }

    /// The indexes of all entries, grouped by new name; within a group they are in the order of the file.
    pub(crate) fn by_new(&self) -> Vec<u32> {
        let mut indexes: Vec<u32> = (0u32..).take(self.entries.len()).collect();
        indexes.sort_by_key(|index| self.get(*index).map(|entry| &entry.new));
        indexes
    }

    /// An entry whose new name is the old name of another entry, and that other entry. Names that stay the
    /// same do not count.
    pub(crate) fn chain(&self) -> Option<(&MapEntry, &MapEntry)> {
        self.entries.iter().find_map(|entry| {
            let next = self.get(self.index_of(entry.new.as_str())?)?;
            (next.old != next.new && entry.old != entry.new).then_some((entry, next))
        })
    }
}

/// Cleans a new name as the Go tool does: a `/` becomes a dot, dots in a row become one, and a dot at the
/// beginning is dropped. A dot at the end is refused: the file would be called `.wsp` (D48).
fn cleaned(text: &str) -> Result<MetricName, String> {
    let mut name = String::with_capacity(text.len());
    for letter in text.chars().map(|letter| if letter == '/' { '.' } else { letter }) {
        if letter != '.' || !name.ends_with('.') {
            name.push(letter);
        }
    }
    let name = name.strip_prefix('.').unwrap_or(&name);
    if name.ends_with('.') {
        return Err(format!("the new name {text:?} ends with a dot"));
    }
    MetricName::parse(name).map_err(|error| format!("the new name {text:?}: {error}"))
}

/// The entries read so far.
#[derive(Default)]
struct EntriesRead {
    entries: Vec<MapEntry>,
    bad: Vec<String>,
    bad_count: usize,
    is_too_long: bool,
}

impl EntriesRead {
    fn take(&mut self, old: &str, new: &str) {
        let old = MetricName::parse(old).map_err(|error| format!("the old name: {error}"));
        match (old, cleaned(new)) {
            (Ok(old), Ok(new)) => self.entries.push(MapEntry { old, new }),
            (Err(reason), _) | (_, Err(reason)) => {
                self.bad_count += 1;
                if self.bad.len() < NAMED_MOST {
                    self.bad.push(reason);
                }
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut EntriesRead {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut EntriesRead {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of old names to new names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((old, new)) = map.next_entry::<String, String>()? {
            if self.entries.len() == ENTRIES_MOST {
                self.is_too_long = true;
                return Err(serde::de::Error::custom("too long"));
            }
            self.take(&old, &new);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> NameMap {
        NameMap::read(text.as_bytes()).unwrap()
    }

    fn refusal(text: &str) -> String {
        crate::chain(&NameMap::read(text.as_bytes()).unwrap_err())
    }

    fn pairs(map: &NameMap) -> Vec<(&str, &str)> {
        map.entries().iter().map(|entry| (entry.old.as_str(), entry.new.as_str())).collect()
    }

    /// The contract's rules, and D48: a dot at the end would make a file called `.wsp`.
    #[test]
    fn new_names_are_cleaned_as_the_go_tool_cleans_them() {
        for (text, expected) in [
            ("a.b", Some("a.b")),
            ("a/b", Some("a.b")),
            ("a..b", Some("a.b")),
            ("new..h3/x", Some("new.h3.x")),
            (".a", Some("a")),
            ("...a", Some("a")),
            ("/a//b", Some("a.b")),
            ("a.", None),
            ("a/", None),
            ("a..", None),
            ("", None),
            (".", None),
            ("a\nb", None),
        ] {
            let found = cleaned(text);
            assert_eq!(found.ok().as_ref().map(MetricName::as_str), expected, "{text:?}");
        }
    }

    #[test]
    fn a_map_is_read_in_its_order_and_found_by_old_name() {
        let map = map(r#"{"z": "n.z", "a/b": "n", "m": "n"}"#);
        assert_eq!(pairs(&map), [("z", "n.z"), ("a.b", "n"), ("m", "n")]);
        assert_eq!(map.by_old(), [1, 2, 0]);
        assert_eq!(map.index_of("m"), Some(2));
        assert_eq!(map.index_of("n"), None);
        assert_eq!(map.by_new(), [1, 2, 0]);
        assert!(NameMap::read("{}".as_bytes()).unwrap().is_empty());
    }

    #[test]
    fn a_document_that_is_not_a_map_is_refused_as_a_whole() {
        for text in
            ["", "[]", "null", "\"a\"", "{\"a\": 1}", "{\"a\": null}", "{\"a\": \"b\"", "{\"a\"}"]
        {
            assert!(
                refusal(text).starts_with("it is not a JSON object"),
                "{text}: {}",
                refusal(text)
            );
        }
        assert!(refusal("{\"a\": \"b\"} {}").contains("trailing characters"));
        let text = refusal(r#"{"good": "g", "a": "b.", "..": "c", "d": ""}"#);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("the new name \"b.\" ends with a dot"), "{text}");
        assert!(text.contains("the old name: the name \"..\" begins with a dot"), "{text}");
    }

    #[test]
    fn some_of_many_bad_names_are_reported() {
        let entries: Vec<String> = (0..50).map(|n| format!("\"a{n}\": \"b{n}.\"")).collect();
        let text = refusal(&format!("{{{}}}", entries.join(",")));
        assert_eq!(text.lines().count(), NAMED_MOST + 2, "{text}");
        assert!(text.ends_with("and 30 more"), "{text}");
    }

    #[test]
    fn a_key_that_comes_twice_must_mean_one_thing() {
        let map = map(r#"{"b": "x", "a": "n", "c": "y", "a": ".n"}"#);
        assert_eq!(pairs(&map), [("b", "x"), ("a", "n"), ("c", "y")]);
        assert_eq!(map.index_of("c"), Some(2));
        let text = refusal(r#"{"a": "n", "b": "b", "a": "m"}"#);
        assert_eq!(text, "it maps a to both n and m; keep one of them");
    }

    #[test]
    fn a_new_name_that_is_an_old_one_is_a_chain() {
        let chain = |text| {
            let map = map(text);
            map.chain().map(|(one, next)| format!("{}>{}>{}", one.old, one.new, next.new))
        };
        assert_eq!(chain(r#"{"b": "c", "a": "b"}"#).as_deref(), Some("a>b>c"));
        assert_eq!(chain(r#"{"a": "b", "b": "a"}"#).as_deref(), Some("a>b>a"));
        assert_eq!(chain(r#"{"a": "a", "x": "a"}"#), None);
        assert_eq!(chain(r#"{"a": "n", "b": "n"}"#), None);
    }
}
