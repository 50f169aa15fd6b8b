//! Who was touched last: what is over a bound leaves oldest first.

use std::collections::BTreeMap;

/// Keys in the order in which they were last touched.
#[derive(Clone, Debug)]
pub(crate) struct Recency<K> {
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K> Default for Recency<K> {
    fn default() -> Self {
        Self {
            order: BTreeMap::new(),
            next: 1,
        }
    }
}

impl<K: Clone> Recency<K> {
    /// Moves a key to the end; `stamp` is its place before (0: none) and after.
    pub(crate) fn touch(&mut self, stamp: &mut u64, key: &K) {
        if *stamp != 0 && *stamp + 1 == self.next {
            return;
        }
        self.order.remove(stamp);
        *stamp = self.next;
        self.next += 1;
        self.order.insert(*stamp, key.clone());
    }

    pub(crate) fn forget(&mut self, stamp: u64) {
        self.order.remove(&stamp);
    }

    /// The key that was touched longest ago.
    pub(crate) fn oldest(&self) -> Option<K> {
        self.order.values().next().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_touched_longest_ago_leaves_first() {
        let mut recency = Recency::default();
        let (mut a, mut b) = (0, 0);
        recency.touch(&mut a, &"a");
        recency.touch(&mut b, &"b");
        recency.touch(&mut a, &"a");
        assert_eq!(recency.oldest(), Some("b"));
        recency.forget(b);
        assert_eq!(recency.oldest(), Some("a"));
    }
}
