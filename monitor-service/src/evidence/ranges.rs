//! Sets of numbers that mostly come in order, kept as ranges.

/// A set of numbers as sorted, disjoint, inclusive ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    ranges: Vec<(u64, u64)>,
}

impl Ranges {
    /// Adds a number; false where it was there.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        // Numbers come in order, so the last range is the usual place.
        if let Some(last) = self.ranges.last_mut() {
            if last.1.checked_add(1) == Some(number) {
                last.1 = number;
                return true;
            }
            if (last.0..=last.1).contains(&number) {
                return false;
            }
        }
        if self.ranges.is_empty() {
            // Most sets stay one range.
            self.ranges.reserve_exact(1);
        }
        let after = self.ranges.partition_point(|range| range.0 <= number);
        if after > 0 && number <= self.ranges[after - 1].1 {
            return false;
        }
        let joins_left = after > 0 && self.ranges[after - 1].1 + 1 == number;
        let next = self.ranges.get(after).map(|range| range.0);
        let joins_right = next.is_some() && number.checked_add(1) == next;
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[after - 1].1 = self.ranges[after].1;
                self.ranges.remove(after);
            }
            (true, false) => self.ranges[after - 1].1 = number,
            (false, true) => self.ranges[after].0 = number,
            (false, false) => self.ranges.insert(after, (number, number)),
        }
        true
    }

    /// Adds everything from `from` to `to`, so that nothing is missing between.
    pub(crate) fn fill(&mut self, from: u64, to: u64) {
        let mut joined = (from, to);
        self.ranges.retain(|range| {
            let touches = range.0 <= to.saturating_add(1) && from <= range.1.saturating_add(1);
            if touches {
                joined = (joined.0.min(range.0), joined.1.max(range.1));
            }
            !touches
        });
        let at = self.ranges.partition_point(|range| range.0 < joined.0);
        self.ranges.insert(at, joined);
    }

    /// Forgets the ranges that end under `floor`.
    pub(crate) fn forget_under(&mut self, floor: u64) {
        if self.ranges.first().is_some_and(|range| range.1 < floor) {
            self.ranges.retain(|range| range.1 >= floor);
        }
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.0 <= number);
        after > 0 && number <= self.ranges[after - 1].1
    }

    /// The highest number under another.
    pub(crate) fn last_under(&self, number: u64) -> Option<u64> {
        let after = self.ranges.partition_point(|range| range.0 < number);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        Some(range.1.min(number.saturating_sub(1)))
    }

    /// How many ranges there are.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Keeps the last ranges apart, so that no more than `max` are held: what is missing before
    /// them counts as there.
    pub(crate) fn close_all_but(&mut self, max: usize) {
        let over = self.ranges.len().saturating_sub(max.max(1));
        if over > 0
            && let Some(first) = self.first()
        {
            let to = self.ranges[over].1;
            self.fill(first, to);
        }
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.ranges.first().map(|range| range.0)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.ranges.last().map(|range| range.1)
    }

    /// What is missing between the first number and the last.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges
            .windows(2)
            .map(|pair| (pair[0].1 + 1, pair[1].0 - 1))
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_in_order_stay_one_range() {
        let mut ranges = Ranges::default();
        for number in 5..500 {
            assert!(ranges.insert(number));
        }
        assert_eq!(ranges.ranges, vec![(5, 499)]);
        assert_eq!(ranges.missing().count(), 0);
    }

    #[test]
    fn a_filled_hole_joins_its_neighbours() {
        let mut ranges = Ranges::default();
        for number in [1, 2, 5, 9] {
            ranges.insert(number);
        }
        assert_eq!(ranges.missing().collect::<Vec<_>>(), vec![(3, 4), (6, 8)]);
        ranges.fill(3, 4);
        assert_eq!(ranges.ranges, vec![(1, 5), (9, 9)]);
    }

    #[test]
    fn the_highest_number_has_none_after_it() {
        let mut ranges = Ranges::default();
        for number in [u64::MAX, u64::MAX - 1, 1, u64::MAX] {
            ranges.insert(number);
        }
        assert_eq!(ranges.ranges, vec![(1, 1), (u64::MAX - 1, u64::MAX)]);
    }

    #[test]
    fn no_more_ranges_are_held_than_allowed() {
        let mut ranges = Ranges::default();
        for number in [1, 3, 5, 7, 9] {
            ranges.insert(number);
            ranges.close_all_but(2);
        }
        assert_eq!(ranges.ranges, vec![(1, 7), (9, 9)]);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(
            numbers in proptest::collection::vec(0_u64..60, 0..120),
            floor in 0_u64..60,
        ) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for number in numbers {
                prop_assert_eq!(ranges.insert(number), set.insert(number));
            }
            for number in 0..60 {
                prop_assert_eq!(!ranges.clone().insert(number), set.contains(&number));
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
                prop_assert_eq!(ranges.last_under(number), set.range(..number).last().copied());
            }
            prop_assert_eq!(ranges.first(), set.first().copied());
            prop_assert_eq!(ranges.last(), set.last().copied());
            let missing: u64 = ranges.missing().map(|(from, to)| to - from + 1).sum();
            let span = set.first().map_or(0, |first| set.last().unwrap() - first + 1);
            prop_assert_eq!(missing, span - set.len() as u64);
            ranges.forget_under(floor);
            for number in floor..60 {
                prop_assert_eq!(!ranges.clone().insert(number), set.contains(&number));
            }
        }
    }
}
