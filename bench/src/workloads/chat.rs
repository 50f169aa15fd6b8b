//! W2, chat: 10,000 threads with a reader each.

use super::Plan;
use super::delivery::{Delivery, Mode, ratio, row, tables};
use crate::failure::Failure;
use crate::load::Pace;
use crate::report::{Bar, Section};
use crate::systems::System;
use crate::systems::bridge::FILLING;

/// Readers, each with a thread of its own.
pub(super) const READERS: usize = 10_000;
/// Events a second, where they are paced.
pub(super) const STEADY_RATE: f64 = 5_000.0;
const PACED: &str = "5,000 events/s";
const SATURATED: &str = "256 under way";

const DELIVERY: Delivery = Delivery {
    readers: READERS,
    threads: READERS,
    filling: FILLING,
    filling_under_way: 256,
    modes: &[
        Mode {
            name: PACED,
            pace: Pace::PerSecond(STEADY_RATE),
            unary: false,
        },
        Mode {
            name: SATURATED,
            pace: Pace::UnderWay(256),
            unary: true,
        },
    ],
};

/// Measures it.
///
/// # Errors
/// Never; what fails is a row's failure.
pub(super) async fn run(plan: &Plan) -> Result<Section, Failure> {
    let rows = DELIVERY.run(plan).await;
    let rate = |bridge, peer| {
        ratio(&rows, SATURATED, bridge, peer, |figures| {
            figures.events_per_second
        })
    };
    let cpu = ratio(&rows, PACED, System::Bridge, System::Uws, |figures| {
        figures.cpu_us_per_delivery
    });
    let p99 = row(&rows, PACED, System::Bridge).map(|row| row.median(|figures| figures.p99_us));
    let (stream, unary) = (System::Bridge, System::BridgeUnary);
    let bars = vec![
        Bar::at_least(
            "saturated, publish stream, events/s ÷ uWebSockets",
            rate(stream, System::Uws),
            0.8,
            Some(1.0),
        ),
        Bar::at_least(
            "saturated, publish stream, events/s ÷ nchan",
            rate(stream, System::Nchan),
            2.2,
            None,
        ),
        Bar::at_least(
            "saturated, one unary call an event, events/s ÷ uWebSockets",
            rate(unary, System::Uws),
            0.6,
            Some(0.7),
        ),
        Bar::at_least(
            "saturated, one unary call an event, events/s ÷ nchan",
            rate(unary, System::Nchan),
            1.6,
            None,
        ),
        Bar::at_most("paced, CPU ÷ uWebSockets", cpu, 1.2, None),
        Bar::at_most(
            "paced, p99 µs",
            p99.filter(|p99| p99.is_finite()),
            1_000.0,
            Some(400.0),
        ),
    ];
    Ok(
        Section::new("W2 chat: 10,000 threads with a reader each, 256 B")
            .tables(tables(&rows, DELIVERY.modes, false))
            .bars(bars)
            .data(&rows),
    )
}
