//! What it costs to be watched. Prints figures; asserts only that nothing is lost.

use std::time::Duration;

use monitorable::bridge::v1::AgentEvent;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use service_kit::clock::Clock;

use crate::pair::{Pair, SOON};

const RUNS: usize = 200;
const EVENTS_OF_A_RUN: usize = 10;

#[tokio::test]
async fn performance_impact_assessment() {
    let alone = Service::bridge(&[]).await;
    measure("a bridge on its own", &alone).await;
    drop(alone);
    let watched = Pair::start(&[], &[]).await;
    measure("a bridge that is watched and audited", &watched.bridge).await;
}

async fn measure(what: &str, bridge: &Service) {
    let publisher = Publisher::new(&bridge.uri());
    let mut reader = Reader::connect(bridge.http, Options::thread("load")).await;
    reader.welcome().await;
    let clock = Clock::system();
    let begin = clock.now();
    for run in 0..RUNS {
        let events: Vec<AgentEvent> = Run::whole("load", &format!("run-{run}"), 3);
        assert_eq!(events.len(), EVENTS_OF_A_RUN);
        publisher.publish(&events).await;
    }
    let published = clock.now().since(begin.monotonic);
    let total = RUNS * EVENTS_OF_A_RUN;
    let record = reader.until_events(SOON * 2, total).await;
    assert_eq!(record.events().count(), total);
    let arrived = clock.now().since(begin.monotonic);
    let mut latencies = Vec::new();
    for run in 0..100 {
        let mut single = Run::new("load", &format!("single-{run}"));
        let sent = clock.now();
        let event = single.event(monitorable::bridge::v1::EventType::AgentMessage);
        publisher.publish(&[event]).await;
        reader.until_events(SOON, total + run + 1).await;
        latencies.push(clock.now().since(sent.monotonic));
    }
    latencies.sort_unstable();
    println!(
        "{what}: {total} events published in {published:?} ({:.0}/s) and read after {arrived:?}; \
         one event from publish to read: median {:?}, 99th of 100 {:?}; {} KiB resident",
        total as f64 / published.max(Duration::from_micros(1)).as_secs_f64(),
        latencies[50],
        latencies[98],
        bridge.resident_kib(),
    );
}
