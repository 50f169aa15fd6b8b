//! Every class of the catalogue that has a rule: its fault is found, its harmless twin is quiet.

use std::time::Duration;

use monitorable::monitor::v1::evidence_client::EvidenceClient;
use monitorable::monitor::v1::finding::State as FindingState;
use monitorable::monitor::v1::{ObservedEvent, ReportEventsRequest, Vantage, Verdict};
use monitorable::monitorable::v1::{DeliveryMetrics, State};
use monitorable_tests::calls::{Auditor, summary};
use monitorable_tests::fake::{Answers, Fake};
use monitorable_tests::process::Service;
use service_kit::clock::Clock;
use tokio::task::JoinHandle;

use crate::pair::{FOUND_WITHIN, SOON};

/// The thresholds that the catalogue declares, lowered so that the story is short.
const THRESHOLDS: [&str; 6] = [
    "--rules-run-silence",
    "2s",
    "--rules-tool-limit",
    "2s",
    "--rules-regression-shown",
    "5s",
];
/// A finding must resolve once its cause is gone.
const RESOLVED_WITHIN: Duration = Duration::from_secs(20);

type Lie = fn(&mut Answers);

/// Rules on claims alone: the fault, and the harmless twin.
const CLAIMS: &[(&str, Lie, Lie)] = &[
    (
        "unbalanced_ledger",
        |answers| answers.delivery = Some(delivery(100, 95, 0)),
        |answers| answers.delivery = Some(delivery(100, 95, 5)),
    ),
    (
        "inconsistent_claims",
        |answers| answers.checks[0].healthy = false,
        |answers| {
            answers.checks[0].healthy = true;
            answers.checks[0].message = "slow, and inside its limit".to_owned();
        },
    ),
    (
        "watch_silence",
        |answers| answers.silent_watch = true,
        |answers| answers.silent_watch = false,
    ),
    (
        "frozen_health",
        |answers| answers.frozen = true,
        |answers| answers.frozen = false,
    ),
    (
        "stale_replay",
        |answers| answers.echo_nonce = false,
        |answers| answers.echo_nonce = true,
    ),
    (
        "wrong_identity",
        |answers| answers.component_id = "stranger".to_owned(),
        |answers| answers.component_id = "claims-wrong_identity".to_owned(),
    ),
    (
        "counter_regression",
        |answers| answers.lifecycle.health_checks_performed = 3,
        |answers| answers.lifecycle.health_checks_performed = 9,
    ),
    (
        "watch_contradiction",
        |answers| {
            answers.state = State::Degraded;
            answers.calls_state = Some(State::Active);
        },
        |answers| {
            answers.state = State::Active;
            answers.calls_state = None;
        },
    ),
];

/// Rules on claims that leave the verdict alone.
const SIGNS: &[(&str, Lie, Lie)] = &[
    (
        "clock_skew",
        |answers| answers.clock_ahead = Duration::from_secs(3),
        |answers| answers.clock_ahead = Duration::from_millis(200),
    ),
    (
        "limping",
        |answers| answers.delay = Duration::from_millis(700),
        |answers| answers.delay = Duration::ZERO,
    ),
];

fn delivery(accepted: u64, delivered: u64, pending: u64) -> DeliveryMetrics {
    DeliveryMetrics {
        events_accepted: accepted,
        events_delivered: delivered,
        events_pending: pending,
        ..DeliveryMetrics::default()
    }
}

#[tokio::test]
async fn combined_failure_detection_coverage() {
    let monitor = Service::monitor(&THRESHOLDS).await;
    let auditor = Auditor::at(&monitor.uri());
    let mut stories = tokio::task::JoinSet::new();
    for (rule, lie, twin) in CLAIMS {
        let expected = Verdict::SilentFailure;
        stories.spawn(claims_story(auditor.clone(), rule, (*lie, *twin), expected));
    }
    for (rule, lie, twin) in SIGNS {
        let expected = Verdict::Unverified;
        stories.spawn(claims_story(auditor.clone(), rule, (*lie, *twin), expected));
    }
    for (rule, tell) in WITNESSED {
        stories.spawn(witnessed_story(monitor.uri(), auditor.clone(), rule, *tell));
    }
    while let Some(told) = stories.join_next().await {
        told.unwrap();
    }
}

/// The twin first, which must stay quiet; then the fault; then it is healed.
async fn claims_story(
    auditor: Auditor,
    rule: &'static str,
    (lie, twin): (Lie, Lie),
    expected: Verdict,
) {
    let component = format!("claims-{rule}");
    let target = Fake::start(&component).await;
    target.change(twin);
    auditor.register(&component, &target.uri()).await;
    auditor
        .until_standing(&component, Verdict::Unverified, SOON)
        .await;
    stays_quiet(&auditor, &component).await;
    target.change(lie);
    let begin = Clock::system().now();
    let finding = auditor
        .until_finding(&component, rule, FOUND_WITHIN, |finding| {
            finding.state() == FindingState::Open
        })
        .await;
    let after = Clock::system().now().since(begin.monotonic);
    println!("{rule} found after {after:?}: {}", finding.message);
    assert!(
        !finding.evidence.is_empty() && !finding.message.is_empty(),
        "{finding:?}"
    );
    auditor.until_standing(&component, expected, SOON).await;
    target.change(twin);
    auditor
        .until_finding(&component, rule, RESOLVED_WITHIN, |finding| {
            finding.state() == FindingState::Resolved
        })
        .await;
    auditor
        .until_standing(&component, Verdict::Unverified, SOON)
        .await;
}

async fn stays_quiet(auditor: &Auditor, component: &str) {
    for _ in 0..4 {
        auditor.audit(component).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let findings: Vec<_> = auditor
        .findings(component)
        .await
        .iter()
        .map(summary)
        .collect();
    assert!(
        findings.is_empty(),
        "{component}: a false alarm: {findings:?}"
    );
}

/// Says what witnesses saw of a thread; `true` for the fault, `false` for its harmless twin.
type Tell = fn(&mut Told, bool);

/// Rules on what witnesses saw.
const WITNESSED: &[(&str, Tell)] = &[
    ("black_hole", |told, fault| {
        told.seen_by_both("agent_started", "");
        for _ in 0..4 {
            if fault {
                told.produced("agent_thinking", "");
            } else {
                told.seen_by_both("agent_thinking", "");
            }
        }
        if !fault {
            told.seen_by_both("agent_completed", "");
        }
    }),
    ("event_loss", |told, fault| {
        told.seen_by_both("agent_started", "");
        if fault {
            told.produced("agent_thinking", "");
        } else {
            told.seen_by_both("agent_thinking", "");
        }
        told.seen_by_both("agent_message", "");
        told.seen_by_both("agent_completed", "");
    }),
    ("run_never_finished", |told, fault| {
        told.seen_by_both("agent_started", "");
        if !fault {
            told.seen_by_both("agent_completed", "");
        }
    }),
    ("tool_stuck", |told, fault| {
        told.seen_by_both("agent_started", "");
        told.seen_by_both("tool_executing", "call-1");
        if !fault {
            told.seen_by_both("tool_completed", "call-1");
            told.seen_by_both("agent_completed", "");
        }
    }),
    ("orphan_tool_completion", |told, fault| {
        told.seen_by_both("agent_started", "");
        if !fault {
            told.seen_by_both("tool_executing", "call-1");
            told.seen_by_both("tool_executing", "call-2");
            told.seen_by_both("tool_completed", "call-2");
        }
        told.seen_by_both("tool_completed", "call-1");
        told.seen_by_both("agent_completed", "");
    }),
    ("duplicate_delivery", |told, fault| {
        told.seen_by_both("agent_started", "");
        told.seen_by_both("agent_completed", "");
        // The twin is a replay that the component declared.
        told.arrives_again(0, !fault);
    }),
    ("reordering", |told, fault| {
        told.seen_by_both("agent_started", "");
        told.seen_by_both("agent_message", "");
        told.seen_by_both("agent_completed", "");
        if fault {
            told.swap_arrivals(0, 1);
        }
    }),
    ("protocol_violation", |told, fault| {
        told.seen_by_both("agent_started", "");
        told.seen_by_both("agent_completed", "");
        if fault {
            told.seen_by_both("agent_message", "");
        }
    }),
    ("event_non_emission", |told, fault| {
        told.seen_by_both("agent_started", "");
        if fault {
            told.produced("agent_message", "");
            told.without_sequence();
        } else {
            told.seen_by_both("agent_message", "");
        }
        told.seen_by_both("agent_completed", "");
    }),
    ("partial_loss", |told, fault| {
        told.seen_by_both("agent_started", "");
        for _ in 0..4 {
            told.seen_by_both("agent_message", "");
            if fault {
                told.produced("custom", "");
            } else {
                told.seen_by_both("custom", "");
            }
        }
        told.seen_by_both("agent_completed", "");
    }),
];

/// What two witnesses saw of one run.
struct Told {
    thread_id: String,
    produced: Vec<ObservedEvent>,
    consumed: Vec<ObservedEvent>,
}

impl Told {
    fn new(thread_id: &str) -> Self {
        Self {
            thread_id: thread_id.to_owned(),
            produced: Vec::new(),
            consumed: Vec::new(),
        }
    }

    fn produced(&mut self, kind: &str, tool_call_id: &str) -> ObservedEvent {
        let placed = self.produced.iter().filter(|event| event.sequence > 0);
        let sequence = placed.count() as u64 + 1;
        let event = ObservedEvent {
            event_id: format!("{}.{}", self.thread_id, self.produced.len()),
            thread_id: self.thread_id.clone(),
            run_id: format!("{}-run", self.thread_id),
            r#type: kind.to_owned(),
            sequence,
            tool_call_id: tool_call_id.to_owned(),
            observe_time: Some(Clock::system().now().wall.into()),
            epoch: "epoch-1".to_owned(),
            ..ObservedEvent::default()
        };
        self.produced.push(event.clone());
        event
    }

    fn seen_by_both(&mut self, kind: &str, tool_call_id: &str) {
        let mut event = self.produced(kind, tool_call_id);
        event.connection_id = "connection-1".to_owned();
        event.arrival = self.consumed.len() as u64 + 1;
        self.consumed.push(event);
    }

    /// An event that came comes once more.
    fn arrives_again(&mut self, index: usize, replayed: bool) {
        let mut again = self.consumed[index].clone();
        again.arrival = self.consumed.len() as u64 + 1;
        again.replayed = replayed;
        self.consumed.push(again);
    }

    fn swap_arrivals(&mut self, one: usize, other: usize) {
        let arrival = self.consumed[one].arrival;
        self.consumed[one].arrival = self.consumed[other].arrival;
        self.consumed[other].arrival = arrival;
    }

    /// What was produced last got no place in the thread.
    fn without_sequence(&mut self) {
        if let Some(event) = self.produced.last_mut() {
            event.sequence = 0;
        }
    }
}

async fn witnessed_story(monitor: String, auditor: Auditor, rule: &'static str, tell: Tell) {
    let component = format!("witnessed-{rule}");
    let target = Fake::start(&component).await;
    auditor.register(&component, &target.uri()).await;
    auditor
        .until_standing(&component, Verdict::Unverified, SOON)
        .await;
    let mut harmless = Told::new(&format!("{rule}-twin"));
    tell(&mut harmless, false);
    let twin = report(&monitor, &component, &harmless).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let findings: Vec<_> = auditor
        .findings(&component)
        .await
        .iter()
        .map(summary)
        .collect();
    assert!(findings.is_empty(), "{rule}: a false alarm: {findings:?}");
    twin.abort();

    let mut fault = Told::new(&format!("{rule}-fault"));
    tell(&mut fault, true);
    let witnesses = report(&monitor, &component, &fault).await;
    let begin = Clock::system().now();
    let finding = auditor
        .until_finding(&component, rule, FOUND_WITHIN, |_| true)
        .await;
    let after = Clock::system().now().since(begin.monotonic);
    println!("{rule} found after {after:?}: {}", finding.message);
    assert!(!finding.evidence.is_empty(), "{finding:?}");
    witnesses.abort();
}

/// Reports what was told once, and signs of life from both witnesses until aborted.
async fn report(monitor: &str, component: &str, told: &Told) -> JoinHandle<()> {
    let client = EvidenceClient::new(monitorable_tests::process::channel(monitor));
    let request = |vantage: Vantage, events: &[ObservedEvent]| ReportEventsRequest {
        observer_id: format!(
            "{}-{}",
            told.thread_id,
            vantage.as_str_name().to_lowercase()
        ),
        vantage: vantage.into(),
        events: events.to_vec(),
        component_id: component.to_owned(),
        reading: match vantage {
            Vantage::Consumer => vec![told.thread_id.clone()],
            _ => vec![],
        },
        ..ReportEventsRequest::default()
    };
    // The consumer is there before the events are.
    let beats = [
        request(Vantage::Consumer, &[]),
        request(Vantage::Producer, &[]),
    ];
    client
        .clone()
        .report_events(beats[0].clone())
        .await
        .unwrap();
    // As it happened: what came after the consumer's last sighting is told after it.
    let seen = told.consumed.last().map_or(0, |event| event.sequence);
    let (before, after) = told.produced.split_at(usize::try_from(seen).unwrap());
    for report in [
        request(Vantage::Producer, before),
        request(Vantage::Consumer, &told.consumed),
        request(Vantage::Producer, after),
    ] {
        client.clone().report_events(report).await.unwrap();
    }
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(300));
        loop {
            interval.tick().await;
            for beat in beats.clone() {
                let _ = client.clone().report_events(beat).await;
            }
        }
    })
}
