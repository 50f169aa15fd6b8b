//! Whether a reader got every message of its thread, once and in order.

use std::ops::AddAssign;

use serde::Serialize;

/// What went wrong, over all readers. All zero: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    /// Messages that never came.
    pub(crate) lost: u64,
    /// Messages that came again.
    pub(crate) doubled: u64,
    /// Messages that came after a later one.
    pub(crate) reordered: u64,
    /// Frames that are neither a message of ours nor anything that the server may say.
    pub(crate) strange: u64,
    /// Connections that the server closed.
    pub(crate) closed: u64,
}

impl Faults {
    /// Whether there is none.
    pub(crate) fn none(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.strange += other.strange;
        self.closed += other.closed;
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            lost,
            doubled,
            reordered,
            strange,
            closed,
        } = self;
        write!(
            f,
            "{lost} lost, {doubled} doubled, {reordered} out of order, {strange} strange, \
             {closed} connections closed"
        )
    }
}

/// One reader's place in its thread.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// The number that must come next.
    next: u64,
    /// Numbers that were jumped over and have not come since; almost always empty.
    missing: Vec<u64>,
    doubled: u64,
    reordered: u64,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            next: 1,
            missing: Vec::new(),
            doubled: 0,
            reordered: 0,
        }
    }
}

impl Check {
    /// Notes a message; whether it came for the first time.
    pub(crate) fn take(&mut self, number: u64) -> bool {
        if number == self.next {
            self.next += 1;
            return true;
        }
        if number > self.next {
            self.missing.extend(self.next..number);
            self.next = number + 1;
            return true;
        }
        let Some(place) = self.missing.iter().position(|missing| *missing == number) else {
            self.doubled += 1;
            return false;
        };
        self.missing.swap_remove(place);
        self.reordered += 1;
        true
    }

    /// What is wrong, once messages up to `last` have been sent and had time to come.
    pub(crate) fn faults(&self, last: u64) -> Faults {
        Faults {
            lost: self.missing.len() as u64 + (last + 1).saturating_sub(self.next),
            doubled: self.doubled,
            reordered: self.reordered,
            ..Faults::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(numbers: &[u64], last: u64) -> Faults {
        let mut check = Check::default();
        for number in numbers {
            check.take(*number);
        }
        check.faults(last)
    }

    #[test]
    fn everything_in_order_is_no_fault() {
        assert!(faults(&[1, 2, 3, 4], 4).none());
        assert!(faults(&[], 0).none());
    }

    #[test]
    fn a_lost_message_is_found() {
        assert_eq!(faults(&[1, 3, 4], 4).lost, 1);
        assert_eq!(faults(&[1, 2], 4).lost, 2, "at the end");
        assert_eq!(faults(&[3], 3).lost, 2, "at the start");
    }

    #[test]
    fn a_doubled_message_is_found() {
        let found = faults(&[1, 2, 2, 3], 3);
        assert_eq!((found.doubled, found.lost, found.reordered), (1, 0, 0));
        assert_eq!(faults(&[1, 2, 3, 1], 3).doubled, 1);
    }

    #[test]
    fn a_reordered_message_is_found_and_is_not_lost() {
        let found = faults(&[1, 3, 2, 4], 4);
        assert_eq!((found.reordered, found.lost, found.doubled), (1, 0, 0));
    }

    #[test]
    fn a_message_that_comes_late_and_again_is_both() {
        let found = faults(&[2, 1, 1], 2);
        assert_eq!((found.reordered, found.doubled, found.lost), (1, 1, 0));
    }
}
