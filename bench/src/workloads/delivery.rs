//! Messages from one publisher to many readers, through every system in turns.

use std::time::Duration;

use crate::cpu::AGAIN;
use crate::failure::Failure;
use crate::load::{Load, Pace, Until};
use crate::report::{Table, number};
use crate::result::{Figures, Row};
use crate::systems::System;
use crate::workloads::Plan;

/// One way to load a system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    pub(crate) pace: Pace,
    /// Whether the bridge is also measured with one unary call an event.
    pub(crate) unary: bool,
}

/// Readers, threads and modes of one workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub(crate) readers: usize,
    pub(crate) threads: usize,
    /// Messages that fill the bridge's replay windows before anything is measured; peers have none.
    pub(crate) filling: u64,
    /// Messages under way meanwhile.
    pub(crate) filling_under_way: u64,
    pub(crate) modes: &'static [Mode],
}

/// Before each measurement the same load runs unmeasured for this part of its length.
const WARM_UP: f64 = 0.25;

impl Delivery {
    /// Measures every system once a round; returns a row for each mode and system.
    pub(crate) async fn run(&self, plan: &Plan) -> Vec<Row> {
        let mut rows = Vec::new();
        for mode in self.modes {
            for system in plan.systems.iter().filter(|system| mode.is_for(**system)) {
                rows.push(Row {
                    system: system.name(),
                    mode: mode.name,
                    rounds: Vec::new(),
                    failures: Vec::new(),
                });
            }
        }
        for round in 0..plan.rounds {
            let measured = |system| self.modes.iter().any(|mode| mode.is_for(system));
            for system in plan.order(round, measured) {
                eprintln!("    round {}, {}", round + 1, system.name());
                self.measure(system, plan.seconds, &mut rows).await;
            }
        }
        rows
    }

    /// Measures every mode of a system on the same connections.
    async fn measure(&self, system: System, seconds: f64, rows: &mut [Row]) {
        let modes = self.modes.iter().filter(|mode| mode.is_for(system));
        let mut measured: Vec<(&str, Result<Figures, Failure>)> = Vec::new();
        match self.connect(system).await {
            Err(failure) => {
                measured.extend(modes.map(|mode| (mode.name, Err(failure.clone()))));
            }
            Ok((running, mut load)) => {
                for mode in modes {
                    let warm_up = Until::Passed(Duration::from_secs_f64(seconds * WARM_UP));
                    let span = Duration::from_secs_f64(seconds);
                    let mut figures = match load.run(mode.pace, warm_up).await {
                        Ok(()) => load.measure(&running.server, mode.pace, span).await,
                        Err(failure) => Err(failure),
                    };
                    for _ in 0..AGAIN {
                        if figures.as_ref().is_ok_and(Figures::disturbed) {
                            figures = load.measure(&running.server, mode.pace, span).await;
                        }
                    }
                    measured.push((mode.name, figures));
                }
            }
        }
        for (mode, figures) in measured {
            let row = rows
                .iter_mut()
                .find(|row| row.mode == mode && row.system == system.name());
            let Some(row) = row else { continue };
            match figures {
                Ok(figures) if figures.faults.none() => row.rounds.push(figures),
                Ok(figures) => row.failures.push(figures.faults.to_string()),
                Err(failure) => row.failures.push(failure.to_string()),
            }
        }
    }

    async fn connect(&self, system: System) -> Result<(crate::systems::Running, Load), Failure> {
        let running = system.start()?;
        let mut load = Load::connect(&running, self.readers, self.threads)?;
        if matches!(system, System::Bridge | System::BridgeUnary) {
            let pace = Pace::UnderWay(self.filling_under_way);
            load.run(pace, Until::Sent(self.filling)).await?;
            load.settle().await?;
        }
        Ok((running, load))
    }
}

impl Mode {
    fn is_for(&self, system: System) -> bool {
        system != System::BridgeUnary || self.unary
    }
}

/// The row of a mode and a system.
pub(crate) fn row<'a>(rows: &'a [Row], mode: &str, system: System) -> Option<&'a Row> {
    rows.iter()
        .find(|row| row.mode == mode && row.system == system.name())
}

/// The bridge's median over a peer's; `None` where either was not measured.
pub(crate) fn ratio(
    rows: &[Row],
    mode: &str,
    bridge: System,
    peer: System,
    of: impl Fn(&Figures) -> f64,
) -> Option<f64> {
    let bridge = row(rows, mode, bridge)?.median(&of);
    let peer = row(rows, mode, peer)?.median(&of);
    let ratio = bridge / peer;
    ratio.is_finite().then_some(ratio)
}

/// A table for each mode.
pub(crate) fn tables(rows: &[Row], modes: &[Mode], fan: bool) -> Vec<Table> {
    modes
        .iter()
        .map(|mode| table(rows, mode.name, fan))
        .collect()
}

fn table(rows: &[Row], mode: &str, fan: bool) -> Table {
    let what = if fan { "deliveries/s" } else { "events/s" };
    let each = if fan {
        "CPU µs/delivery"
    } else {
        "CPU µs/event"
    };
    let header = [
        "",
        what,
        each,
        "p50 µs",
        "p99 µs",
        "RSS MiB",
        "server CPU %",
        "load CPU %",
        "× uWebSockets",
    ];
    let of_peer = row(rows, mode, System::Uws);
    let rate = |figures: &Figures| figures.deliveries_per_second;
    let lines = rows.iter().filter(|row| row.mode == mode).map(|row| {
        let peer = of_peer.map_or(f64::NAN, |peer| peer.median(rate));
        vec![
            row.name(row.system),
            number(row.median(rate)),
            number(row.median(|figures| figures.cpu_us_per_delivery)),
            number(row.median(|figures| figures.p50_us)),
            number(row.median(|figures| figures.p99_us)),
            number(row.median(|figures| figures.resident_kib) / 1024.0),
            number(row.median(|figures| figures.server_cpu_percent)),
            number(row.median(|figures| figures.load_cpu_percent)),
            number(row.median(rate) / peer),
        ]
    });
    Table {
        caption: mode.to_owned(),
        header: header.map(str::to_owned).to_vec(),
        lines: lines.collect(),
    }
}
