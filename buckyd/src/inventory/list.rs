//! A sorted set of names that takes about ten bytes for each name, and can change.
//!
//! Most names are in the bulk, an `fst` set, which never changes. Names that are added or removed are in a
//! small map over it. When the map has grown to a share of the bulk, the owner of the list sets the map aside
//! ([`List::set_changes_aside`]), builds a new bulk that includes it ([`List::rebuilt`]), which takes as long
//! as reading all names, and puts it in place of the old one ([`List::adopt`]). The list can be read and
//! changed in the meantime. A reader holds a [`List`] as it was, and writers do not wait for it.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use fst::set::OpBuilder;
use fst::{IntoStreamer, Set, SetBuilder, Streamer};

/// Changes go into a new bulk once they are more than a sixteenth of it, and at least this many.
const CHANGES_AT_LEAST: usize = 4096;
/// Changes go into a new bulk once there are this many, however large the bulk is. They take some 50 MB,
/// which are copied if a reader holds them.
const CHANGES_AT_MOST: usize = 500_000;

/// Names that exist (true) or do not (false).
type Changes = BTreeMap<Box<str>, bool>;

/// A sorted set of names.
#[derive(Clone)]
pub(crate) struct List {
    bulk: Arc<Set<Vec<u8>>>,
    /// Changes since the bulk was made that go into the next bulk.
    aside: Arc<Changes>,
    /// Changes since then. They override the others.
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

    /// Adds a name, which must come after the previous one in byte order.
    ///
    /// # Errors
    /// [`fst::Error`] if it does not.
    pub(crate) fn push(&mut self, name: &str) -> Result<(), fst::Error> {
        self.builder.insert(name)
    }

    /// The list of the names that were added.
    ///
    /// # Errors
    /// [`fst::Error`]. It cannot fail in memory.
    pub(crate) fn finish(self) -> Result<List, fst::Error> {
        let mut bytes = self.builder.into_inner()?;
        bytes.shrink_to_fit();
        let bulk = Set::new(bytes)?;
        let count = bulk.len() as u64;
        Ok(List { bulk: Arc::new(bulk), aside: Arc::default(), changes: Arc::default(), count })
    }
}

/// The part of a list that a walk visits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span<'a> {
    /// Only names after this one.
    pub(crate) after: Option<&'a str>,
    /// Only names that begin with this.
    pub(crate) prefix: Option<&'a str>,
}

impl List {
    /// The names of all `lists`, none of which has changed since it was built.
    ///
    /// # Errors
    /// [`fst::Error`]. It cannot fail in memory.
    pub(super) fn union(lists: &[List]) -> Result<List, fst::Error> {
        let mut builder = ListBuilder::new();
        let bulks: OpBuilder<'_> = lists.iter().map(|list| &*list.bulk).collect();
        let mut names = bulks.union();
        while let Some(name) = names.next() {
            builder.builder.insert(name)?;
        }
        builder.finish()
    }

    /// The number of names.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    #[cfg(test)]
    pub(super) fn in_bulk(&self) -> u64 {
        self.bulk.len() as u64
    }

    /// Whether `name` is in the list.
    pub(crate) fn contains(&self, name: &str) -> bool {
        match self.changes.get(name).or_else(|| self.aside.get(name)) {
            Some(there) => *there,
            None => self.bulk.contains(name),
        }
    }

    /// Adds or removes `name`. Returns whether that was a change.
    pub(crate) fn set(&mut self, name: &str, there: bool) -> bool {
        if self.contains(name) == there {
            return false;
        }
        self.count = if there { self.count + 1 } else { self.count - 1 };
        Arc::make_mut(&mut self.changes).insert(name.into(), there);
        true
    }

    /// Sets the changes aside if there are enough for a new bulk. Returns the list as it is then.
    ///
    /// If changes are already set aside, this waits until there are more new ones than those. The thread that
    /// was to build their bulk has then failed or is slow, and one new bulk is built with both.
    pub(super) fn set_changes_aside(&mut self) -> Option<List> {
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

    /// The same names, all of them in the bulk.
    ///
    /// # Errors
    /// [`fst::Error`]. It cannot fail in memory.
    pub(super) fn rebuilt(&self) -> Result<List, fst::Error> {
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

    /// Takes the bulk of `whole`, which was built from `from`, this list when its changes were set aside.
    /// Does nothing if `from` was another list.
    pub(super) fn adopt(&mut self, from: &List, rebuilt: List) {
        if Arc::ptr_eq(&self.bulk, &from.bulk) && Arc::ptr_eq(&self.aside, &from.aside) {
            self.bulk = rebuilt.bulk;
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
            // A change comes before the bulk's next name, and replaces it if the names are equal.
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

/// The changes of both from `start` on, in order. If both have a name, `newer` counts.
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

/// All names that were put in are valid UTF-8.
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
    fn a_new_bulk_replaces_the_old_one_below_later_changes() {
        let mut list = list(&["bulk", "gone"]);
        assert!(list.set("gone", false));
        assert!(list.set_changes_aside().is_none(), "one change is not worth it");
        change(&mut list, 0..MANY, true);
        let from = list.set_changes_aside().unwrap();
        assert!(list.changes.is_empty());
        change(&mut list, MANY / 2..MANY, false);
        assert!(list.set("gone", true) && list.set("bulk", false));
        assert!(list.set_changes_aside().is_none(), "the first are not in the bulk yet");
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
        let rebuilt = from.rebuilt().unwrap();
        let mut other = list.clone();
        list.adopt(&from, rebuilt.clone());
        assert!(list.aside.is_empty() && list.in_bulk() == MANY as u64 + 1);
        is_right(&list, &first_half);
        // A bulk built from another list is ignored.
        list.adopt(&from, rebuilt.clone());
        list.adopt(&self::list(&["other"]), self::list(&["other"]));
        is_right(&list, &first_half);

        // If no bulk was built with them, they go into the next one together with later changes.
        change(&mut other, MANY..MANY * 3, true);
        let all = expected(&mut (0..MANY / 2).chain(MANY..MANY * 3));
        is_right(&other, &all);
        let both = other.set_changes_aside().unwrap();
        assert!(other.changes.is_empty());
        is_right(&other, &all);
        // The first bulk comes late.
        other.adopt(&from, rebuilt);
        is_right(&other, &all);
        other.adopt(&both, both.rebuilt().unwrap());
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
                        made = Some((list.clone(), list.rebuilt().unwrap()));
                    }
                    1 => made.take().into_iter().for_each(|(from, rebuilt)| list.adopt(&from, rebuilt)),
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
