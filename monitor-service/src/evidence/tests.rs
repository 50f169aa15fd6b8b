use std::time::Duration;

use proptest::prelude::*;
use service_kit::clock::{Clock, Now};

use super::limits::EvidenceLimits;
use super::loss::{Losses, Scope};
use super::session::Standing;
use super::{Evidence, Part};
use crate::audit::testing::sighting;
use crate::domain::{Posting, Sighting, ThreadStatus, Vantage};

const SCOPE: Scope = Scope {
    grace: Duration::from_secs(2),
    baseline: None,
    silence: Duration::from_secs(30),
};

fn now() -> Now {
    Clock::system().now().later(Duration::from_secs(100_000))
}

fn report(
    evidence: &mut Evidence,
    observer_id: &str,
    vantage: Vantage,
    sightings: &[Sighting],
    at: Now,
) -> (u32, u32) {
    let part = Part {
        observer_id,
        vantage,
        sightings: sightings.iter().collect(),
        reading: None,
        sign_off: false,
        posting: &Posting::default(),
        standing: Standing::UNNUMBERED,
    };
    let outcome = evidence.record(&part, at);
    (outcome.recorded, outcome.repeated)
}

fn events(thread: &str, numbers: impl Iterator<Item = u64>, at: Now) -> Vec<Sighting> {
    numbers
        .map(|number| sighting(thread, number, "e", at))
        .collect()
}

#[test]
fn a_repeated_report_changes_nothing() {
    let (mut evidence, at) = (Evidence::new(EvidenceLimits::default()), now());
    let seen = events("t", 1..=5, at);
    assert_eq!(
        report(&mut evidence, "p", Vantage::Producer, &seen, at),
        (5, 0)
    );
    assert_eq!(
        report(&mut evidence, "p", Vantage::Producer, &seen, at),
        (0, 5)
    );
    assert_eq!(
        report(&mut evidence, "q", Vantage::Producer, &seen, at),
        (5, 0)
    );
    let totals = evidence.totals(at);
    assert_eq!(
        (totals.produced, totals.consumed, totals.producers),
        (5, 0, 2)
    );
}

#[test]
fn a_thread_is_bounded_and_what_left_stays_gone() {
    let limits = EvidenceLimits {
        events_per_thread_max: 10,
        ..EvidenceLimits::default()
    };
    let (mut evidence, at) = (Evidence::new(limits), now());
    let seen = events("t", 1..=30, at);
    report(&mut evidence, "p", Vantage::Producer, &seen, at);
    report(&mut evidence, "c", Vantage::Consumer, &seen, at);
    assert_eq!(evidence.events_held(), 10);
    // A late repeat of what left is not a new event that nobody saw.
    assert_eq!(
        report(&mut evidence, "q", Vantage::Producer, &seen[..20], at),
        (0, 20)
    );
    let later = at.later(Duration::from_secs(5));
    assert_eq!(evidence.losses(SCOPE, later).unseen, 0);
    assert!(evidence.counters().evicted >= 20);
}

#[test]
fn every_bound_holds() {
    let limits = EvidenceLimits {
        observers_max: 3,
        threads_max: 4,
        readers_per_thread_max: 2,
        runs_max: 5,
        events_max: 20,
        ..EvidenceLimits::default()
    };
    let mut evidence = Evidence::new(limits);
    let mut at = now();
    for number in 0..50_u64 {
        at = at.later(Duration::from_millis(10));
        let seen = events(&format!("t{}", number % 9), number..=number + 2, at);
        let observer = format!("o{}", number % 7);
        report(&mut evidence, &observer, Vantage::Consumer, &seen, at);
        assert!(evidence.observers_count() <= 3);
        assert!(evidence.threads_count() <= 4);
        assert!(evidence.runs().len() <= 5);
        assert!(evidence.events_held() <= 20);
        assert!(
            evidence
                .threads
                .values()
                .all(|thread| thread.readers.len() <= 2)
        );
        let held: usize = evidence.threads.values().map(|thread| thread.len()).sum();
        assert_eq!(held, evidence.events_held());
    }
}

#[test]
fn one_tool_too_many_takes_the_place_of_another_and_is_counted() {
    let limits = EvidenceLimits {
        tools_per_run_max: 2,
        ..EvidenceLimits::default()
    };
    let (mut evidence, at) = (Evidence::new(limits), now());
    let mut seen = events("t", 1..=3, at);
    for (number, event) in seen.iter_mut().enumerate() {
        event.event_type = "tool_executing".into();
        event.tool_call_id = format!("call-{number}");
    }
    report(&mut evidence, "p", Vantage::Producer, &seen, at);
    let status = evidence.thread_status(&"bridge".into(), "t", at).unwrap();
    assert_eq!(status.runs[0].open_tools.len(), 2);
    assert_eq!((status.produced, evidence.counters().evicted), (3, 1));
}

#[test]
fn one_gap_too_many_lets_the_oldest_go_and_is_counted() {
    let limits = EvidenceLimits {
        gaps_per_reader_max: 2,
        ..EvidenceLimits::default()
    };
    let (mut evidence, at) = (Evidence::new(limits), now());
    let every_other = events("t", (1..=4).map(|number| number * 2 - 1), at);
    report(&mut evidence, "c", Vantage::Consumer, &every_other, at);
    let gaps = |evidence: &Evidence| -> Vec<usize> {
        let readers = evidence
            .threads
            .values()
            .flat_map(|thread| thread.readers.values());
        readers.map(|reader| reader.gaps.len()).collect()
    };
    assert_eq!((gaps(&evidence), evidence.counters().evicted), (vec![2], 1));
    report(&mut evidence, "d", Vantage::Consumer, &every_other[..2], at);
    assert_eq!(evidence.counters().evicted, 1);
}

#[test]
fn a_consumer_whose_reading_is_forgotten_followed_nothing() {
    let limits = EvidenceLimits {
        readers_per_thread_max: 1,
        ..EvidenceLimits::default()
    };
    let (mut evidence, at) = (Evidence::new(limits), now());
    let seen = events("t", 1..=2, at);
    report(&mut evidence, "p", Vantage::Producer, &seen, at);
    report(&mut evidence, "c", Vantage::Consumer, &seen, at);
    let followed = |evidence: &Evidence| {
        let run = evidence.runs().get("t/run").unwrap();
        let names = run
            .seen_by
            .iter()
            .filter(|key| evidence.followed(**key, run));
        let names = names.filter_map(|key| evidence.observer(*key));
        names.map(|seen| seen.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(followed(&evidence), ["p", "c"]);
    // The thread has room for one reader.
    report(
        &mut evidence,
        "d",
        Vantage::Consumer,
        &seen,
        at.later(Duration::from_secs(1)),
    );
    assert_eq!(followed(&evidence), ["p", "d"]);
}

#[test]
fn what_is_older_than_the_window_leaves() {
    let (mut evidence, at) = (Evidence::new(EvidenceLimits::default()), now());
    report(
        &mut evidence,
        "p",
        Vantage::Producer,
        &events("t", 1..=3, at),
        at,
    );
    let later = at.later(Duration::from_secs(300));
    report(
        &mut evidence,
        "p",
        Vantage::Producer,
        &events("t", 4..=4, later),
        later,
    );
    let at_last = at.later(Duration::from_secs(601));
    evidence.expire(at_last);
    assert_eq!(evidence.totals(at_last).produced, 1);
    evidence.expire(at.later(Duration::from_secs(1_000)));
    assert_eq!(
        (
            evidence.events_held(),
            evidence.threads_count(),
            evidence.observers_count()
        ),
        (0, 0, 0)
    );
    assert_eq!(evidence.runs().len(), 0);
    assert_eq!(evidence.totals(later).produced, 0);
}

#[test]
fn the_median_delay_is_of_new_events_and_of_those_that_settled() {
    let (mut evidence, mut at) = (Evidence::new(EvidenceLimits::default()), now());
    let settled = EvidenceLimits::default().settle * 2;
    let median = |milliseconds| Some(Duration::from_millis(milliseconds));
    for (thread, milliseconds) in [("slow", 50), ("slower", 60), ("fast", 10), ("faster", 5)] {
        let mut seen = events(thread, 1..=2, at);
        report(&mut evidence, "p", Vantage::Producer, &seen, at);
        for event in &mut seen {
            event.observe_time = Some(at.wall + Duration::from_millis(milliseconds));
        }
        report(&mut evidence, "c", Vantage::Consumer, &seen, at);
        if thread == "slow" {
            assert_eq!(evidence.totals(at).delay_median, median(50));
        }
        at = at.later(settled);
    }
    assert_eq!(
        evidence.events_held(),
        2,
        "the last thread's have not settled"
    );
    assert_eq!(evidence.totals(at).delay_median, median(50));
    evidence.expire(at);
    assert_eq!(evidence.events_held(), 0);
    assert_eq!(evidence.totals(at).delay_median, median(50));
}

#[test]
fn a_thread_tells_its_story() {
    let (mut evidence, at) = (Evidence::new(EvidenceLimits::default()), now());
    let mut seen = events("t", 1..=2, at);
    seen[0].event_type = "agent_started".into();
    seen[1].event_type = "tool_executing".into();
    seen[1].tool_call_id = "call".into();
    report(&mut evidence, "p", Vantage::Producer, &seen, at);
    for event in &mut seen {
        event.observe_time = Some(at.wall + Duration::from_millis(40));
    }
    report(&mut evidence, "c", Vantage::Consumer, &seen, at);
    let later = at.later(Duration::from_secs(3));
    let status = evidence
        .thread_status(&"bridge".into(), "t", later)
        .unwrap();
    assert_eq!(
        (status.produced, status.consumed, status.consumers),
        (2, 2, 1)
    );
    assert_eq!(status.delay_median, Some(Duration::from_millis(40)));
    assert_eq!(status.last_event_type, "tool_executing");
    assert_eq!(status.counts_by_type["agent_started"], 1);
    let run = &status.runs[0];
    assert_eq!(
        run.open_tools,
        vec![("call".to_owned(), Duration::from_secs(3))]
    );
    assert!(!run.finished);
    assert!(
        evidence
            .thread_status(&"bridge".into(), "u", later)
            .is_none()
    );
}

/// Everything that an audit, a rule or a caller can see.
fn visible(evidence: &mut Evidence, at: Now) -> (Vec<ThreadStatus>, Losses, [u64; 4]) {
    let mut threads: Vec<_> = evidence.threads.keys().cloned().collect();
    threads.sort_unstable();
    let status = threads
        .iter()
        .filter_map(|id| evidence.thread_status(&"bridge".into(), id, at))
        .collect();
    let totals = evidence.totals(at);
    let mut losses = evidence.losses(SCOPE, at);
    losses
        .missing
        .sort_by(|a, b| (&a.thread_id, &a.consumer).cmp(&(&b.thread_id, &b.consumer)));
    let numbers = [
        totals.produced,
        totals.consumed,
        totals.threads.into(),
        totals.runs_open.into(),
    ];
    (status, losses, numbers)
}

#[derive(Clone, Debug)]
struct Batch {
    observer: &'static str,
    vantage: Vantage,
    sightings: Vec<Sighting>,
}

/// Reports of two producers and two consumers over three threads, each in batches.
fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let at = now();
    let kinds = [
        "agent_started",
        "tool_executing",
        "tool_completed",
        "agent_completed",
    ];
    let one = (0_usize..4, 0_usize..3, 1_u64..12, 0_usize..4);
    proptest::collection::vec(proptest::collection::vec(one, 1..6), 1..12).prop_map(move |all| {
        all.into_iter()
            .map(|batch| {
                let who = batch[0].0;
                let seen = batch.iter().map(|(_, thread, number, _)| {
                    let mut seen = sighting(["t", "u", "v"][*thread], *number, "e", at);
                    // A sequence is the same event to everybody.
                    let kind = (*number as usize + thread) % kinds.len();
                    seen.event_type = kinds[kind].into();
                    if kind == 1 || kind == 2 {
                        seen.tool_call_id = format!("call-{}", number / 2);
                    }
                    seen
                });
                Batch {
                    observer: ["p", "q", "c", "d"][who],
                    vantage: [Vantage::Producer, Vantage::Consumer][who / 2],
                    sightings: seen.collect(),
                }
            })
            .collect()
    })
}

proptest! {
    /// Late, repeated and shuffled reports tell the same story.
    #[test]
    fn order_and_repetition_do_not_matter(
        batches in batches(),
        seed in proptest::collection::vec(any::<prop::sample::Index>(), 24),
    ) {
        let at = now();
        let take = |evidence: &mut Evidence, batch: &Batch| {
            report(evidence, batch.observer, batch.vantage, &batch.sightings, at)
        };
        let mut straight = Evidence::new(EvidenceLimits::default());
        for batch in &batches {
            take(&mut straight, batch);
        }
        let mut shuffled = Evidence::new(EvidenceLimits::default());
        let mut order: Vec<&Batch> = batches.iter().collect();
        for (place, index) in seed.iter().enumerate() {
            let (a, b) = (place % order.len(), index.index(order.len()));
            order.swap(a, b);
        }
        for batch in &order {
            take(&mut shuffled, batch);
            let (recorded, _) = take(&mut shuffled, batch);
            prop_assert_eq!(recorded, 0);
        }
        let later = at.later(Duration::from_secs(3));
        prop_assert_eq!(visible(&mut straight, later), visible(&mut shuffled, later));
    }
}
