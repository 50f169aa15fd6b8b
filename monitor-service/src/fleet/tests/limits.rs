//! One over a limit of the fleet gets its answer, and the rest go on as before.

use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::Clock;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::teller::{Teller, identity, target};
use crate::alert::Outbox;
use crate::audit::testing::sighting;
use crate::domain::{CallError, Posting, ProbeEvent, Probed, Vantage, WitnessReport};
use crate::evidence::limits::EvidenceLimits;
use crate::fleet::api::{Command, FleetError, FleetHandle, Probes, Target};
use crate::fleet::settings::FleetSettings;

/// Probes that never look.
struct Nobody;

impl Probes for Nobody {
    fn start(&mut self, _target: Target, _generation: u64, _fleet: FleetHandle) {}
    fn audit_now(&mut self, _component_id: &str) {}
    fn stop(&mut self, _component_id: &str) {}
    fn stretch(&mut self, _factor: u32) {}
}

/// What a producer saw of a component, so many events from this number on.
fn report(teller: &Teller, component_id: &str, first: u64, count: u64) -> WitnessReport {
    let seen = (first..first + count).map(|number| {
        let mut seen = sighting("t", number, "e", teller.now);
        seen.component_id = component_id.to_owned();
        seen.event_id = format!("{component_id}-{number}");
        seen
    });
    WitnessReport {
        observer_id: "p".into(),
        vantage: Vantage::Producer,
        component_id: component_id.into(),
        sightings: seen.collect(),
        reading: Vec::new(),
        sign_off: false,
        posting: Posting::default(),
    }
}

fn evidence(limits: EvidenceLimits) -> Teller {
    Teller::with(FleetSettings {
        evidence: limits,
        ..FleetSettings::default()
    })
}

#[test]
fn one_component_too_many_is_refused() {
    let mut teller = Teller::with(FleetSettings {
        components_max: 2,
        ..FleetSettings::default()
    });
    assert_eq!(
        teller.fleet.register(target("second"), teller.now),
        Ok(false)
    );
    assert_eq!(
        teller.fleet.register(target("third"), teller.now),
        Err(FleetError::TooManyComponents(2))
    );
    // Those that are there may change, and one that goes makes room.
    assert_eq!(
        teller.fleet.register(target("second"), teller.now),
        Ok(true)
    );
    teller.fleet.remove("second", teller.now).unwrap();
    assert_eq!(
        teller.fleet.register(target("third"), teller.now),
        Ok(false)
    );
}

#[test]
fn one_waiter_too_many_gets_the_newest_audit_at_once() {
    let mut teller = Teller::with(FleetSettings {
        audit_waiters_max: 2,
        ..FleetSettings::default()
    });
    let newest = teller.newest();
    for waiter in 1..=3 {
        teller.fleet.audit("bridge", waiter, teller.now);
    }
    // The teller's probe answers each request for an audit, which is all that the others wait for.
    teller.perform();
    let waiters: Vec<u64> = teller.answers.iter().map(|(waiter, _)| *waiter).collect();
    assert_eq!(waiters, [3, 1, 2]);
    let is_newest = |place: usize| Arc::ptr_eq(&teller.answers[place].1, &newest);
    assert!(is_newest(0) && !is_newest(1) && !is_newest(2));
}

#[test]
fn claims_are_kept_up_to_their_number() {
    let mut teller = Teller::with(FleetSettings {
        claims_max: 3,
        ..FleetSettings::default()
    });
    for _ in 0..10 {
        teller.probe();
        teller.pass(1.0);
    }
    let claims = &teller.fleet.components["bridge"].claims;
    assert_eq!((claims.answers.len(), claims.messages.len()), (3, 3));
}

#[test]
fn the_oldest_events_leave_where_all_together_are_too_many() {
    let mut teller = evidence(EvidenceLimits {
        events_max: 100,
        events_total_max: 100,
        ..EvidenceLimits::default()
    });
    assert_eq!(
        teller.fleet.register(target("other"), teller.now),
        Ok(false)
    );
    for (component_id, count) in [("other", 60), ("bridge", 60)] {
        let told = report(&teller, component_id, 1, count);
        assert_eq!(
            teller.fleet.report(&told, teller.now).recorded,
            count as u32
        );
    }
    assert_eq!(teller.fleet.events_held, 100);
    let held = |id: &str| teller.fleet.components[id].evidence.events_held();
    assert_eq!((held("other"), held("bridge")), (60, 40));
    assert_eq!(teller.fleet.self_report(teller.now).evidence_evicted, 20);
}

#[test]
fn what_nobody_registered_is_bounded_and_in_nobodys_way() {
    let mut teller = evidence(EvidenceLimits {
        unregistered_max: 2,
        events_max: 200,
        events_total_max: 200,
        ..EvidenceLimits::default()
    });
    let known = report(&teller, "bridge", 1, 180);
    teller.fleet.report(&known, teller.now);
    for stranger in ["a", "b", "c"] {
        teller.pass(0.1);
        let told = report(&teller, stranger, 1, 15);
        assert_eq!(teller.fleet.report(&told, teller.now).recorded, 15);
    }
    // A tenth of all is theirs; the one that was silent longest is forgotten.
    assert_eq!(teller.fleet.unregistered.held(), 20);
    assert_eq!(teller.fleet.events_held, 200);
    let held = |teller: &Teller, id: &str| teller.fleet.components[id].evidence.events_held();
    assert_eq!(held(&teller, "bridge"), 180);
    assert_eq!(teller.fleet.self_report(teller.now).evidence_evicted, 25);
    for (late, events) in [("a", 0), ("b", 5), ("c", 15)] {
        assert_eq!(teller.fleet.register(target(late), teller.now), Ok(false));
        assert_eq!(held(&teller, late), events, "{late}");
    }
    assert_eq!(teller.fleet.events_held, 200);
}

#[test]
fn where_nothing_unregistered_is_kept_nothing_is() {
    let mut teller = evidence(EvidenceLimits {
        unregistered_max: 0,
        ..EvidenceLimits::default()
    });
    let told = report(&teller, "stranger", 1, 3);
    assert_eq!(teller.fleet.report(&told, teller.now).recorded, 0);
    assert_eq!(teller.fleet.events_held, 0);
    let told = report(&teller, "bridge", 1, 3);
    assert_eq!(teller.fleet.report(&told, teller.now).recorded, 3);
}

#[tokio::test(start_paused = true)]
async fn senders_wait_where_the_mailbox_is_full_and_questions_have_a_deadline() {
    let settings = FleetSettings {
        mailbox_max: 16,
        answer_deadline: Duration::from_secs(2),
        ..FleetSettings::default()
    };
    let clock = Clock::simulated();
    let (fleet, run) = crate::fleet::start(settings, identity(), clock, Nobody, Outbox::closed());
    let (told, mut telling) = mpsc::channel(32);
    for number in 0..17 {
        let (fleet, told) = (fleet.clone(), told.clone());
        tokio::spawn(async move {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let target = target(&format!("component-{number}"));
            fleet.tell(Command::Register { target, reply }).await;
            told.send(()).await.unwrap();
            assert_eq!(answer.await, Ok(Ok(false)));
        });
    }
    for _ in 0..16 {
        telling.recv().await.unwrap();
    }
    let asked = fleet.ask(|reply| Command::List { reply }).await;
    assert_eq!(
        asked.map(|list| list.len()),
        Err(FleetError::Timeout(settings.answer_deadline))
    );
    assert!(telling.try_recv().is_err(), "the seventeenth found a place");
    tokio::spawn(run);
    telling.recv().await.unwrap();
    let list = fleet.ask(|reply| Command::List { reply }).await;
    assert_eq!(list.map(|list| list.len()), Ok(17));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_too_far_behind_is_told_how_much_it_missed() {
    let settings = FleetSettings {
        finding_backlog_max: 2,
        ..FleetSettings::default()
    };
    let clock = Clock::simulated();
    let (fleet, run) = crate::fleet::start(settings, identity(), clock, Nobody, Outbox::closed());
    tokio::spawn(run);
    let (_, mut slow) = fleet
        .ask(|reply| Command::WatchFindings { reply })
        .await
        .unwrap();
    let (_, mut quick) = fleet
        .ask(|reply| Command::WatchFindings { reply })
        .await
        .unwrap();
    for number in 0..4 {
        let id = format!("component-{number}");
        let target = target(&id);
        let registered = fleet.ask(|reply| Command::Register { target, reply }).await;
        assert_eq!(registered, Ok(Ok(false)));
        let error = CallError::Unreachable("connection refused".into());
        for _ in 0..2 {
            let event = ProbeEvent::Probed(Box::new(Probed {
                health: Err(error.clone()),
                nonce_echoed: false,
                metrics: Err(error.clone()),
            }));
            fleet
                .tell(Command::Probe {
                    component_id: id.as_str().into(),
                    generation: number + 1,
                    event,
                })
                .await;
        }
        let finding = quick.recv().await.unwrap();
        assert_eq!(finding.rule_id, "unreachable");
    }
    assert!(matches!(slow.recv().await, Err(RecvError::Lagged(2))));
    assert_eq!(&*slow.recv().await.unwrap().component_id, "component-2");
}
