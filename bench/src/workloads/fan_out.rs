//! W1, fan-out: one thread, 1,000 readers.

use super::Plan;
use super::delivery::{Delivery, Mode, ratio, tables};
use crate::failure::Failure;
use crate::load::Pace;
use crate::report::{Bar, Section};
use crate::systems::System;

const ONE: &str = "one under way";
const MANY: &str = "64 under way";
const PACED: &str = "20 messages/s";

const DELIVERY: Delivery = Delivery {
    readers: 1_000,
    threads: 1,
    // The replay window of one thread holds 1,024 events.
    filling: 1_100,
    filling_under_way: 64,
    modes: &[
        mode(ONE, Pace::UnderWay(1)),
        mode(MANY, Pace::UnderWay(64)),
        mode(PACED, Pace::PerSecond(20.0)),
    ],
};

const fn mode(name: &'static str, pace: Pace) -> Mode {
    Mode {
        name,
        pace,
        unary: false,
    }
}

/// Measures it.
///
/// # Errors
/// Never; what fails is a row's failure.
pub(super) async fn run(plan: &Plan) -> Result<Section, Failure> {
    let rows = DELIVERY.run(plan).await;
    let rate = |mode, peer| {
        ratio(&rows, mode, System::Bridge, peer, |figures| {
            figures.deliveries_per_second
        })
    };
    let cpu = ratio(&rows, PACED, System::Bridge, System::Uws, |figures| {
        figures.cpu_us_per_delivery
    });
    let bars = vec![
        Bar::at_least(
            "one under way, deliveries/s ÷ uWebSockets",
            rate(ONE, System::Uws),
            0.9,
            Some(1.0),
        ),
        Bar::at_least(
            "64 under way, deliveries/s ÷ uWebSockets",
            rate(MANY, System::Uws),
            0.8,
            Some(1.4),
        ),
        Bar::at_least(
            "64 under way, deliveries/s ÷ NATS",
            rate(MANY, System::Nats),
            2.0,
            None,
        ),
        Bar::at_most("20 messages/s, CPU ÷ uWebSockets", cpu, 1.2, None),
    ];
    Ok(Section::new("W1 fan-out: one thread, 1,000 readers, 256 B")
        .tables(tables(&rows, DELIVERY.modes, true))
        .bars(bars)
        .data(&rows))
}
