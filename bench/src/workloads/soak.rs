//! The soak: memory over minutes, of the bridge under W2's paced load and of the monitor with W4's
//! many components, both at once.

use std::time::Duration;

use serde::Serialize;

use super::Plan;
use super::audits::{HISTORY, MANY, with_full_histories};
use super::chat::{READERS, STEADY_RATE};
use crate::audits::crowd::Crowd;
use crate::failure::Failure;
use crate::load::{Load, Pace, Until};
use crate::report::{Bar, Section, Table, number};
use crate::systems::System;
use crate::systems::bridge::FILLING;

const MINUTE: Duration = Duration::from_secs(60);
/// Between two audits of a component, and between two beats of its stream: a third of what a core can
/// make, as both services share one, and the crowd and the load the other. Where these are full the
/// components are late, and what is kept of findings and of audits that differ is measured instead.
const AUDIT_INTERVAL: &str = "3s";
const BEAT_INTERVAL: &str = "5s";
/// Minutes in which what is kept on purpose settles.
const WARM_UP: u64 = 2;
/// Growth after that, in percent, that still counts as flat: what an allocator keeps moves by it.
const FLAT_PERCENT: f64 = 5.0;

/// Resident memory at the end of a minute.
#[derive(Clone, Copy, Debug, Serialize)]
struct Minute {
    minute: u64,
    bridge_kib: u64,
    monitor_kib: u64,
}

/// Runs for as many minutes as the plan has.
///
/// # Errors
/// Where something does not start or stops.
pub(super) async fn run(plan: &Plan) -> Result<Section, Failure> {
    eprintln!("    the histories of {MANY} components fill");
    let crowd = Crowd::start(MANY)?;
    let flags = [
        ["--probe-audit-interval", AUDIT_INTERVAL],
        ["--probe-beat-interval", BEAT_INTERVAL],
    ]
    .concat();
    let subject = with_full_histories(&crowd, &flags).await?.subject;
    let running = System::Bridge.start()?;
    let mut load = Load::connect(&running, READERS, READERS)?;
    load.run(Pace::UnderWay(256), Until::Sent(FILLING)).await?;
    load.settle().await?;
    let mut minutes = Vec::new();
    for minute in 1..=plan.minutes {
        load.run(Pace::PerSecond(STEADY_RATE), Until::Passed(MINUTE))
            .await?;
        let now = Minute {
            minute,
            bridge_kib: running.server.resident_kib(),
            monitor_kib: subject.resident_kib(),
        };
        let Minute {
            bridge_kib,
            monitor_kib,
            ..
        } = now;
        eprintln!("    minute {minute}: bridge {bridge_kib} KiB, monitor {monitor_kib} KiB");
        minutes.push(now);
    }
    load.settle().await?;
    let growth = |of: fn(&Minute) -> u64| {
        let warm = minutes.iter().find(|minute| minute.minute == WARM_UP)?;
        let last = minutes.last().filter(|last| last.minute > WARM_UP)?;
        Some(100.0 * (of(last) as f64 / of(warm) as f64 - 1.0))
    };
    let bars = vec![
        Bar::at_most(
            "bridge, growth from minute 2 to the last, %",
            growth(|minute| minute.bridge_kib),
            FLAT_PERCENT,
            None,
        ),
        Bar::at_most(
            "monitor, growth from minute 2 to the last, %",
            growth(|minute| minute.monitor_kib),
            FLAT_PERCENT,
            None,
        ),
    ];
    Ok(Section::new("Soak: memory in W2 and W4")
        .note(format!(
            "The bridge with {READERS} readers, a thread each, and {STEADY_RATE} events/s; the \
             monitor with {MANY} components, a watch stream and {HISTORY} audits of history each, \
             audited every {AUDIT_INTERVAL}; both on one core. {} events were sent, {} faults: {}.",
            load.sent(),
            if load.faults().none() { "no" } else { "FAILED" },
            load.faults()
        ))
        .tables(vec![table(&minutes)])
        .bars(bars)
        .data(&minutes))
}

fn table(minutes: &[Minute]) -> Table {
    let header = ["minute", "bridge MiB", "monitor MiB"];
    let mib = |kib: u64| number(kib as f64 / 1024.0);
    let line = |minute: &Minute| {
        vec![
            minute.minute.to_string(),
            mib(minute.bridge_kib),
            mib(minute.monitor_kib),
        ]
    };
    Table {
        caption: String::new(),
        header: header.map(str::to_owned).to_vec(),
        lines: minutes.iter().map(line).collect(),
    }
}
