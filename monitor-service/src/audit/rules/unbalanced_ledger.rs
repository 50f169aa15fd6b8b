//! `unbalanced_ledger`: events vanish inside the component.

use service_kit::clock::Now;

use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{DeliveryClaim, EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "unbalanced_ledger",
    severity: Severity::Critical,
    summary: "the component's own counts do not add up",
    part: Part::Claims,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, _settings: &RuleSettings, _now: Now) -> Outcome {
    let Some((metrics, at)) = &view.claims.metrics else {
        return Outcome::Undecided("no counters were claimed yet");
    };
    let Some(delivery) = &metrics.delivery else {
        return Outcome::clear();
    };
    let broken = [
        conservation(delivery, *at),
        acknowledged(delivery, *at),
        connections(delivery, *at),
    ];
    Outcome::Decided(broken.into_iter().flatten().collect())
}

fn conservation(delivery: &DeliveryClaim, at: Now) -> Option<Violation> {
    let remainder = delivery.remainder();
    let dropped: u128 = delivery
        .dropped
        .values()
        .map(|count| u128::from(*count))
        .sum();
    (remainder != 0).then(|| {
        violation(
            "events",
            format!(
                "Of {} events accepted, {} delivered, {} expired, {dropped} dropped and {} \
                 pending leave a remainder of {remainder}; 0 is allowed.",
                delivery.accepted, delivery.delivered, delivery.expired, delivery.pending,
            ),
            format!("{} accepted", delivery.accepted),
            format!("{remainder} of them in no stage"),
            at,
        )
    })
}

fn acknowledged(delivery: &DeliveryClaim, at: Now) -> Option<Violation> {
    (delivery.acknowledged > delivery.delivered).then(|| {
        violation(
            "acknowledged",
            format!(
                "{} events are acknowledged; at most the {} delivered can be.",
                delivery.acknowledged, delivery.delivered
            ),
            format!("{} delivered", delivery.delivered),
            format!("{} acknowledged", delivery.acknowledged),
            at,
        )
    })
}

fn connections(delivery: &DeliveryClaim, at: Now) -> Option<Violation> {
    let sum = u128::from(delivery.connections_open) + u128::from(delivery.connections_closed);
    (u128::from(delivery.connections_opened) != sum).then(|| {
        violation(
            "connections",
            format!(
                "{} connections were opened; open and closed ones add up to {sum}.",
                delivery.connections_opened
            ),
            format!("{} opened", delivery.connections_opened),
            format!(
                "{} open, {} closed",
                delivery.connections_open, delivery.connections_closed
            ),
            at,
        )
    })
}

fn violation(
    subject: &str,
    message: String,
    claimed: String,
    observed: String,
    at: Now,
) -> Violation {
    Violation {
        subject: subject.to_owned(),
        message,
        evidence: vec![EvidenceItem {
            source: "claim".into(),
            claimed,
            observed,
            at: at.wall,
        }],
        conclusive: true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::audit::testing::Scene;
    use crate::domain::DeliveryClaim;

    const ID: &str = "unbalanced_ledger";

    #[test]
    fn a_vanished_event_is_found() {
        let mut scene = Scene::healthy();
        scene.probe_with(|_, metrics| {
            metrics.delivery = Some(DeliveryClaim {
                accepted: 10,
                delivered: 7,
                pending: 2,
                ..DeliveryClaim::default()
            });
        });
        scene.assert_conclusive(ID, "leave a remainder of 1; 0 is allowed");
    }

    #[test]
    fn more_acknowledged_than_delivered_is_found() {
        let mut scene = Scene::healthy();
        scene.probe_with(|_, metrics| {
            metrics.delivery = Some(DeliveryClaim {
                accepted: 1,
                delivered: 1,
                acknowledged: 2,
                ..DeliveryClaim::default()
            });
        });
        scene.assert_conclusive(
            ID,
            "2 events are acknowledged; at most the 1 delivered can be",
        );
    }

    #[test]
    fn connections_that_do_not_add_up_are_found() {
        let mut scene = Scene::healthy();
        scene.probe_with(|_, metrics| {
            metrics.delivery = Some(DeliveryClaim {
                connections_opened: 5,
                connections_open: 1,
                connections_closed: 3,
                ..DeliveryClaim::default()
            });
        });
        scene.assert_conclusive(
            ID,
            "5 connections were opened; open and closed ones add up to 4",
        );
    }

    #[test]
    fn a_component_that_delivers_nothing_is_quiet() {
        let mut scene = Scene::healthy();
        scene.probe_with(|_, metrics| metrics.delivery = None);
        scene.assert_quiet(ID);
    }

    proptest! {
        /// Heavy load with every stage busy is quiet; one event too many or too few is not.
        #[test]
        fn only_a_remainder_breaks_it(
            delivered in 0_u64..1 << 40,
            expired in 0_u64..1 << 40,
            pending in 0_u64..1 << 40,
            drops in proptest::collection::btree_map("[a-z]{1,6}", 0_u64..1 << 40, 0..4),
            off in -3_i64..=3,
        ) {
            let dropped: u64 = drops.values().sum();
            let balanced = delivered + expired + pending + dropped;
            prop_assume!(balanced >= 3);
            let delivery = DeliveryClaim {
                accepted: balanced.checked_add_signed(off).unwrap(),
                delivered,
                expired,
                pending,
                dropped: drops.into_iter().collect::<BTreeMap<_, _>>(),
                ..DeliveryClaim::default()
            };
            prop_assert_eq!(delivery.remainder(), i128::from(off));
            let mut scene = Scene::healthy();
            scene.probe_with(|_, metrics| metrics.delivery = Some(delivery.clone()));
            if off == 0 {
                scene.assert_quiet(ID);
            } else {
                scene.assert_conclusive(ID, &format!("remainder of {off}"));
            }
        }
    }
}
