//! How the monitor's own runs through one component fare: the third kind of evidence.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use super::rule::View;
use super::settings::RuleSettings;
use crate::domain::{CanaryOutcome, CanaryReport, CanaryRun, ClaimedState};

/// Delays of whole runs held for the median.
const DELAYS_MAX: usize = 64;
/// Failed runs in a row held: the first ones and the newest. At least `canary_failures_min`.
pub(crate) const FAILURES_MAX: usize = 8;
/// A shorter interval is not held against a run's age: the working loop has its own pace.
const INTERVAL_FLOOR: Duration = Duration::from_secs(1);

/// A run that came back whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) began: Now,
    pub(crate) ended: Now,
    /// From handing its events in to reading the last of them back.
    pub(crate) delay: Duration,
}

/// A run that did not, although the component answered otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Its thread.
    pub(crate) key: String,
    pub(crate) began: Now,
    pub(crate) ended: Now,
    /// When it was told: what is claimed later is claimed in spite of it.
    told: Instant,
    pub(crate) why: String,
}

/// The runs of one component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Canary {
    interval: Duration,
    succeeded: u64,
    failed: u64,
    last_whole: Option<Whole>,
    /// Oldest first.
    delays: VecDeque<Duration>,
    /// Since the last whole run, oldest first.
    failures: Vec<Failure>,
    error: String,
    /// Since when every run was told that the component drains.
    drains_since: Option<Instant>,
    /// Whether witnesses had seen the same failure when the runs' verdict was in. `None`: it is
    /// not in.
    seen_by_witnesses: Option<bool>,
}

/// What the runs say against the component now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// Nothing.
    Clear,
    /// Not enough yet, and why.
    Open(&'static str),
    /// These failures in a row, oldest first.
    Against(Vec<&'a Failure>),
}

impl Canary {
    /// Takes a run. `answers`: whether the component gave signs of life while it went on; one that
    /// was silent as a whole is another rule's matter. Says whether it speaks against it.
    pub(crate) fn take(
        &mut self,
        run: CanaryRun,
        answers: bool,
        grace: Duration,
        now: Now,
    ) -> bool {
        self.interval = run.interval;
        let why = match run.outcome {
            CanaryOutcome::Whole(delay) => {
                self.took_whole(&run.began, &run.ended, delay);
                return false;
            }
            CanaryOutcome::NoWord(why) => {
                self.error = why;
                return false;
            }
            CanaryOutcome::Draining(why) => {
                let since = *self.drains_since.get_or_insert(run.began.monotonic);
                // One that has said so for so long, and is still here, only says so.
                if now.since(since) <= grace {
                    self.error = why;
                    return false;
                }
                why
            }
            CanaryOutcome::Failed(why) => {
                self.drains_since = None;
                why
            }
        };
        self.failed += 1;
        self.error.clone_from(&why);
        if !answers {
            return false;
        }
        if self.failures.len() >= FAILURES_MAX {
            self.failures.pop();
        }
        self.failures.push(Failure {
            key: run.key,
            began: run.began,
            ended: run.ended,
            told: now.monotonic,
            why,
        });
        true
    }

    fn took_whole(&mut self, began: &Now, ended: &Now, delay: Duration) {
        self.succeeded += 1;
        self.failures.clear();
        self.error.clear();
        self.drains_since = None;
        self.seen_by_witnesses = None;
        if self.delays.len() >= DELAYS_MAX {
            self.delays.pop_front();
        }
        self.delays.push_back(delay);
        self.last_whole = Some(Whole {
            began: *began,
            ended: *ended,
            delay,
        });
    }

    /// The last run that came back whole. `None`: none ever did.
    pub(crate) fn last_whole(&self) -> Option<Whole> {
        self.last_whole
    }

    /// The run that proves now that the path works: whole, recent, of this instance, and none
    /// failed after it.
    pub(crate) fn proof(
        &self,
        baseline: Option<Instant>,
        settings: &RuleSettings,
        now: Now,
    ) -> Option<Whole> {
        let interval = self.interval.max(INTERVAL_FLOOR);
        let allowed = interval.saturating_mul(settings.canary_recent_intervals);
        self.last_whole.filter(|whole| {
            self.failures.is_empty()
                && now.since(whole.ended.monotonic) <= allowed
                && baseline.is_none_or(|baseline| whole.began.monotonic >= baseline)
        })
    }

    /// Notes who was first, the witnesses or the runs: one cause is one finding, and it stays with
    /// the rule that opened it. `hole`: whether witnesses see that nothing arrives.
    pub(crate) fn note_first(&mut self, against: bool, hole: bool) {
        if against {
            self.seen_by_witnesses.get_or_insert(hole);
        }
    }

    /// What an audit shows. `proven`: whether the newest run is a proof.
    pub(crate) fn report(&self, proven: bool) -> CanaryReport {
        let mut delays: Vec<_> = self.delays.iter().copied().collect();
        delays.sort_unstable();
        CanaryReport {
            succeeded: self.succeeded,
            failed: self.failed,
            last_success: self.last_whole.map(|whole| whole.ended.wall),
            last_delay: self.last_whole.map(|whole| whole.delay),
            delay_median: delays.get(delays.len() / 2).copied(),
            error: self.error.clone(),
            proven,
        }
    }
}

/// What the runs say against the component now.
pub(crate) fn standing<'a>(view: &View<'a>, settings: &RuleSettings) -> Standing<'a> {
    let Some(canary) = view.canary else {
        return Standing::Clear;
    };
    // What failed while it drained is past when it is back at work.
    let baseline = view.claims.baseline().max(view.claims.returned);
    let current =
        |failure: &&Failure| baseline.is_none_or(|baseline| failure.began.monotonic >= baseline);
    let failures: Vec<_> = canary.failures.iter().filter(current).collect();
    if failures.is_empty() {
        return Standing::Clear;
    }
    let Some((health, claimed)) = &view.claims.health else {
        return Standing::Open("it has claimed nothing yet");
    };
    match health.state {
        ClaimedState::Draining => return Standing::Open("it said that it was draining"),
        ClaimedState::Uninitialized | ClaimedState::Initializing => {
            return Standing::Open("it said that it was not ready yet");
        }
        _ => {}
    }
    let awake = |failure: &&Failure| failure.began.monotonic >= view.awake_since;
    let failures: Vec<_> = failures.into_iter().filter(awake).collect();
    let keys: BTreeSet<_> = failures.iter().map(|failure| &failure.key).collect();
    let needed = settings.canary_failures_min as usize;
    if failures.len() < needed || keys.len() < 2 {
        return Standing::Open("a synthetic run failed, and another one is on its way");
    }
    // Whoever died at the same time claims nothing any more.
    if claimed.monotonic < failures[needed - 1].told {
        return Standing::Open("what it claims since then is not known yet");
    }
    Standing::Against(failures)
}

/// Whether a run ever came back whole from this instance. `None`: not known yet.
pub(crate) fn proven(view: &View<'_>, settings: &RuleSettings) -> Option<bool> {
    let canary = view.canary?;
    let baseline = view.claims.baseline();
    let whole = canary
        .last_whole
        .is_some_and(|whole| baseline.is_none_or(|start| whole.began.monotonic >= start));
    if whole {
        return Some(true);
    }
    matches!(standing(view, settings), Standing::Against(_)).then_some(false)
}

/// Whether the runs stand against the component, and did before witnesses saw that nothing
/// arrives: then the finding is theirs.
pub(crate) fn came_first(view: &View<'_>, settings: &RuleSettings) -> bool {
    let first = view.canary.and_then(|canary| canary.seen_by_witnesses) == Some(false);
    first && matches!(standing(view, settings), Standing::Against(_))
}

/// Whether witnesses had seen that nothing arrives before the runs stood against the component,
/// and see it still: then the finding is theirs.
pub(crate) fn came_second(view: &View<'_>) -> bool {
    let second = view.canary.and_then(|canary| canary.seen_by_witnesses) == Some(true);
    second && view.losses.hole.is_some()
}
