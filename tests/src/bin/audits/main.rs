//! What audits cost the monitor: processor time, memory and detection delay with a crowd of
//! components, beside a health prober with the same crowd.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "it panics where the world is not as it must be, and measures real time"
)]

mod crowd;
mod machine;
mod peer;
mod subject;

use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use subject::{Crowd, Span, Subject};

/// Audits kept of each component, as by default.
const HISTORY: usize = 50;
/// File descriptors that are needed beside those of the connections.
const OTHER_FILES: u64 = 1_000;
/// Each of them, over all components: the default would look less often where they are many.
const FOR_EVER: &str = "1d";

/// Measures what audits cost.
#[derive(Debug, Parser)]
struct Options {
    /// What to measure; all where none is named.
    parts: Vec<Part>,
    /// Components.
    #[arg(long, default_value_t = 1_000)]
    components: usize,
    /// Length of each measurement, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Components that lie, and components that die, of which the delay of the finding is measured.
    #[arg(long, default_value_t = 10)]
    faults: usize,
    /// Minutes at the steady state in which memory is printed each minute.
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Serves components instead.
    #[arg(long, hide = true)]
    crowd: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Processor time of an audit, far from saturation and at it.
    Cost,
    /// Processor time and memory at the default settings, with a full history.
    Memory,
    /// From a fault to its finding, at the default settings.
    Delay,
    /// blackbox_exporter.
    Peer,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::parse();
    let files = options.crowd.unwrap_or(options.components) as u64 + OTHER_FILES;
    if let Err(why) = machine::allow_files(files) {
        eprintln!("audits: {why}");
        std::process::exit(1);
    }
    if let Some(size) = options.crowd {
        return crowd::serve(size).await;
    }
    machine::on_core(subject::OTHER_CORE, measure(&options)).await;
}

async fn measure(options: &Options) {
    let wanted = |part| options.parts.is_empty() || options.parts.contains(&part);
    let length = Duration::from_secs(options.seconds);
    let mut crowd = Crowd::start(options.components).await;
    println!("{} components", options.components);
    if wanted(Part::Cost) {
        cost(&crowd, length).await;
    }
    if wanted(Part::Peer) {
        peer(&crowd, length).await;
    }
    if wanted(Part::Memory) {
        memory(&crowd, length, options.minutes).await;
    }
    if wanted(Part::Delay) {
        delay(&mut crowd, options.faults).await;
    }
}

/// Nothing but audits: no beats and no looks in between.
async fn cost(crowd: &Crowd, length: Duration) {
    for (name, interval) in [("paced", "1s"), ("saturated", "100ms")] {
        let flags = [
            "--probe-audit-interval",
            interval,
            "--probe-glance-interval",
            FOR_EVER,
            "--probe-beat-interval",
            "20s",
            "--fleet-audits",
            "50",
        ];
        let subject = Subject::start(&flags).await;
        subject.register(crowd).await;
        print(name, subject.measure(length).await);
    }
}

fn print(name: &str, span: Span) {
    println!(
        "{name}: {:.0} audits/s, {:.1} µs CPU an audit, {:.1} % of a core",
        span.audits_per_second(),
        span.micros_per_audit(),
        span.core_percent()
    );
}

async fn peer(crowd: &Crowd, length: Duration) {
    let Some(program) = peer::program() else {
        println!("blackbox_exporter is not installed (Debian: prometheus-blackbox-exporter)");
        return;
    };
    let probed = peer::measure(program, crowd, length).await;
    println!(
        "blackbox_exporter {}: {:.0} probes/s, {:.1} µs CPU a probe",
        probed.version, probed.probes_per_second, probed.micros_per_probe
    );
}

async fn memory(crowd: &Crowd, length: Duration, minutes: u64) {
    let subject = Subject::start(&["--probe-audit-interval", "2s"]).await;
    let resident = || subject.service.resident_kib();
    let per_component = |kib: u64, empty: u64| (kib - empty) as f64 / crowd.size as f64;
    let empty = resident();
    subject.register(crowd).await;
    let watched = resident();
    subject
        .until_audits((crowd.size * (HISTORY + 5)) as f64)
        .await;
    let full = resident();
    let kept = [0, crowd.size / 2, crowd.size - 1].map(|index| subject.history(index));
    for kept in kept {
        assert_eq!(kept.await, HISTORY, "the history is full");
    }
    println!(
        "memory: {empty} KiB without components; {:.1} KiB a component audited once, {:.1} KiB with \
         {HISTORY} audits",
        per_component(watched, empty),
        per_component(full, empty)
    );
    print(
        "audited every 2 s, beats every 1 s",
        subject.measure(length).await,
    );
    for minute in 1..=minutes {
        tokio::time::sleep(Duration::from_secs(60)).await;
        println!(
            "minute {minute}: {} KiB, {:.1} KiB a component",
            resident(),
            per_component(resident(), empty)
        );
    }
}

/// At the default settings.
async fn delay(crowd: &mut Crowd, faults: usize) {
    let subject = Subject::start(&[]).await;
    subject.register(crowd).await;
    print(
        "default settings",
        subject.measure(Duration::from_secs(5)).await,
    );
    let mut findings = subject.findings().await;
    let mut victims = 0..;
    for deed in ["lie", "die"] {
        let mut delays = Vec::new();
        for index in victims.by_ref().take(faults) {
            crowd.order(deed, index).await;
            let began = Instant::now();
            let finding = findings.next().await;
            assert_eq!(finding.component_id, crowd::id(index), "{finding:?}");
            delays.push((began.elapsed(), finding.rule_id));
        }
        delays.sort();
        println!("{deed}: {delays:?}");
    }
}
