//! Bridges are replaced under load: users and agents notice, and lose nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use monitorable::bridge::v1::{EventType, Status};
use monitorable::monitor::v1::{Vantage, Verdict};
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::eventually::eventually;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader, Record};
use monitorable_tests::witness::Witness;
use tokio::task::JoinSet;

use crate::chat::{Chat, Place};
use crate::pair::SOON;

const THREADS: usize = 50;
const READERS_EACH: usize = 20;
/// Rounds of one event to each thread, before the signal and after it.
const ROUNDS: usize = 15;
const PACE: Duration = Duration::from_millis(50);
/// A thousand readers of one test process want their time.
const LONG: Duration = Duration::from_secs(60);

fn thread(number: usize) -> String {
    format!("thread-{number}")
}

/// Agents that go to the next bridge as soon as the one that they use takes no more.
struct Agents {
    bridges: Vec<Publisher>,
    runs: Vec<Run>,
    /// Each accepted event's id, by thread, in order.
    accepted: BTreeMap<String, Vec<String>>,
}

impl Agents {
    fn new() -> Self {
        let run = |number| Run::new(&thread(number), &format!("run-{number}"));
        Self {
            bridges: Vec::new(),
            runs: (0..THREADS).map(run).collect(),
            accepted: BTreeMap::new(),
        }
    }

    /// One event to each thread.
    async fn round(&mut self) {
        let runs = self.runs.iter_mut();
        let events: Vec<_> = runs
            .map(|run| run.event(EventType::AgentThinking))
            .collect();
        let bridges = &self.bridges;
        let receipts = eventually(SOON, "a bridge takes the events", || async {
            let mut refusals = Vec::new();
            for bridge in bridges {
                match bridge.try_publish(&events).await {
                    Ok(receipts) => return Ok(receipts),
                    Err(status) => refusals.push(status.to_string()),
                }
            }
            Err(refusals.join("; "))
        })
        .await;
        for (event, receipt) in events.into_iter().zip(receipts) {
            assert_eq!(receipt.status(), Status::Accepted, "{receipt:?}");
            let ids = self.accepted.entry(event.thread_id).or_default();
            ids.push(event.event_id);
        }
        tokio::time::sleep(PACE).await;
    }
}

/// A reader of each place, all at once.
async fn crowd(bridge: &Service, position: impl Fn(usize) -> Option<(String, u64)>) -> Vec<Reader> {
    let mut joining = JoinSet::new();
    for place in 0..THREADS * READERS_EACH {
        let mut options = Options::thread(&thread(place % THREADS));
        options.resume = position(place);
        let address = bridge.http;
        joining.spawn(async move { (place, Reader::connect(address, options).await) });
    }
    let mut readers = joining.join_all().await;
    readers.sort_by_key(|(place, _)| *place);
    readers.into_iter().map(|(_, reader)| reader).collect()
}

fn ids(record: &Record) -> Vec<String> {
    let events = record.events();
    events
        .map(|frame| frame.text("event_id").to_owned())
        .collect()
}

/// What each of a thousand readers gets of two bridges, one after the other, is what was accepted:
/// every event once and in order, and where the first bridge's log is gone it is told so.
#[tokio::test]
async fn a_bridge_that_leaves_under_load_loses_nothing() {
    let (mut old, next) = tokio::join!(Service::bridge(&[]), Service::bridge(&[]));
    Target::at(&old.uri()).until_healthy(SOON).await;
    let mut agents = Agents::new();
    agents.bridges.push(Publisher::new(&old.uri()));
    agents.bridges.push(Publisher::new(&next.uri()));
    let mut readers = crowd(&old, |_| None).await;
    for _ in 0..ROUNDS {
        agents.round().await;
    }
    old.terminate();
    for _ in 0..ROUNDS {
        agents.round().await;
    }
    let status = old.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    let log = old.log().join("\n");
    assert!(!log.contains("drain deadline"), "{log}");

    let mut firsts = Vec::new();
    for reader in &mut readers {
        firsts.push(reader.until(LONG, "the close", |record| record.over).await);
    }
    let position = |place: usize| {
        let last = firsts[place].events().last()?;
        Some((last.text("epoch").to_owned(), last.sequence()))
    };
    let mut again = crowd(&next, position).await;
    for (place, (reader, first)) in again.iter_mut().zip(&firsts).enumerate() {
        let (code, reason) = first.closed.clone().expect("a close frame");
        assert_eq!(code, 4009, "{reason}");
        let welcome = reader.welcome().await;
        assert_eq!(welcome["recovered"], false, "{welcome}");
        let accepted = &agents.accepted[&thread(place % THREADS)];
        let mut got = ids(first);
        let rest = accepted.len() - got.len();
        got.extend(ids(&*reader.until_events(LONG, rest).await));
        assert_eq!(&got, accepted, "reader {place}");
    }
    let taken_by_first = firsts[0].events().count();
    assert!(
        (ROUNDS..2 * ROUNDS).contains(&taken_by_first),
        "both bridges took some: the first {taken_by_first} of {}",
        2 * ROUNDS
    );
}

/// One after the other goes, is away for a moment and comes back at the same address, while agents,
/// users, canary and witnesses go on: nothing is found.
#[tokio::test]
async fn a_rolling_restart_of_three_bridges_raises_no_finding() {
    const NAMES: [&str; 3] = ["bridge-0", "bridge-1", "bridge-2"];
    let monitor = Service::monitor(&[]).await;
    let auditor = Auditor::at(&monitor.uri());
    let (mut bridges, mut chats, mut witnesses) = (Vec::new(), Vec::new(), Vec::new());
    for name in NAMES {
        let bridge = Service::bridge(&["--component-id", name]).await;
        Target::at(&bridge.uri()).until_healthy(SOON).await;
        let place = Place::of(&bridge).await;
        auditor.register(name, &place.calls.uri()).await;
        let witness = |observer: &str, vantage| {
            let observer = format!("{observer}-of-{name}");
            Witness::start(&monitor.uri(), &observer, name, vantage)
        };
        let producers = witness("producer", Vantage::Producer);
        let consumers = witness("consumer", Vantage::Consumer);
        let chat = Chat::start(place, &format!("chat-at-{name}"), &producers, &consumers).await;
        chats.push(chat);
        witnesses.push((producers, consumers));
        bridges.push(bridge);
    }
    all_go_on(&mut chats, 10).await;
    for (number, name) in NAMES.into_iter().enumerate() {
        bridges[number].terminate();
        let status = bridges[number].ended().await;
        assert_eq!(status.code(), Some(0), "{name}: {status}");
        let next = Service::bridge(&["--component-id", name]).await;
        Target::at(&next.uri()).until_healthy(SOON).await;
        chats[number].place.taken_by(&next);
        bridges[number] = next;
        chats[number].user_resumes(Duration::from_millis(200)).await;
        all_go_on(&mut chats, 10).await;
    }
    all_go_on(&mut chats, 10).await;
    for name in NAMES {
        auditor.until_audited(name, Verdict::Healthy, SOON).await;
        let findings = auditor.findings(name).await;
        assert!(findings.is_empty(), "{name}: {findings:#?}");
    }
    let own = auditor.findings("monitor-service").await;
    assert!(own.is_empty(), "of the monitor itself: {own:#?}");
}

async fn all_go_on(chats: &mut [Chat], runs: u64) {
    let going = chats.iter_mut().map(|chat| chat.goes_on(runs));
    futures_util::future::join_all(going).await;
}
