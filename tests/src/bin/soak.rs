//! Does memory stay flat? A thousand readers and a thousand components for minutes, with traffic,
//! and both processes' resident memory each minute. Fails where it grows.
#![allow(
    clippy::unwrap_used,
    reason = "it panics where the world is not as it must be"
)]

use std::time::Duration;

use futures_util::StreamExt;
use monitorable::monitor::v1::Vantage;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::fake::Fake;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::witness::Witness;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const BRIDGE: &str = "bridge-service";
const THREAD: &str = "crowd";
const SOON: Duration = Duration::from_secs(60);
/// Growth after the first minutes, in percent, that still counts as flat.
const FLAT_PERCENT: u64 = 10;
/// Minutes in which caches and windows fill up.
const WARM_UP_MINUTES: u64 = 3;
/// Shorter memories than by default, so that what is kept on purpose is full by then and only a
/// leak goes on growing.
const BRIDGE_FLAGS: [&str; 6] = [
    "--hub-window-age",
    "1m",
    "--hub-run-idle",
    "1m",
    "--hub-idempotency-entries",
    "8192",
];
const MONITOR_FLAGS: [&str; 6] = [
    "--evidence-window",
    "1m",
    "--fleet-audits",
    "4",
    "--probe-audit-interval",
    "5s",
];

struct Options {
    minutes: u64,
    readers: usize,
    components: usize,
}

#[tokio::main]
async fn main() {
    let options = options();
    let bridge = Service::bridge(&BRIDGE_FLAGS).await;
    let monitor = Service::monitor(&MONITOR_FLAGS).await;
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    let auditor = Auditor::at(&monitor.uri());
    auditor.register(BRIDGE, &bridge.uri()).await;
    let mut targets = Vec::with_capacity(options.components);
    for number in 0..options.components {
        let id = format!("target-{number}");
        let target = Fake::start(&id).await;
        auditor.register(&id, &target.uri()).await;
        targets.push(target);
    }
    let mut readers = JoinSet::new();
    for _ in 0..options.readers {
        readers.spawn(swallow(bridge.http));
    }
    let mut traffic = tokio::spawn(traffic(bridge.uri(), monitor.uri()));
    let flat = tokio::select! {
        flat = watch(&options, &bridge, &monitor, &auditor) => flat,
        Some(ended) = readers.join_next() => panic!("the bridge closed a reader: {ended:?}"),
        ended = &mut traffic => panic!("the traffic ended: {ended:?}"),
    };
    assert!(
        flat,
        "memory grew by more than {FLAT_PERCENT} % after minute {WARM_UP_MINUTES}"
    );
}

fn options() -> Options {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |flag: &str, default: u64| {
        let given = words.iter().position(|word| word == flag);
        let given = given.and_then(|at| words.get(at + 1));
        given.map_or(default, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{flag}: {text:?} is not a whole number"))
        })
    };
    Options {
        minutes: number("--minutes", 10),
        readers: usize::try_from(number("--readers", 1_000)).unwrap(),
        components: usize::try_from(number("--components", 1_000)).unwrap(),
    }
}

/// A reader that keeps nothing, so that only the services' memory grows, if any does. It ends
/// where the bridge closes it.
async fn swallow(address: std::net::SocketAddr) {
    let url = format!("ws://{address}/v1/events?thread_id={THREAD}");
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    while socket.next().await.is_some_and(|frame| frame.is_ok()) {}
}

/// A run each 100 ms, on the crowd's thread and on ever new ones.
async fn traffic(bridge: String, monitor: String) {
    let witness = Witness::start(&monitor, "soak", BRIDGE, Vantage::Producer);
    let publisher = Publisher::new(&bridge).witnessed_by(witness.pen());
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    for number in 0_u64.. {
        beat.tick().await;
        let own = format!("thread-{}", number % 1_000);
        let thread = if number % 2 == 0 {
            THREAD
        } else {
            own.as_str()
        };
        publisher
            .publish(&Run::whole(thread, &format!("run-{number}"), 3))
            .await;
    }
}

/// Prints each minute's memory; says whether it stayed flat.
async fn watch(options: &Options, bridge: &Service, monitor: &Service, auditor: &Auditor) -> bool {
    let mut warm = None;
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    for passed in 0..=options.minutes {
        minute.tick().await;
        let now = (bridge.resident_kib(), monitor.resident_kib());
        let summary = auditor.summary().await;
        println!(
            "minute {passed}: bridge {} KiB, monitor {} KiB; {} components, {} findings open, {} \
             events witnessed",
            now.0, now.1, summary.components, summary.open_findings, summary.events_witnessed
        );
        if passed == WARM_UP_MINUTES {
            warm = Some(now);
        }
        if let Some((bridge, monitor)) = warm
            && passed == options.minutes
        {
            let grown = |now: u64, then: u64| now > then + then * FLAT_PERCENT / 100;
            return !grown(now.0, bridge) && !grown(now.1, monitor);
        }
    }
    println!("too short to say whether memory stays flat");
    true
}
