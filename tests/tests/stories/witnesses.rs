//! What only witnesses, or only the counters, can tell: readers that are gone or stuck, and
//! witnesses that fell silent.

use std::time::Duration;

use monitorable::monitor::v1::Vantage;
use monitorable::monitor::v1::finding::State as FindingState;
use monitorable_tests::calls::summary;
use monitorable_tests::proxy::{Fault, Proxy};
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use monitorable_tests::witness::Witness;
use service_kit::clock::Clock;
use tokio::task::JoinSet;

use crate::pair::{BRIDGE, FOUND_WITHIN, Pair, SOON};

/// Publishes a small run each 200 ms until dropped.
fn talk(publisher: Publisher, thread_id: &'static str) -> JoinSet<()> {
    let mut talking = JoinSet::new();
    talking.spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(200));
        for number in 0_u64.. {
            beat.tick().await;
            let run_id = format!("{thread_id}-{number}");
            publisher.publish(&Run::whole(thread_id, &run_id, 1)).await;
        }
    });
    talking
}

async fn quiet(pair: &Pair) {
    let findings: Vec<_> = pair
        .auditor
        .findings(BRIDGE)
        .await
        .iter()
        .map(summary)
        .collect();
    assert!(findings.is_empty(), "a false alarm: {findings:?}");
}

async fn found(pair: &Pair, rule: &str) {
    let begin = Clock::system().now();
    let open = |finding: &monitorable::monitor::v1::Finding| finding.state() == FindingState::Open;
    let finding = pair
        .auditor
        .until_finding(BRIDGE, rule, FOUND_WITHIN, open)
        .await;
    let after = Clock::system().now().since(begin.monotonic);
    println!("{rule} found after {after:?}: {}", finding.message);
}

#[tokio::test]
async fn readers_that_are_gone_are_seen_in_the_counters_alone() {
    let pair = Pair::start(&[], &[]).await;
    let network = Proxy::start(pair.bridge.http).await;
    let mut readers = Vec::new();
    for thread_id in ["one", "two"] {
        readers.push(Reader::connect(network.address, Options::thread(thread_id)).await);
    }
    let publisher = Publisher::new(&pair.bridge.uri());
    let _traffic = (talk(publisher.clone(), "one"), talk(publisher, "two"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    quiet(&pair).await;
    network.set(Fault::BlackHole);
    found(&pair, "half_open_connections").await;
}

#[tokio::test]
async fn readers_that_never_acknowledge_are_no_fault() {
    let pair = Pair::start(&[], &[]).await;
    let consumers = pair.consumer_witness();
    let options = Options {
        acknowledge: false,
        ..Options::thread("chat").witnessed_by(consumers.pen())
    };
    let _reader = Reader::connect(pair.bridge.http, options).await;
    let producers = pair.producer_witness();
    let _traffic = talk(pair.witnessed_publisher(&producers), "chat");
    tokio::time::sleep(FOUND_WITHIN).await;
    quiet(&pair).await;
}

#[tokio::test]
async fn one_reader_that_stops_is_told_from_the_thread() {
    let pair = Pair::start(&[], &[]).await;
    let network = Proxy::start(pair.bridge.http).await;
    let (producers, consumers) = (pair.producer_witness(), pair.consumer_witness());
    let monitor = pair.monitor.uri();
    let other = Witness::start(&monitor, "consumer-2", BRIDGE, Vantage::Consumer);
    let _well = pair.witnessed_reader("chat", &consumers).await;
    let options = Options::thread("chat").witnessed_by(other.pen());
    let _stuck = Reader::connect(network.address, options).await;
    let _traffic = talk(pair.witnessed_publisher(&producers), "chat");
    tokio::time::sleep(Duration::from_secs(4)).await;
    quiet(&pair).await;
    network.set(Fault::Stall);
    found(&pair, "stuck_consumer").await;
}

#[tokio::test]
async fn a_witness_that_dies_is_missed_and_one_that_signs_off_is_not() {
    let pair = Pair::start(&[], &[]).await;
    let (producers, consumers) = (pair.producer_witness(), pair.consumer_witness());
    let mut reader = pair.witnessed_reader("chat", &consumers).await;
    let publisher = pair.witnessed_publisher(&producers);
    publisher.publish(&Run::whole("chat", "run-1", 1)).await;
    reader.until_events(SOON, 6).await;
    producers.sign_off().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    quiet(&pair).await;
    drop((reader, consumers));
    found(&pair, "evidence_channel_dead").await;
}
