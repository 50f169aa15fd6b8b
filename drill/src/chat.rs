//! A bridge at work: agents hand events in through one network, chat users read them through
//! another, and witnesses on both sides tell the monitor.

use std::time::Duration;

use monitorable::bridge::v1::AgentEvent;
use monitorable::monitor::v1::Verdict;
use service_kit::clock::Clock;
use tokio::task::JoinHandle;

use crate::process::Service;
use crate::proxy::{Fault, Proxy};
use crate::publisher::{Publisher, Run};
use crate::reader::{Options, Reader};
use crate::stage::{SOON, Stage};
use crate::witness::{Pen, Witness};

/// The component id of the bridge where a scenario has one.
pub const BRIDGE: &str = "bridge";
/// Between two runs on one thread.
const BEAT: Duration = Duration::from_millis(200);
/// How long traffic flows before something is broken.
const PAST: Duration = Duration::from_secs(3);

/// A bridge, both networks and both witnesses.
pub struct Chat {
    /// The component id of the bridge.
    pub id: String,
    /// The bridge.
    pub bridge: Service,
    /// Between the bridge and all who call it: agents and the monitor.
    pub calls: Proxy,
    /// Between the bridge and the chat users.
    pub network: Proxy,
    /// Tells what agents handed in. Absent: it is gone.
    pub producers: Option<Witness>,
    /// Tells what chat users got. Absent: it is gone.
    pub consumers: Option<Witness>,
}

impl Chat {
    /// A bridge that is registered and watched; nobody talks yet.
    pub async fn open(stage: &Stage) -> Self {
        Self::open_with(stage, BRIDGE, &[]).await
    }

    /// The same with another id and with flags.
    pub async fn open_with(stage: &Stage, id: &str, flags: &[&str]) -> Self {
        let chat = Self::unregistered(stage, id, flags).await;
        stage.auditor().register(id, &chat.calls.uri()).await;
        stage.until_well(id).await;
        chat
    }

    /// The same; the monitor does not know of it yet.
    pub async fn unregistered(stage: &Stage, id: &str, flags: &[&str]) -> Self {
        let bridge = stage.bridge(id, flags).await;
        Self {
            id: id.to_owned(),
            calls: Proxy::start(bridge.grpc).await,
            network: Proxy::start(bridge.http).await,
            producers: Some(stage.producer(id)),
            consumers: Some(stage.consumer(id)),
            bridge,
        }
    }

    /// An agent whose events the producers' witness tells.
    #[must_use]
    pub fn agent(&self) -> Publisher {
        let producers = self.producers.as_ref().expect("a witness of the agents");
        self.unseen_agent().witnessed_by(producers.pen())
    }

    /// An agent that tells nobody.
    #[must_use]
    pub fn unseen_agent(&self) -> Publisher {
        Publisher::new(&self.calls.uri())
    }

    /// A chat user whose events the consumers' witness tells.
    pub async fn user(&self, thread_id: &str) -> Reader {
        let options = Options::thread(thread_id).witnessed_by(self.consumer_pen());
        self.user_with(options).await
    }

    /// A chat user that reads in its own way.
    pub async fn user_with(&self, options: Options) -> Reader {
        let mut reader = Reader::connect(self.network.address, options).await;
        reader.welcome().await;
        reader
    }

    /// A way to tell the monitor what a user got.
    #[must_use]
    pub fn consumer_pen(&self) -> Pen {
        self.consumers
            .as_ref()
            .expect("a witness of the users")
            .pen()
    }

    /// The users' witness says that it will say no more.
    pub async fn consumers_sign_off(&mut self) {
        if let Some(witness) = self.consumers.take() {
            witness.sign_off().await;
        }
    }

    /// The users' witness is gone without a word.
    pub fn consumers_die(&mut self) {
        self.consumers = None;
    }

    /// The agents' witness tells what it knows, and is gone without a word.
    pub async fn producers_die(&mut self) {
        if let Some(witness) = self.producers.take() {
            witness.until_told().await;
        }
    }

    /// A witnessed user, and one witnessed run that the monitor has confirmed.
    pub async fn proven(&self, stage: &Stage) -> Reader {
        let user = self.user("chat").await;
        self.agent().publish(&Run::whole("chat", "proof", 1)).await;
        self.until_healthy(stage).await;
        user
    }

    /// The user of one thread leaves for a while, and resumes so many events before its place.
    pub async fn away(
        &self,
        users: Vec<Reader>,
        thread_id: &str,
        time: Duration,
        again: u64,
    ) -> Vec<Reader> {
        let (mut leaving, mut users): (Vec<_>, Vec<_>) = users
            .into_iter()
            .partition(|user| user.thread_id() == thread_id);
        let user = leaving.pop().expect("a user of that thread");
        let record = user.record();
        let last = record.events().last().expect("it got an event");
        let (epoch, place) = (last.text("epoch").to_owned(), last.sequence());
        drop(user);
        pass(time).await;
        let options = Options::thread(thread_id)
            .after(&epoch, place.saturating_sub(again))
            .witnessed_by(self.consumer_pen());
        users.push(self.user_with(options).await);
        users
    }

    /// Witnessed runs on a thread, again and again.
    #[must_use]
    pub fn talk(&self, thread_id: &str) -> Traffic {
        Traffic::start(self.agent(), thread_id)
    }

    /// A witnessed user and witnessed runs on each thread, until the monitor has seen enough to
    /// say that all is well.
    pub async fn busy(&self, stage: &mut Stage, threads: &[&str]) -> Vec<Reader> {
        let mut users = Vec::new();
        for thread_id in threads {
            users.push(self.user(thread_id).await);
            stage.keep(self.talk(thread_id));
        }
        self.until_healthy(stage).await;
        users
    }

    /// Waits until the evidence confirms the claims, and a while longer.
    pub async fn until_healthy(&self, stage: &Stage) {
        let auditor = stage.auditor();
        auditor
            .until_audited(&self.id, Verdict::Healthy, SOON)
            .await;
        tokio::time::sleep(PAST).await;
    }

    /// Arms a fault point of the bridge.
    pub async fn fault(&mut self, fault: &str) {
        self.bridge.tell(fault, "fault armed: ").await;
    }

    /// Cuts every call's connection; they can be made again at once.
    pub async fn cut_calls(&mut self) {
        self.calls.set(Fault::Reset);
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.calls.set(Fault::Pass);
    }

    /// The bridge is killed, and another one of the same id takes its place at once.
    pub async fn crash(&mut self, stage: &mut Stage) {
        let next = stage.bridge(&self.id, &[]).await;
        tokio::time::sleep(PAST).await;
        self.calls.redirect(next.grpc);
        self.network.redirect(next.http);
        stage.breaks_now();
        std::mem::replace(&mut self.bridge, next).kill().await;
    }

    /// The bridge shuts down in order; another one of the same id takes its place.
    pub async fn rolling_restart(&mut self, stage: &Stage) {
        let next = stage.bridge(&self.id, &[]).await;
        self.bridge.terminate();
        self.replace(next).await;
    }

    /// Another bridge takes the place of this one, which has gone or is going.
    pub async fn replace(&mut self, next: Service) {
        self.calls.redirect(next.grpc);
        self.network.redirect(next.http);
        let mut gone = std::mem::replace(&mut self.bridge, next);
        gone.ended().await;
    }
}

/// Runs on one thread until dropped. An agent that is refused goes on with its next run.
#[derive(Debug)]
pub struct Traffic(JoinHandle<()>);

impl Traffic {
    /// A run each 200 ms.
    #[must_use]
    pub fn start(agent: Publisher, thread_id: &str) -> Self {
        Self::paced(agent, thread_id, BEAT, 1)
    }

    /// A run with so many tool calls, again and again.
    #[must_use]
    pub fn paced(agent: Publisher, thread_id: &str, pace: Duration, tools: usize) -> Self {
        let thread_id = thread_id.to_owned();
        Self(tokio::spawn(async move {
            let mut beat = tokio::time::interval(pace);
            for number in 0_u64.. {
                beat.tick().await;
                let run_id = format!("{thread_id}-run-{number}");
                let events = Run::whole(&thread_id, &run_id, tools);
                let _ = agent.try_publish(&events).await;
            }
        }))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Hands in events one by one, with a pause after each.
pub async fn slowly(agent: &Publisher, events: &[AgentEvent], pause: Duration) {
    for event in events {
        agent.publish(std::slice::from_ref(event)).await;
        tokio::time::sleep(pause).await;
    }
}

/// Waits for a while that is part of the story, such as the life of a slow tool.
pub async fn pass(time: Duration) {
    let until = Clock::system().now().later(time).monotonic;
    tokio::time::sleep_until(until.into()).await;
}
