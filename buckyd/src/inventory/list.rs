//! A sorted set of names that takes about ten bytes each, and can change.
//!
//! The bulk is an `fst` set, which never changes. What is added or removed lies in a small map over it. Once that has grown to a
//! share of the bulk, whoever has the list lays the map aside ([`List::lay_aside`]), makes a bulk with all that is in it
//! ([`List::whole`]), which takes as long as reading all names, and puts it in place of the old one ([`List::adopt`]); the
//! list may be read and changed in between. A reader holds a [`List`] as it was; writers go on.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use fst::set::OpBuilder;
use fst::{IntoStreamer, Set, SetBuilder, Streamer};

/// Changes go into the bulk once there are more of them than a sixteenth of it, but not before there are so many.
const CHANGES_AT_LEAST: usize = 4096;
/// However long the bulk is, they go into it once there are so many: some 50 MB, which are copied where a reader has them.
const CHANGES_AT_MOST: usize = 500_000;

/// Names that are there (true) or not (false).
type Changes = BTreeMap<Box<str>, bool>;

/// A sorted set of names.
#[derive(Clone)]
pub(crate) struct List {
    bulk: Arc<Set<Vec<u8>>>,
    /// What has changed since the bulk was made, and is to go into the next.
    aside: Arc<Changes>,
    /// What has changed since then, whatever the others say.
    changes: Arc<Changes>,
    count: u64,
}

/// Builds a [`List`] from names in byte order.
pub(crate) struct ListBuilder {
    builder: SetBuilder<Vec<u8>>,
}

impl ListBuilder {
    pub(crate) fn new() -> Self {
        Self { builder: SetBuilder::memory() }
    }

    /// Adds a name, which must come after the one before in byte order.
    ///
    /// # Errors
    /// [`fst::Error`] where it does not.
    pub(crate) fn push(&mut self, name: &str) -> Result<(), fst::Error> {
        self.builder.insert(name)
    }

    /// # Errors
    /// [`fst::Error`]; it cannot fail in memory.
    pub(crate) fn finish(self) -> Result<List, fst::Error> {
        let mut bytes = self.builder.into_inner()?;
        bytes.shrink_to_fit();
        let bulk = Set::new(bytes)?;
        let count = bulk.len() as u64;
        Ok(List { bulk: Arc::new(bulk), aside: Arc::default(), changes: Arc::default(), count })
    }
}

/// Where a walk through a list begins, and how far it goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span<'a> {
    /// Only names after this one.
    pub(crate) after: Option<&'a str>,
    /// Only names that begin so.
    pub(crate) prefix: Option<&'a str>,
}

impl List {
    /// The names of all `lists`, which are as they were built.
    ///
    /// # Errors
    /// [`fst::Error`]; it cannot fail in memory.
    pub(super) fn union(lists: &[List]) -> Result<List, fst::Error> {
        let mut builder = ListBuilder::new();
        let bulks: OpBuilder<'_> = lists.iter().map(|list| &*list.bulk).collect();
        let mut names = bulks.union();
        while let Some(name) = names.next() {
            builder.builder.insert(name)?;
        }
        builder.finish()
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    #[cfg(test)]
    pub(super) fn in_bulk(&self) -> u64 {
        self.bulk.len() as u64
    }

    /// Whether `name` is there.
    pub(crate) fn contains(&self, name: &str) -> bool {
        match self.changes.get(name).or_else(|| self.aside.get(name)) {
            Some(there) => *there,
            None => self.bulk.contains(name),
        }
    }

    /// Notes that `name` is there now, or is not. Returns whether that was news.
    pub(crate) fn set(&mut self, name: &str, there: bool) -> bool {
        if self.contains(name) == there {
            return false;
        }
        self.count = if there { self.count + 1 } else { self.count - 1 };
        Arc::make_mut(&mut self.changes).insert(name.into(), there);
        true
    }

    /// Lays the changes aside where there are so many that a new bulk is worth it; gives the list as it is then.
    ///
    /// Where others wait for their bulk already, not before there are more than those: then whoever was to make it has
    /// failed, or is slow, and one bulk is made with both.
    pub(super) fn lay_aside(&mut self) -> Option<List> {
        let enough = (self.bulk.len() / 16).clamp(CHANGES_AT_LEAST, CHANGES_AT_MOST);
        if self.changes.len() <= enough.max(self.aside.len()) {
            return None;
        }
        let changes = std::mem::take(&mut self.changes);
        if self.aside.is_empty() {
            self.aside = changes;
        } else {
            Arc::make_mut(&mut self.aside).extend(Arc::unwrap_or_clone(changes));
        }
        Some(self.clone())
    }

    /// The same names with all of them in the bulk.
    ///
    /// # Errors
    /// [`fst::Error`]; it cannot fail in memory.
    pub(super) fn whole(&self) -> Result<List, fst::Error> {
        let mut builder = ListBuilder::new();
        let end = self.walk(Span::default(), |name| match builder.push(name) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        });
        match end {
            ControlFlow::Continue(()) => builder.finish(),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// Takes the bulk of `whole`, which was made of `from`, this list when its changes were laid aside. Does nothing where
    /// `from` was another.
    pub(super) fn adopt(&mut self, from: &List, whole: List) {
        if Arc::ptr_eq(&self.bulk, &from.bulk) && Arc::ptr_eq(&self.aside, &from.aside) {
            self.bulk = whole.bulk;
            self.aside = Arc::default();
        }
    }

    /// Calls `each` with every name of `span` in byte order, until it breaks.
    pub(crate) fn walk<B>(
        &self,
        span: Span<'_>,
        mut each: impl FnMut(&str) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Span { after, prefix } = span;
        let within = |name: &str| prefix.is_none_or(|prefix| name.starts_with(prefix));
        let mut range = self.bulk.range();
        if let Some(prefix) = prefix {
            range = range.ge(prefix);
        }
        if let Some(after) = after.filter(|after| prefix.is_none_or(|prefix| *after >= prefix)) {
            range = range.gt(after);
        }
        let mut bulk = range.into_stream();
        let start = match (after, prefix) {
            (Some(after), Some(prefix)) if prefix > after => Bound::Included(prefix),
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(prefix)) => Bound::Included(prefix),
            (None, None) => Bound::Unbounded,
        };
        let mut changes = newest_of(&self.changes, &self.aside, start)
            .take_while(|(name, _)| within(name))
            .peekable();
        let mut next = text(bulk.next()).filter(|name| within(name));
        loop {
            // A change comes first, also of a name that the bulk has as well.
            let due = changes.next_if(|(changed, _)| next.is_none_or(|name| *changed <= name));
            let (name, there, is_in_bulk) = match (due, next) {
                (Some((changed, there)), next) => (changed, there, next == Some(changed)),
                (None, Some(name)) => (name, true, true),
                (None, None) => return ControlFlow::Continue(()),
            };
            if there {
                each(name)?;
            }
            if is_in_bulk {
                next = text(bulk.next()).filter(|name| within(name));
            }
        }
    }
}

/// The changes of both from `start` on, in order; of a name that both have what `newer` says.
fn newest_of<'c>(
    newer: &'c Changes,
    older: &'c Changes,
    start: Bound<&str>,
) -> impl Iterator<Item = (&'c str, bool)> {
    let from_start = |changes: &'c Changes| {
        let range = changes.range::<str, _>((start, Bound::Unbounded));
        range.map(|(name, there)| (&**name, *there)).peekable()
    };
    let (mut newer, mut older) = (from_start(newer), from_start(older));
    std::iter::from_fn(move || {
        let Some((name, _)) = newer.peek() else { return older.next() };
        if let Some(earlier) = older.next_if(|(earlier, _)| earlier < name) {
            return Some(earlier);
        }
        older.next_if(|(same, _)| same == name);
        newer.next()
    })
}

/// Only texts were put in.
fn text(name: Option<&[u8]>) -> Option<&str> {
    name.and_then(|name| std::str::from_utf8(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn list(names: &[&str]) -> List {
        let mut builder = ListBuilder::new();
        for name in names {
            builder.push(name).unwrap();
        }
        builder.finish().unwrap()
    }

    fn names(list: &List, span: Span<'_>) -> Vec<String> {
        let mut names = Vec::new();
        let _ = list.walk(span, |name| {
            names.push(name.to_owned());
            ControlFlow::<()>::Continue(())
        });
        names
    }

    #[test]
    fn a_reader_keeps_the_list_it_took() {
        let mut list = list(&["a", "b"]);
        let taken = list.clone();
        list.set("c", true);
        list.set("a", false);
        assert_eq!(names(&taken, Span::default()), ["a", "b"]);
        assert_eq!(names(&list, Span::default()), ["b", "c"]);
        assert_eq!(list.len(), 2);
    }

    /// Enough for a new bulk.
    const MANY: usize = CHANGES_AT_LEAST * 2;

    fn change(list: &mut List, numbers: std::ops::Range<usize>, there: bool) {
        for number in numbers {
            assert!(list.set(&format!("m.{number:06}"), there));
        }
    }

    #[test]
    fn a_new_bulk_takes_the_place_of_the_old_one_under_what_was_changed_meanwhile() {
        let mut list = list(&["bulk", "gone"]);
        assert!(list.set("gone", false));
        assert!(list.lay_aside().is_none(), "one change is not worth it");
        change(&mut list, 0..MANY, true);
        let from = list.lay_aside().unwrap();
        assert!(list.changes.is_empty());
        change(&mut list, MANY / 2..MANY, false);
        assert!(list.set("gone", true) && list.set("bulk", false));
        assert!(list.lay_aside().is_none(), "the first are not in the bulk yet");
        let expected = |numbers: &mut dyn Iterator<Item = usize>| -> Vec<String> {
            let numbered = numbers.map(|number| format!("m.{number:06}"));
            ["gone".to_owned()].into_iter().chain(numbered).collect()
        };
        let is_right = |list: &List, expected: &[String]| {
            assert_eq!(names(list, Span::default()), expected);
            assert_eq!(list.len(), expected.len() as u64);
        };
        let first_half = expected(&mut (0..MANY / 2));
        is_right(&list, &first_half);
        let whole = from.whole().unwrap();
        let mut other = list.clone();
        list.adopt(&from, whole.clone());
        assert!(list.aside.is_empty() && list.in_bulk() == MANY as u64 + 1);
        is_right(&list, &first_half);
        // What was made of another list is not taken.
        list.adopt(&from, whole.clone());
        list.adopt(&self::list(&["other"]), self::list(&["other"]));
        is_right(&list, &first_half);

        // Where nobody made a bulk of them, they go into the next one with those after them.
        change(&mut other, MANY..MANY * 3, true);
        let all = expected(&mut (0..MANY / 2).chain(MANY..MANY * 3));
        is_right(&other, &all);
        let both = other.lay_aside().unwrap();
        assert!(other.changes.is_empty());
        is_right(&other, &all);
        // It comes late.
        other.adopt(&from, whole);
        is_right(&other, &all);
        other.adopt(&both, both.whole().unwrap());
        assert!(other.aside.is_empty() && other.in_bulk() == other.len());
        is_right(&other, &all);
    }

    proptest! {
        #[test]
        fn a_list_is_a_sorted_set(
            bulk in prop::collection::btree_set("[a-c]{1,3}", 0..20),
            changes in prop::collection::vec(("[a-c]{1,3}", any::<bool>(), 0_u8..6), 0..30),
            after in prop::option::of("[a-c]{0,3}"),
            prefix in prop::option::of("[a-c]{0,2}"),
        ) {
            let sorted: Vec<&str> = bulk.iter().map(String::as_str).collect();
            let mut list = list(&sorted);
            let mut model: BTreeSet<String> = bulk.clone();
            let mut made = None;
            for (name, there, then) in &changes {
                let news = if *there { model.insert(name.clone()) } else { model.remove(name) };
                prop_assert_eq!(list.set(name, *there), news);
                match then {
                    0 if list.aside.is_empty() => {
                        list.aside = std::mem::take(&mut list.changes);
                        made = Some((list.clone(), list.whole().unwrap()));
                    }
                    1 => made.take().into_iter().for_each(|(from, whole)| list.adopt(&from, whole)),
                    _ => {}
                }
            }
            prop_assert_eq!(list.len(), model.len() as u64);
            let span = Span { after: after.as_deref(), prefix: prefix.as_deref() };
            let expected: Vec<String> = model.into_iter()
                .filter(|name| after.as_ref().is_none_or(|after| name > after))
                .filter(|name| prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix)))
                .collect();
            prop_assert_eq!(names(&list, span), expected);
        }
    }
}
