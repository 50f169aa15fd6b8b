//! What being monitored costs the bridge: delivery delay and processor time with the monitor
//! watching and without, in turns, against one bridge under steady traffic.
#![allow(
    clippy::unwrap_used,
    reason = "it panics where the world is not as it must be"
)]

mod load;
mod processor;

use std::time::Duration;

use clap::Parser;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::process::Service;

use load::{Load, Measured};

const BRIDGE: &str = "bridge-service";
const SOON: Duration = Duration::from_secs(30);
/// Between a change and the measurement after it.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures the cost of being monitored.
#[derive(Debug, Parser)]
struct Options {
    /// Rounds; each measures both ways, and the order changes from round to round.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Length of one measurement, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// WebSocket readers, each on a thread of its own.
    #[arg(long, default_value_t = 500)]
    readers: usize,
    /// Events a second, over all threads.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    // The bridge has a core for itself; the monitor shares the other with the load.
    let bridge = Service::bridge(&[]).await;
    let monitor = Service::monitor(&[]).await;
    let pinned = processor::pin(bridge.pid(), 0) && processor::pin(monitor.pid(), 1);
    let pinned = pinned && processor::pin(std::process::id(), 1);
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    let auditor = Auditor::at(&monitor.uri());
    let mut load = Load::start(&bridge, options.readers, options.rate).await;
    let mut alone = Vec::new();
    let mut watched = Vec::new();
    for round in 0..options.rounds {
        for turn in 0..2 {
            let with = (round + turn) % 2 == 1;
            if with {
                auditor.register(BRIDGE, &bridge.uri()).await;
            }
            tokio::time::sleep(SETTLE).await;
            let span = Duration::from_secs(options.seconds);
            let measured = load.measure(&bridge, span).await;
            if with { &mut watched } else { &mut alone }.push(measured);
            if with {
                auditor.remove(BRIDGE).await.unwrap();
            }
        }
    }
    load.stop().await;
    print(&options, pinned, &alone, &watched);
}

fn print(options: &Options, pinned: bool, alone: &[Measured], watched: &[Measured]) {
    let Options {
        rounds,
        seconds,
        readers,
        rate,
    } = options;
    println!(
        "{rate} events/s to {readers} readers, {rounds} rounds of {seconds} s each way, medians; \
         {}",
        if pinned {
            "bridge on core 0, load and monitor on core 1"
        } else {
            "not pinned"
        }
    );
    println!();
    println!("| | p50 ms | p99 ms | p99.9 ms | bridge CPU % of a core | delivered/s |");
    println!("|---|---|---|---|---|---|");
    for (name, rows) in [("alone", alone), ("monitored", watched)] {
        println!(
            "| {name} | {:.3} | {:.3} | {:.3} | {:.2} | {:.0} |",
            median(rows, |row| row.p50_ms),
            median(rows, |row| row.p99_ms),
            median(rows, |row| row.p999_ms),
            median(rows, |row| row.cpu_percent),
            median(rows, |row| row.delivered_per_second),
        );
    }
    let p99 = median(watched, |row| row.p99_ms) - median(alone, |row| row.p99_ms);
    let cpu = median(watched, |row| row.cpu_percent) / median(alone, |row| row.cpu_percent);
    println!();
    println!("monitored - alone: p99 {p99:+.3} ms; monitored / alone: CPU {cpu:.3}");
    let lost: u64 = alone
        .iter()
        .chain(watched)
        .map(|row| row.out_of_order)
        .sum();
    println!("events lost, repeated or out of order at a reader: {lost}");
}

fn median(rows: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    let mut values: Vec<f64> = rows.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}
