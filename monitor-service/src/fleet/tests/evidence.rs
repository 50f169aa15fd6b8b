//! What witnesses and counters tell between the audits.

use std::time::Duration;

use super::teller::Teller;
use crate::audit::testing::{answer, metrics_claim, sighting};
use crate::domain::{DeliveryClaim, Posting, ProbeEvent, Probed, Vantage, WitnessReport};

fn report(teller: &Teller, number: u64, sequence: u64) -> WitnessReport {
    WitnessReport {
        observer_id: "numbered".into(),
        vantage: Vantage::Consumer,
        component_id: "bridge".into(),
        sightings: vec![sighting("t", sequence, "e", teller.now)],
        reading: vec!["t".into()],
        sign_off: false,
        posting: Posting {
            session_id: "session".into(),
            number,
            next_within: Some(Duration::from_secs(2)),
            ..Posting::default()
        },
    }
}

#[test]
fn a_number_that_was_taken_changes_nothing() {
    let mut teller = Teller::new();
    let first = report(&teller, 1, 1);
    let outcome = teller.fleet.report(&first, teller.now);
    assert_eq!((outcome.recorded, outcome.repeated), (1, 0));
    // The same number with other contents is the same report, spoiled on its way.
    let other = report(&teller, 1, 2);
    let outcome = teller.fleet.report(&other, teller.now);
    assert_eq!((outcome.recorded, outcome.repeated), (0, 1));
    assert_eq!(
        teller
            .fleet
            .thread("bridge", "t", teller.now)
            .unwrap()
            .consumed,
        1
    );
}

#[test]
fn a_witness_that_dies_is_found_and_one_that_signs_off_is_not() {
    for signs_off in [false, true] {
        let mut teller = Teller::new();
        for number in 1..=5 {
            let mut told = report(&teller, number, number);
            told.sign_off = signs_off && number == 5;
            teller.fleet.report(&told, teller.now);
            teller.pass(0.5);
        }
        teller.pass(5.0);
        let expected: &[&str] = match signs_off {
            true => &[],
            false => &["evidence_channel_dead"],
        };
        assert_eq!(teller.open(), expected);
    }
}

#[test]
fn a_report_that_is_given_up_is_counted() {
    let mut teller = Teller::new();
    for number in [1, 3, 4, 5] {
        let told = report(&teller, number, number);
        teller.fleet.report(&told, teller.now);
        teller.pass(6.0);
    }
    assert_eq!(teller.fleet.self_report(teller.now).reports_missing, 1);
}

#[test]
fn counters_are_judged_between_the_audits() {
    let mut teller = Teller::new();
    // The watch stream and the first audit of this story tell nothing of deliveries.
    teller.change = |_, metrics| metrics.delivery = None;
    let mut counters = DeliveryClaim {
        connections_open: 1,
        connections_opened: 1,
        ..DeliveryClaim::default()
    };
    for second in 0..12 {
        counters.accepted += 2;
        counters.delivered += 2;
        counters.acknowledged += if second < 5 { 2 } else { 0 };
        let mut metrics = metrics_claim(teller.now);
        metrics.delivery = Some(counters.clone());
        let (health, _) = teller.health();
        let glanced = Probed {
            health: Ok(answer(health, teller.now)),
            nonce_echoed: true,
            metrics: Ok(answer(metrics, teller.now)),
        };
        teller.event(ProbeEvent::Glanced(Box::new(glanced)));
        teller.pass(1.0);
        if second < 8 {
            assert_eq!(teller.history(), [""; 0]);
        }
    }
    assert_eq!(teller.open(), ["half_open_connections"]);
}
