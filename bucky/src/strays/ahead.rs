//! Two lists that are read side by side, and handed out in one order.

use std::collections::VecDeque;

use super::Item;

/// One of two lists that are read side by side: its entries that were read and not yet taken.
pub(super) struct ListAhead {
    items: VecDeque<(String, Option<Item>)>,
    /// The name after which the next page begins.
    pub(super) after: Option<String>,
    is_begun: bool,
}

impl ListAhead {
    pub(super) fn after(after: Option<String>) -> Self {
        Self { items: VecDeque::new(), after, is_begun: false }
    }

    /// Whether its next page should be read.
    pub(super) fn is_wanted(&self) -> bool {
        self.items.is_empty() && !self.is_over()
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_begun && self.after.is_none()
    }

    pub(super) fn is_done(&self) -> bool {
        self.items.is_empty() && self.is_over()
    }

    /// Notes that a page was read; the next one begins after `after`.
    pub(super) fn go_on(&mut self, after: Option<String>) {
        (self.after, self.is_begun) = (after, true);
    }

    pub(super) fn push(&mut self, name: String, item: Option<Item>) {
        self.items.push_back((name, item));
    }

    /// Takes the entries of both lists in the order of their names, as far as nothing unread can come in
    /// between.
    pub(super) fn merge(one: &mut Self, other: &mut Self) -> Vec<Item> {
        let mut items = Vec::new();
        loop {
            let next = match (one.items.front(), other.items.front()) {
                (Some((first, _)), Some((second, _))) if second < first => &mut *other,
                (Some(_), Some(_)) => &mut *one,
                (Some(_), None) if other.is_over() => &mut *one,
                (None, Some(_)) if one.is_over() => &mut *other,
                _ => return items,
            };
            items.extend(next.items.pop_front().and_then(|(_, item)| item));
        }
    }
}
