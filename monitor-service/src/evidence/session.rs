//! Who has told what already: an observer numbers its reports, so that one that comes twice
//! changes nothing and one that is missing is waited for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use super::ranges::Ranges;
use super::recency::Recency;
use super::skew::{ClockEstimate, ClockReading};
use crate::domain::{Posting, Vantage};

/// Holes in one observer's numbering that are remembered; beyond, all are given up.
const HOLES_MAX: usize = 64;

/// How one report stands to the others of its observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// It was taken before.
    pub(crate) repeated: bool,
    /// None that was sent later was taken before it: what it says of the present holds.
    pub(crate) newest: bool,
    /// None that was sent before it is missing.
    pub(crate) complete: bool,
    /// The observer's clock. `None`: not known, or unsure for this report.
    pub(crate) clock: Option<ClockReading>,
}

impl Standing {
    /// Of a report without a number: it is taken as it comes.
    pub(crate) const UNNUMBERED: Self = Self {
        repeated: false,
        newest: true,
        complete: true,
        clock: None,
    };
}

#[derive(Clone, Debug)]
struct Session {
    id: Arc<str>,
    taken: Ranges,
    missing_since: Option<Instant>,
}

impl Session {
    fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            taken: Ranges::default(),
            missing_since: None,
        }
    }

    /// Numbers before the highest that did not come.
    fn missing(&self) -> u64 {
        let before = self.taken.first().map_or(0, |first| first - 1);
        self.taken.missing().fold(before, |sum, (from, to)| {
            sum.saturating_add(to - from).saturating_add(1)
        })
    }

    /// Gives up what has been missing for too long, and returns how many reports that were.
    fn give_up(&mut self, wait: Duration, now: Now) -> u64 {
        let missing = self.missing();
        if missing == 0 {
            self.missing_since = None;
            return 0;
        }
        let since = *self.missing_since.get_or_insert(now.monotonic);
        if now.since(since) <= wait && self.taken.len() <= HOLES_MAX {
            return 0;
        }
        self.taken.fill(1, self.taken.last().unwrap_or(1));
        self.missing_since = None;
        missing
    }
}

#[derive(Clone, Debug)]
struct Reporter {
    current: Session,
    /// The one before; its late reports are no new start.
    previous: Option<Session>,
    clock: ClockEstimate,
    stamp: u64,
}

type Name = (Vantage, Arc<str>);

/// The sessions of all observers. Numbers run over all components that an observer reports on.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    sessions_max: usize,
    wait: Duration,
    reporters: HashMap<Name, Reporter>,
    recency: Recency<Name>,
    given_up: u64,
}

impl Sessions {
    /// `wait`: how long a missing number is waited for.
    pub(crate) fn new(sessions_max: usize, wait: Duration) -> Self {
        Self {
            sessions_max: sessions_max.max(1),
            wait,
            reporters: HashMap::new(),
            recency: Recency::default(),
            given_up: 0,
        }
    }

    /// Takes the number of a report.
    pub(crate) fn take(
        &mut self,
        observer_id: &str,
        vantage: Vantage,
        posting: &Posting,
        now: Now,
    ) -> Standing {
        if posting.session_id.is_empty() || posting.number == 0 {
            return Standing::UNNUMBERED;
        }
        let name: Name = (vantage, observer_id.into());
        self.make_room(&name);
        let reporter = self
            .reporters
            .entry(name.clone())
            .or_insert_with(|| Reporter {
                current: Session::new(&posting.session_id),
                previous: None,
                clock: ClockEstimate::default(),
                stamp: 0,
            });
        self.recency.touch(&mut reporter.stamp, &name);
        let (standing, given_up) = reporter.take(posting, self.wait, now);
        self.given_up = self.given_up.saturating_add(given_up);
        standing
    }

    fn make_room(&mut self, name: &Name) {
        while self.reporters.len() >= self.sessions_max && !self.reporters.contains_key(name) {
            let Some(oldest) = self.recency.oldest() else {
                return;
            };
            if let Some(gone) = self.reporters.remove(&oldest) {
                self.recency.forget(gone.stamp);
            }
        }
    }

    /// Reports that were waited for in vain, since the start.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }
}

impl Reporter {
    fn take(&mut self, posting: &Posting, wait: Duration, now: Now) -> (Standing, u64) {
        let of_previous = self
            .previous
            .as_ref()
            .is_some_and(|previous| *previous.id == *posting.session_id);
        if of_previous && let Some(previous) = &mut self.previous {
            let standing = Standing {
                repeated: !previous.taken.insert(posting.number),
                newest: false,
                complete: false,
                clock: None,
            };
            return (standing, 0);
        }
        if *self.current.id != *posting.session_id {
            let new = Session::new(&posting.session_id);
            self.previous = Some(std::mem::replace(&mut self.current, new));
            // It may run on another machine now.
            self.clock = ClockEstimate::default();
        }
        let session = &mut self.current;
        let repeated = !session.taken.insert(posting.number);
        let given_up = session.give_up(wait, now);
        self.clock.reported(posting, now);
        let standing = Standing {
            repeated,
            newest: session.taken.last() == Some(posting.number),
            complete: session.missing() == 0,
            clock: self.clock.reading(posting, now),
        };
        (standing, given_up)
    }
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    struct Desk {
        sessions: Sessions,
        now: Now,
    }

    impl Desk {
        fn new() -> Self {
            Self {
                sessions: Sessions::new(3, WAIT),
                now: Clock::system().now(),
            }
        }

        fn take(&mut self, session: &str, number: u64) -> (bool, bool, bool) {
            let posting = Posting {
                session_id: session.into(),
                number,
                ..Posting::default()
            };
            let taken = self
                .sessions
                .take("o", Vantage::Consumer, &posting, self.now);
            (taken.repeated, taken.newest, taken.complete)
        }
    }

    #[test]
    fn a_number_is_taken_once_and_a_missing_one_is_waited_for() {
        let mut desk = Desk::new();
        assert_eq!(desk.take("a", 1), (false, true, true));
        assert_eq!(desk.take("a", 1), (true, true, true));
        assert_eq!(desk.take("a", 4), (false, true, false));
        assert_eq!(desk.take("a", 2), (false, false, false));
        assert_eq!(desk.take("a", 3), (false, false, true));
        assert_eq!(desk.take("a", 5), (false, true, true));
    }

    #[test]
    fn what_never_comes_is_given_up() {
        let mut desk = Desk::new();
        assert_eq!(desk.take("a", 3), (false, true, false));
        desk.now = desk.now.later(Duration::from_secs(9));
        assert_eq!(desk.take("a", 4), (false, true, false));
        desk.now = desk.now.later(Duration::from_secs(2));
        assert_eq!(desk.take("a", 5), (false, true, true));
        assert_eq!(desk.sessions.given_up(), 2);
        assert_eq!(desk.take("a", u64::MAX), (false, true, false));
        assert_eq!(desk.take("a", u64::MAX), (true, true, false));
    }

    #[test]
    fn late_words_of_the_session_before_are_no_new_start() {
        let mut desk = Desk::new();
        desk.take("a", 1);
        desk.take("a", 2);
        assert_eq!(desk.take("b", 1), (false, true, true));
        assert_eq!(desk.take("a", 2), (true, false, false));
        assert_eq!(desk.take("a", 3), (false, false, false));
        assert_eq!(desk.take("b", 2), (false, true, true));
    }

    #[test]
    fn holes_and_observers_are_bounded() {
        let mut desk = Desk::new();
        for number in 1..1_000 {
            desk.take("a", number * 2);
        }
        for name in ["p", "q", "r", "s"] {
            let posting = Posting {
                session_id: "s".into(),
                number: 1,
                ..Posting::default()
            };
            desk.sessions
                .take(name, Vantage::Producer, &posting, desk.now);
            assert!(desk.sessions.reporters.len() <= 3);
        }
        assert!(desk.sessions.given_up() > 900);
    }
}
