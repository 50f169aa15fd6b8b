//! How much a second somebody may do: pure, with bounded memory whoever comes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Callers that are told apart. Beyond, those that come new share one account.
const MAX_CALLERS: usize = 10_000;

/// So many a second. 0: any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u32);

/// One caller's account: it fills with time, up to what one second brings.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    left: f64,
    at: Instant,
}

impl Account {
    /// A full account.
    #[must_use]
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            left: f64::from(rate.0),
            at: now,
        }
    }

    /// Takes so many. What is larger than the account is taken too and must be made good, so that
    /// one large piece is slowed down rather than refused for ever.
    ///
    /// # Errors
    /// Nothing is left: how long until there is.
    pub fn take(&mut self, count: usize, rate: Rate, now: Instant) -> Result<(), Duration> {
        if rate.0 == 0 {
            return Ok(());
        }
        self.fill(rate, now);
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64(
                (1.0 - self.left) / f64::from(rate.0),
            ));
        }
        self.left -= count as f64;
        Ok(())
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * f64::from(rate.0)).min(f64::from(rate.0).max(1.0));
        self.at = now;
    }
}

/// The accounts of many callers.
#[derive(Debug)]
pub struct Accounts {
    rate: Rate,
    by_caller: HashMap<String, Account>,
}

impl Accounts {
    /// Nobody has taken anything yet.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            by_caller: HashMap::new(),
        }
    }

    /// Takes so many from a caller's account.
    ///
    /// # Errors
    /// As [`Account::take`].
    pub fn take(&mut self, caller: &str, count: usize, now: Instant) -> Result<(), Duration> {
        if self.rate.0 == 0 {
            return Ok(());
        }
        let rate = self.rate;
        let known = self.by_caller.contains_key(caller);
        if !known && self.by_caller.len() >= MAX_CALLERS {
            // Whoever has been away for long enough has a full account again: nothing is lost.
            let second = Duration::from_secs(1);
            self.by_caller.retain(|_, account| {
                now.saturating_duration_since(account.at) < second || account.left < 0.0
            });
        }
        let caller = if known || self.by_caller.len() < MAX_CALLERS {
            caller
        } else {
            ""
        };
        let account = self.by_caller.entry(caller.to_owned());
        account
            .or_insert_with(|| Account::new(rate, now))
            .take(count, rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn one_over_the_rate_waits_and_others_do_not() {
        let now = Clock::system().now().monotonic;
        let mut accounts = Accounts::new(Rate(10));
        assert_eq!(accounts.take("a", 9, now), Ok(()));
        assert_eq!(accounts.take("a", 1, now), Ok(()));
        assert_eq!(accounts.take("a", 1, now), Err(Duration::from_millis(100)));
        assert_eq!(accounts.take("b", 1, now), Ok(()));
        assert_eq!(
            accounts.take("a", 1, now + Duration::from_millis(100)),
            Ok(())
        );
    }

    #[test]
    fn a_large_piece_is_made_good_later() {
        let now = Clock::system().now().monotonic;
        let mut account = Account::new(Rate(10), now);
        assert_eq!(account.take(35, Rate(10), now), Ok(()));
        let wait = account.take(1, Rate(10), now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(2_600));
        assert_eq!(account.take(1, Rate(10), now + wait), Ok(()));
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let now = Clock::system().now().monotonic;
        let mut accounts = Accounts::new(Rate(1));
        for caller in 0..2 * MAX_CALLERS {
            let _ = accounts.take(&caller.to_string(), 1, now);
        }
        assert!(accounts.by_caller.len() <= MAX_CALLERS + 1);
        let later = now + Duration::from_secs(2);
        assert_eq!(accounts.take("late", 1, later), Ok(()));
        assert!(accounts.by_caller.len() <= MAX_CALLERS);
    }

    #[test]
    fn without_a_rate_nothing_is_kept() {
        let now = Clock::system().now().monotonic;
        let mut accounts = Accounts::new(Rate(0));
        assert_eq!(accounts.take("a", usize::MAX, now), Ok(()));
        assert!(accounts.by_caller.is_empty());
    }
}
