//! An agent and a chat user at one bridge, behind addresses that stay while bridges come and go.

use std::time::Duration;

use monitorable_tests::eventually::eventually;
use monitorable_tests::process::Service;
use monitorable_tests::proxy::Proxy;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use monitorable_tests::witness::{Pen, Witness};

use crate::pair::SOON;

/// Between two runs of the agent.
const PACE: Duration = Duration::from_millis(200);

/// Where a bridge is reached, whichever process it is at the moment.
pub(crate) struct Place {
    pub(crate) calls: Proxy,
    pub(crate) users: Proxy,
}

impl Place {
    pub(crate) async fn of(bridge: &Service) -> Self {
        Self {
            calls: Proxy::start(bridge.grpc).await,
            users: Proxy::start(bridge.http).await,
        }
    }

    /// From now on another process stands there.
    pub(crate) fn taken_by(&self, bridge: &Service) {
        self.calls.redirect(bridge.grpc);
        self.users.redirect(bridge.http);
    }
}

/// An agent and a chat user, and where they stand.
pub(crate) struct Chat {
    pub(crate) place: Place,
    thread_id: String,
    publisher: Publisher,
    pen: Pen,
    reader: Reader,
    runs: u64,
}

impl Chat {
    /// Both at a place, on one thread, each with a witness.
    pub(crate) async fn start(
        place: Place,
        thread_id: &str,
        producers: &Witness,
        consumers: &Witness,
    ) -> Self {
        let pen = consumers.pen();
        let options = Options::thread(thread_id).witnessed_by(pen.clone());
        let reader = Reader::connect(place.users.address, options).await;
        Self {
            thread_id: thread_id.to_owned(),
            publisher: Publisher::new(&place.calls.uri()).witnessed_by(producers.pen()),
            place,
            pen,
            reader,
            runs: 0,
        }
    }

    /// Runs for a while, one after the other.
    pub(crate) async fn goes_on(&mut self, runs: u64) {
        for _ in 0..runs {
            self.run().await;
            tokio::time::sleep(PACE).await;
        }
    }

    /// One run; sent again where its connection broke, as agents do.
    pub(crate) async fn run(&mut self) {
        self.runs += 1;
        let events = Run::whole(
            &self.thread_id,
            &format!("{}-run-{}", self.thread_id, self.runs),
            1,
        );
        eventually(SOON, "the run is taken", || async {
            let receipts = self.publisher.try_publish(&events).await;
            receipts.map(drop).map_err(|status| status.to_string())
        })
        .await;
    }

    /// The user loses the connection, comes back after a while, and resumes.
    pub(crate) async fn user_resumes(&mut self, after: Duration) {
        let record = self.reader.record();
        let last = record.events().last().expect("it had events");
        let (epoch, sequence) = (last.text("epoch").to_owned(), last.sequence());
        let again = Options::thread(&self.thread_id)
            .after(&epoch, sequence)
            .witnessed_by(self.pen.clone());
        let options = || again.clone();
        // The old one is gone before the new one comes.
        let placeholder = Options::thread("another");
        let nobody = Reader::connect(self.place.users.address, placeholder).await;
        drop(std::mem::replace(&mut self.reader, nobody));
        self.run().await;
        tokio::time::sleep(after).await;
        self.reader = Reader::connect(self.place.users.address, options()).await;
        self.reader.welcome().await;
        self.run().await;
        self.reader.until_events(SOON, 1).await;
    }
}
