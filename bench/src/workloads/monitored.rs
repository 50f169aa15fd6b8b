//! W6, the cost of being monitored: steady traffic with the monitor watching and without, in
//! turns, through the same bridge.

use std::time::Duration;

use monitorable::monitor::v1::monitor_client::MonitorClient;
use monitorable::monitor::v1::{Component, RegisterComponentRequest, RemoveComponentRequest};
use tonic::transport::Channel;

use super::Plan;
use crate::failure::Failure;
use crate::load::{Load, Pace, Until};
use crate::machine::LOAD_CORE;
use crate::process::Server;
use crate::report::{Bar, Section, Table, number};
use crate::result::Row;
use crate::systems::bridge::{self, Bridge, FILLING, STEADY};

const BRIDGE: &str = "bridge-service";
const READERS: usize = 500;
const EVENTS_PER_SECOND: f64 = 2_000.0;
const ALONE: &str = "alone";
const MONITORED: &str = "monitored";
/// Between a change and the measurement after it.
const SETTLE: Duration = Duration::from_secs(2);
/// A measurement is so many times as long as others: a beat comes each second, a synthetic run
/// each three, and both must weigh as they do in a day.
const LONGER: f64 = 3.0;

/// Measures it.
///
/// # Errors
/// Where a service does not start or answer.
pub(super) async fn run(plan: &Plan) -> Result<Section, Failure> {
    let bridge = Bridge::start(&STEADY)?;
    let endpoint = format!("http://{}", bridge.grpc);
    // The monitor shares the load's core: what it takes is not counted as the bridge's.
    let mut command = bridge::service("monitor-service")?;
    let names = ["grpc", "http"];
    let (_monitor, addresses) = Server::announced(&mut command, LOAD_CORE, &names)?;
    let mut monitor = MonitorClient::new(bridge::channel(addresses[0])?);
    let running = bridge.running(false);
    let mut load = Load::connect(&running, READERS, READERS)?;
    load.run(Pace::UnderWay(256), Until::Sent(FILLING)).await?;
    load.settle().await?;
    let row = |mode| Row {
        system: BRIDGE,
        mode,
        rounds: Vec::new(),
        failures: Vec::new(),
    };
    let mut rows = [row(ALONE), row(MONITORED)];
    let pace = Pace::PerSecond(EVENTS_PER_SECOND);
    let span = Duration::from_secs_f64(plan.seconds * LONGER);
    for round in 0..plan.rounds {
        for turn in 0..2 {
            let watched = (round + turn) % 2;
            eprintln!("    round {}, {}", round + 1, rows[watched].mode);
            if watched == 1 {
                register(&mut monitor, &endpoint).await?;
            }
            load.run(pace, Until::Passed(SETTLE)).await?;
            let figures = load.measure(&running.server, pace, span).await?;
            if figures.faults.none() {
                rows[watched].rounds.push(figures);
            } else {
                rows[watched].failures.push(figures.faults.to_string());
            }
            if watched == 1 {
                remove(&mut monitor).await?;
            }
        }
    }
    Ok(section(&rows, span))
}

fn section(rows: &[Row; 2], span: Duration) -> Section {
    let header = [
        "",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "bridge, % of a core",
        "delivered/s",
    ];
    let lines = rows.iter().map(|row| {
        vec![
            row.name(row.mode),
            format!("{:.3}", row.median(|figures| figures.p50_us) / 1e3),
            format!("{:.3}", row.median(|figures| figures.p99_us) / 1e3),
            format!("{:.3}", row.median(|figures| figures.p999_us) / 1e3),
            number(row.median(|figures| figures.server_cpu_percent)),
            number(row.median(|figures| figures.deliveries_per_second)),
        ]
    });
    let table = Table {
        caption: String::new(),
        header: header.map(str::to_owned).to_vec(),
        lines: lines.collect(),
    };
    let [alone, watched] = rows;
    let p99 = |row: &Row| row.median(|figures| figures.p99_us);
    let cpu = |row: &Row| row.median(|figures| figures.server_cpu_percent);
    let finite = |value: f64| value.is_finite().then_some(value);
    let later = finite((p99(watched) - p99(alone)) / 1e3);
    let more = finite(100.0 * (cpu(watched) / cpu(alone) - 1.0));
    Section::new("W6 the cost of being monitored")
        .note(format!(
            "{EVENTS_PER_SECOND} events/s of 256 B to {READERS} readers with a thread each, {} s \
             each way in a round. Monitored is everything at its default: the health stream with a \
             beat every second, both calls once a second, audits, and a synthetic run every three \
             seconds. The monitor shares the load's core.",
            span.as_secs()
        ))
        .tables(vec![table])
        .bars(vec![
            Bar::at_most("added at p99, ms", later, 5.0, Some(0.2)),
            Bar::at_most("added to the bridge's CPU, %", more, None, Some(2.0)),
        ])
        .data(rows)
}

async fn register(monitor: &mut MonitorClient<Channel>, endpoint: &str) -> Result<(), Failure> {
    let component = Component {
        component_id: BRIDGE.to_owned(),
        endpoint: endpoint.to_owned(),
        ..Component::default()
    };
    let request = RegisterComponentRequest {
        component: Some(component),
    };
    let registered = monitor.register_component(request).await;
    registered
        .map(drop)
        .map_err(|status| Failure::new(status.to_string()))
}

async fn remove(monitor: &mut MonitorClient<Channel>) -> Result<(), Failure> {
    let request = RemoveComponentRequest {
        component_id: BRIDGE.to_owned(),
    };
    let removed = monitor.remove_component(request).await;
    removed
        .map(drop)
        .map_err(|status| Failure::new(status.to_string()))
}
