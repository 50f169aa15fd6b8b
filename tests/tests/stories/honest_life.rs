//! Honest life between real processes: everything that looks like a failure and is none, one
//! after the other, with witnesses on both sides and the canary on. Nothing may be found, at any
//! time. The long spans of it are simulated beside the rules; this is the short, real one.

use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::Target;
use monitorable_tests::eventually::eventually;
use monitorable_tests::process::Service;
use monitorable_tests::proxy::Proxy;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use monitorable_tests::witness::Pen;

use crate::pair::{BRIDGE, Pair, SOON};

const THREAD: &str = "chat";
/// Between two runs of the agent.
const PACE: Duration = Duration::from_millis(200);

/// An agent and a chat user, and where they stand.
struct Chat {
    publisher: Publisher,
    users: Proxy,
    pen: Pen,
    reader: Reader,
    runs: u64,
}

impl Chat {
    /// Runs for a while, one after the other.
    async fn goes_on(&mut self, runs: u64) {
        for _ in 0..runs {
            self.run().await;
            tokio::time::sleep(PACE).await;
        }
    }

    /// One run; sent again where its connection broke, as agents do.
    async fn run(&mut self) {
        self.runs += 1;
        let events = Run::whole(THREAD, &format!("run-{}", self.runs), 1);
        eventually(SOON, "the run is taken", || async {
            let receipts = self.publisher.try_publish(&events).await;
            receipts.map(drop).map_err(|status| status.to_string())
        })
        .await;
    }

    /// The user loses the connection, comes back after a while, and resumes.
    async fn user_resumes(&mut self, after: Duration) {
        let record = self.reader.record();
        let last = record.events().last().expect("it had events");
        let (epoch, sequence) = (last.text("epoch").to_owned(), last.sequence());
        let again = Options::thread(THREAD)
            .after(&epoch, sequence)
            .witnessed_by(self.pen.clone());
        let options = || again.clone();
        // The old one is gone before the new one comes.
        let placeholder = Options::thread("another");
        let nobody = Reader::connect(self.users.address, placeholder).await;
        drop(std::mem::replace(&mut self.reader, nobody));
        self.run().await;
        tokio::time::sleep(after).await;
        self.reader = Reader::connect(self.users.address, options()).await;
        self.reader.welcome().await;
        self.run().await;
        self.reader.until_events(SOON, 1).await;
    }
}

#[tokio::test]
async fn nothing_is_found_in_honest_life() {
    let pair = Pair::unregistered(&[], &[]).await;
    let calls = Proxy::start(pair.bridge.grpc).await;
    let users = Proxy::start(pair.bridge.http).await;
    pair.auditor.register(BRIDGE, &calls.uri()).await;
    let (producers, consumers) = (pair.producer_witness(), pair.consumer_witness());
    let options = Options::thread(THREAD).witnessed_by(consumers.pen());
    let reader = Reader::connect(users.address, options).await;
    let mut chat = Chat {
        publisher: Publisher::new(&calls.uri()).witnessed_by(producers.pen()),
        users,
        pen: consumers.pen(),
        reader,
        runs: 0,
    };
    chat.goes_on(10).await;

    // A reconnect storm.
    for pause in [0, 50, 300, 1_000, 0, 2_500] {
        chat.user_resumes(Duration::from_millis(pause)).await;
    }
    // A burst inside the limits.
    for _ in 0..80 {
        chat.run().await;
    }
    // Nothing at all.
    tokio::time::sleep(Duration::from_secs(6)).await;
    chat.goes_on(5).await;

    // The monitor stands still for 20 s, and life goes on.
    pair.monitor.pause();
    chat.goes_on(100).await;
    pair.monitor.resume();
    Target::at(&pair.monitor.uri()).until_healthy(SOON).await;
    chat.goes_on(20).await;

    // A rolling restart: the next one is there before the old one says that it drains.
    let next = Service::bridge(&[]).await;
    Target::at(&next.uri()).until_healthy(SOON).await;
    calls.redirect(next.grpc);
    chat.users.redirect(next.http);
    let mut old = pair.bridge;
    old.terminate();
    let status = old.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    chat.user_resumes(Duration::from_millis(200)).await;
    chat.goes_on(25).await;

    pair.auditor
        .until_audited(BRIDGE, Verdict::Healthy, SOON)
        .await;
    let findings = pair.auditor.findings(BRIDGE).await;
    assert!(findings.is_empty(), "{findings:#?}");
    let own = pair.auditor.findings("monitor-service").await;
    assert!(own.is_empty(), "of the monitor itself: {own:#?}");
}
