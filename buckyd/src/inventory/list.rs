//! A sorted set of names that takes about ten bytes each, and can change.
//!
//! The bulk is an `fst` set, which never changes. What is added or removed lies in a small map over it and is merged
//! into a new set once the map has grown to a share of the bulk. A reader holds a [`List`] as it was; writers go on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use fst::set::OpBuilder;
use fst::{IntoStreamer, Set, SetBuilder, Streamer};

/// Changes are merged into the bulk once there are more of them than this and than a sixteenth of the bulk.
const MERGE_AT_LEAST: usize = 4096;

/// A sorted set of names.
#[derive(Clone)]
pub(crate) struct List {
    bulk: Arc<Set<Vec<u8>>>,
    /// Names that are there (true) or not (false), whatever the bulk says.
    changes: Arc<BTreeMap<Box<str>, bool>>,
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
        Ok(List { count: bulk.len() as u64, bulk: Arc::new(bulk), changes: Arc::default() })
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

    /// Whether `name` is there.
    pub(crate) fn contains(&self, name: &str) -> bool {
        match self.changes.get(name) {
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
        if self.changes.len() > MERGE_AT_LEAST.max(self.bulk.len() / 16) {
            self.merge();
        }
        true
    }

    fn merge(&mut self) {
        let mut builder = ListBuilder::new();
        let mut failed = None;
        let _ = self.walk(Span::default(), |name| match builder.push(name) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        match failed.map_or_else(|| builder.finish(), Err) {
            Ok(merged) => *self = merged,
            // The names come sorted and memory does not fail: the map over the bulk stays true all the same.
            Err(error) => tracing::error!(%error, "the inventory could not be merged"),
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
            (Some(after), Some(prefix)) if prefix > after => std::ops::Bound::Included(prefix),
            (Some(after), _) => std::ops::Bound::Excluded(after),
            (None, Some(prefix)) => std::ops::Bound::Included(prefix),
            (None, None) => std::ops::Bound::Unbounded,
        };
        let mut changes = self
            .changes
            .range::<str, _>((start, std::ops::Bound::Unbounded))
            .take_while(|(name, _)| within(name))
            .peekable();
        let mut next = text(bulk.next());
        loop {
            let change = changes.peek().map(|(name, there)| (&***name, **there));
            match (next, change) {
                (Some(name), _) if !within(name) => next = None,
                (None, None) => return ControlFlow::Continue(()),
                (Some(name), Some((changed, _))) if name < changed => {
                    each(name)?;
                    next = text(bulk.next());
                }
                (Some(name), None) => {
                    each(name)?;
                    next = text(bulk.next());
                }
                (bulk_name, Some((changed, there))) => {
                    changes.next();
                    let same = bulk_name == Some(changed);
                    if there {
                        each(changed)?;
                    }
                    if same {
                        next = text(bulk.next());
                    }
                }
            }
        }
    }
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

    #[test]
    fn many_changes_are_merged_and_nothing_is_lost() {
        let mut list = list(&[]);
        for i in 0..MERGE_AT_LEAST * 3 {
            list.set(&format!("m.{i:06}"), true);
        }
        assert!(list.changes.len() <= MERGE_AT_LEAST);
        assert_eq!(list.len(), MERGE_AT_LEAST as u64 * 3);
        assert_eq!(names(&list, Span::default()).len(), MERGE_AT_LEAST * 3);
    }

    proptest! {
        #[test]
        fn a_list_is_a_sorted_set(
            bulk in prop::collection::btree_set("[a-c]{1,3}", 0..20),
            changes in prop::collection::vec(("[a-c]{1,3}", any::<bool>()), 0..30),
            after in prop::option::of("[a-c]{0,3}"),
            prefix in prop::option::of("[a-c]{0,2}"),
        ) {
            let sorted: Vec<&str> = bulk.iter().map(String::as_str).collect();
            let mut list = list(&sorted);
            let mut model: BTreeSet<String> = bulk.clone();
            for (name, there) in &changes {
                let news = if *there { model.insert(name.clone()) } else { model.remove(name) };
                prop_assert_eq!(list.set(name, *there), news);
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
