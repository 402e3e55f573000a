//! The names in a list request: a JSON array that is read without holding it in memory.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use crate::inventory::List;

/// Reads an array of names and keeps those that are in the list. `null` means an empty array. As a name,
/// `null` means the empty name, which no metric has.
pub(super) struct ListedNames<'l>(pub(super) &'l List);

impl<'de> DeserializeSeed<'de> for ListedNames<'_> {
    type Value = BTreeSet<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListedNames<'_> {
    type Value = BTreeSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(BTreeSet::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
        let mut there = BTreeSet::new();
        while names.next_element_seed(ListedName { list: self.0, there: &mut there })?.is_some() {}
        Ok(there)
    }
}

/// Reads one name, and keeps it if it is in the list.
struct ListedName<'l, 's> {
    list: &'l List,
    there: &'s mut BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for ListedName<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for ListedName<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        if self.list.contains(name) && !self.there.contains(name) {
            self.there.insert(name.to_owned());
        }
        Ok(())
    }
}
