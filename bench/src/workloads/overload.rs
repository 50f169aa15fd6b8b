//! Overload: twice the load that saturates the bridge, with readers that never read. What it
//! cannot take it must hold back or shed by its limits, and its health must say what is so.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use monitorable::monitorable::v1::monitorable_client::MonitorableClient;
use monitorable::monitorable::v1::{
    DeliveryMetrics, GetHealthStatusRequest, GetMetricsRequest, Metrics, State,
};
use serde::Serialize;
use service_kit::clock::Clock;
use tonic::transport::Channel;

use super::Plan;
use crate::failure::Failure;
use crate::load::{Load, Pace, Until};
use crate::readers::stalled;
use crate::report::{Bar, Section, Table, number};
use crate::result::Figures;
use crate::systems::bridge::{Bridge, FILLING, STEADY, channel};

/// Few, so that each thread has much to deliver.
const READERS: usize = 20;
/// Readers that never read, each beside one that does.
const STALLED: usize = 10;
const CALM: Pace = Pace::PerSecond(5_000.0);
/// Longer than it takes to fill what a reader that never reads may lag, and to tell it goodbye.
const SPAN: Duration = Duration::from_secs(8);
/// How often health is asked meanwhile.
const ASK: Duration = Duration::from_millis(50);
const LONGEST_ANSWER: u64 = 60_000_000;

/// What was seen.
#[derive(Clone, Debug, Serialize)]
struct Seen {
    before: Figures,
    saturated: Figures,
    overloaded: Figures,
    after: Figures,
    offered_per_second: f64,
    held_back: u64,
    /// Stalled readers that the bridge closed as too slow.
    closed_too_slow: u64,
    health: Answers,
    /// Whether the conservation law held at the end, and the bridge counted what was sent.
    law_holds: bool,
}

/// How health answered meanwhile.
#[derive(Clone, Debug, Default, Serialize)]
struct Answers {
    asked: u64,
    healthy: u64,
    failed: u64,
    p50_us: u64,
    p99_us: u64,
    longest_us: u64,
}

/// Measures it once.
///
/// # Errors
/// Where the bridge refuses or stops: it must do neither.
pub(super) async fn run(plan: &Plan) -> Result<Section, Failure> {
    let bridge = Bridge::start(&STEADY)?;
    let (grpc, http) = (bridge.grpc, bridge.http);
    let running = bridge.running(false);
    let mut health = MonitorableClient::new(channel(grpc)?);
    let mut load = Load::connect(&running, READERS, READERS)?;
    load.run(Pace::UnderWay(256), Until::Sent(FILLING)).await?;
    load.settle().await?;
    let span = Duration::from_secs_f64(plan.seconds);
    let before = load.measure(&running.server, CALM, span).await?;
    let saturated = load
        .measure(&running.server, Pace::UnderWay(256), span)
        .await?;
    let path = |index| Bridge::path(&format!("t{index}"));
    let _stalled = (0..STALLED)
        .map(|index| stalled(http, &path(index)))
        .collect::<Result<Vec<_>, _>>()?;
    let offered = 2.0 * saturated.events_per_second;
    let held_back = load.held_back;
    let notes = Arc::new(Mutex::new(Notes::new()?));
    let asking = tokio::spawn(ask(health.clone(), notes.clone()));
    let overloaded = load
        .measure(&running.server, Pace::PerSecond(offered), SPAN)
        .await;
    asking.abort();
    let overloaded = overloaded?;
    let after = load.measure(&running.server, CALM, span).await?;
    let metrics = health.get_metrics(GetMetricsRequest {}).await;
    let metrics = metrics.map_err(|status| Failure::new(status.to_string()))?;
    let metrics = metrics.into_inner().metrics.unwrap_or_default();
    let seen = Seen {
        before,
        saturated,
        overloaded,
        after,
        offered_per_second: offered,
        held_back: load.held_back - held_back,
        closed_too_slow: closed_too_slow(&metrics),
        health: notes
            .lock()
            .map(|notes| notes.answers())
            .unwrap_or_default(),
        law_holds: law_holds(&metrics.delivery.unwrap_or_default(), load.sent()),
    };
    Ok(section(&seen))
}

fn closed_too_slow(metrics: &Metrics) -> u64 {
    let closed = metrics.gauges.get("connections_closed_too_slow");
    closed.map_or(0, |count| *count as u64)
}

fn law_holds(delivery: &DeliveryMetrics, sent: u64) -> bool {
    let dropped: u64 = delivery.events_dropped.values().sum();
    let sum =
        delivery.events_delivered + delivery.events_expired + dropped + delivery.events_pending;
    delivery.events_accepted == sum && sum == sent
}

/// What the asking found.
struct Notes {
    delays: Histogram<u64>,
    healthy: u64,
    failed: u64,
}

impl Notes {
    fn new() -> Result<Self, Failure> {
        let delays = Histogram::new_with_bounds(1, LONGEST_ANSWER, 3);
        Ok(Self {
            delays: delays.map_err(|error| Failure::new(error.to_string()))?,
            healthy: 0,
            failed: 0,
        })
    }

    fn answers(&self) -> Answers {
        Answers {
            asked: self.delays.len(),
            healthy: self.healthy,
            failed: self.failed,
            p50_us: self.delays.value_at_quantile(0.5),
            p99_us: self.delays.value_at_quantile(0.99),
            longest_us: self.delays.max(),
        }
    }
}

async fn ask(mut health: MonitorableClient<Channel>, notes: Arc<Mutex<Notes>>) {
    let clock = Clock::system();
    loop {
        let asked = clock.now().monotonic;
        let answer = health
            .get_health_status(GetHealthStatusRequest::default())
            .await;
        let delay = clock.now().since(asked).as_micros() as u64;
        if let Ok(mut notes) = notes.lock() {
            notes.delays.saturating_record(delay.max(1));
            match answer.ok().and_then(|answer| answer.into_inner().health) {
                Some(status) => {
                    notes.healthy += u64::from(status.healthy && status.state() == State::Active);
                }
                None => notes.failed += 1,
            }
        }
        tokio::time::sleep(ASK).await;
    }
}

fn section(seen: &Seen) -> Section {
    let header = [
        "",
        "events/s",
        "p50 µs",
        "p99 µs",
        "server CPU %",
        "RSS MiB",
    ];
    let line = |name: &str, figures: &Figures| {
        let name = if figures.faults.none() {
            name.to_owned()
        } else {
            format!("{name} (FAILED: {})", figures.faults)
        };
        vec![
            name,
            number(figures.events_per_second),
            number(figures.p50_us),
            number(figures.p99_us),
            number(figures.server_cpu_percent),
            number(figures.resident_kib / 1024.0),
        ]
    };
    let table = Table {
        caption: String::new(),
        header: header.map(str::to_owned).to_vec(),
        lines: vec![
            line("before, 5,000 events/s", &seen.before),
            line("saturated, 256 under way", &seen.saturated),
            line("twice as much offered", &seen.overloaded),
            line("after, 5,000 events/s", &seen.after),
        ],
    };
    let Answers {
        asked,
        healthy,
        failed,
        p50_us,
        p99_us,
        longest_us,
    } = seen.health;
    let milliseconds = |microseconds: u64| number(microseconds as f64 / 1e3);
    let law = if seen.law_holds { "held" } else { "was BROKEN" };
    Section::new("Overload: twice the load that saturates the bridge")
        .note(format!(
            "One publish stream, {READERS} readers with a thread each, and {STALLED} more that never \
             read. {} events/s were offered for {} s; back-pressure held {} back at the publisher, \
             and {} of the {STALLED} stalled readers were closed as too slow. Health was asked \
             {asked} times meanwhile and said {healthy} times that all is well, {failed} calls \
             failed; it took {} ms at p50, {} ms at p99 and {} ms at most. At the end the \
             conservation law {law}, and what the bridge had accepted was what had been sent.",
            number(seen.offered_per_second),
            SPAN.as_secs(),
            number(seen.held_back as f64),
            seen.closed_too_slow,
            milliseconds(p50_us),
            milliseconds(p99_us),
            milliseconds(longest_us),
        ))
        .tables(vec![table])
        .bars(vec![
            Bar::at_least("events/s under overload ÷ saturated", finite(seen.overloaded.events_per_second / seen.saturated.events_per_second), 0.8, None),
            Bar::at_least("stalled readers closed as too slow", Some(seen.closed_too_slow as f64), STALLED as f64, None),
            Bar::at_most("longest health answer, ms", Some(longest_us as f64 / 1e3), 1_000.0, None),
            Bar::at_most("p99 after ÷ before", finite(seen.after.p99_us / seen.before.p99_us), 2.0, None),
        ])
        .data(seen)
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
