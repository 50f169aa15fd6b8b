//! W3, idle: what a connection costs on which nothing happens but heartbeats.

use std::time::Duration;

use serde::Serialize;
use service_kit::clock::Clock;

use super::Plan;
use crate::check::Faults;
use crate::cpu::Meter;
use crate::failure::Failure;
use crate::machine;
use crate::process::Server;
use crate::readers::Readers;
use crate::report::{Bar, Section, Table, number};
use crate::systems::System;
use crate::systems::bridge::{Bridge, STEADY};

const FEW: usize = 10_000;
const MANY: usize = 50_000;
/// Files that a process has open beside its connections, with room to spare.
const OTHER_FILES: u64 = 500;
/// After the last handshake, before anything is measured.
const REST: Duration = Duration::from_secs(1);
/// A round of the bridge's heartbeats, at its default.
const HEARTBEATS: Duration = Duration::from_secs(25);
/// Peers send nothing in so short a time.
const QUIET: Duration = Duration::from_secs(4);
const MORE: [&str; 4] = [
    "--hub-connections",
    "60000",
    "--http-max-connections",
    "60000",
];

#[derive(Clone, Copy, Debug, Serialize)]
struct Idle {
    system: &'static str,
    connections: usize,
    kib_each: f64,
    /// Microseconds of processor time, each second.
    cpu_us_each: f64,
    faults: Faults,
}

/// Measures it once: memory does not vary as time does.
///
/// # Errors
/// Where a connection is refused.
pub(super) async fn run(plan: &Plan) -> Result<Section, Failure> {
    let mut rows = Vec::new();
    for system in plan.order(0, |system| system != System::BridgeUnary) {
        eprintln!("    {FEW} on {}", system.name());
        if system == System::Bridge {
            rows.push(bridge(FEW).await?);
            continue;
        }
        let running = system.start()?;
        let before = running.server.resident_kib();
        let topics = topics(FEW);
        let began = Clock::system().now().monotonic;
        let readers = running.readers(began, FEW, &topics)?;
        rows.push(measure(system, &running.server, before, readers, QUIET).await?);
    }
    let mut section = Section::new("W3 idle: a thread for each connection").note(format!(
        "The bridge with its heartbeats at their default of 25 s, over {} s; the others say \
         nothing, over {} s.",
        HEARTBEATS.as_secs(),
        QUIET.as_secs()
    ));
    let allowed = machine::allow_open_files(MANY as u64 + OTHER_FILES);
    let many = (allowed - OTHER_FILES) as usize;
    if many < MANY {
        section = section.note(format!(
            "{MANY} connections are not possible here: a process may have {allowed} files open, and \
             no more."
        ));
    }
    eprintln!("    {many} on {}", System::Bridge.name());
    rows.push(bridge(many).await?);
    let of = |connections, of: fn(&Idle) -> f64| {
        let mut rows = rows.iter();
        let found =
            |row: &&Idle| row.system == System::Bridge.name() && row.connections == connections;
        rows.find(found).map(of)
    };
    let bars = vec![
        Bar::at_most(
            "10,000 connections, KiB each",
            of(FEW, |row| row.kib_each),
            4.0,
            Some(2.5),
        ),
        Bar::at_most(
            "10,000 connections, CPU µs/s each",
            of(FEW, |row| row.cpu_us_each),
            1.0,
            None,
        ),
        Bar::at_most(
            "the most connections, KiB each",
            of(many, |row| row.kib_each),
            4.0,
            Some(2.5),
        ),
        Bar::at_most(
            "the most connections, CPU µs/s each",
            of(many, |row| row.cpu_us_each),
            1.0,
            None,
        ),
    ];
    Ok(section.tables(vec![table(&rows)]).bars(bars).data(&rows))
}

async fn bridge(count: usize) -> Result<Idle, Failure> {
    let flags = [&STEADY[..], &MORE].concat();
    let bridge = Bridge::start(&flags)?;
    let before = bridge.server.resident_kib();
    let topics = topics(count);
    let began = Clock::system().now().monotonic;
    let readers = Readers::connect(&bridge.manner(), began, count, &topics, Bridge::path)?;
    measure(System::Bridge, &bridge.server, before, readers, HEARTBEATS).await
}

async fn measure(
    system: System,
    server: &Server,
    before: u64,
    mut readers: Readers,
    span: Duration,
) -> Result<Idle, Failure> {
    readers.rest(REST).await?;
    let meter = Meter::start(server);
    readers.rest(span).await?;
    let used = meter.read();
    let connections = readers.count();
    let count = connections as f64;
    Ok(Idle {
        system: system.name(),
        connections,
        kib_each: server.resident_kib().saturating_sub(before) as f64 / count,
        cpu_us_each: used.server * 1e6 / used.passed.as_secs_f64() / count,
        faults: readers.faults(&vec![0; connections]),
    })
}

fn topics(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("t{index}")).collect()
}

fn table(rows: &[Idle]) -> Table {
    let header = ["", "connections", "KiB RSS each", "CPU µs/s each"];
    let line = |row: &Idle| {
        let name = if row.faults.none() {
            row.system.to_owned()
        } else {
            format!("{} (FAILED: {})", row.system, row.faults)
        };
        vec![
            name,
            number(row.connections as f64),
            number(row.kib_each),
            number(row.cpu_us_each),
        ]
    };
    Table {
        caption: String::new(),
        header: header.map(str::to_owned).to_vec(),
        lines: rows.iter().map(line).collect(),
    }
}
