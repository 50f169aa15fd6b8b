//! The hub's loop: takes messages in batches, lets the pure half decide, and writes to sockets
//! itself, once for each reader and turn.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use service_kit::clock::{Clock, Now};
use slotmap::SecondaryMap;
use tokio::sync::{mpsc, oneshot};

use super::api::{Command, HubError, HubHandle, Identity, Outlet, Subscribe};
use super::batch::Batch;
use super::limits::HubLimits;
use super::reader::ConnectionId;
use super::state::Hub;
use crate::health::machine::HealthMachine;
use crate::health::report::UpdateReason;
use crate::health::watchers::Watchers;

/// Messages that one turn takes at the most.
const MAX_TURN_MESSAGES: usize = 256;
/// Accepted events after which readers are flushed inside a turn, so that a burst cannot push
/// events out of the window before their readers had a chance.
const MAX_UNFLUSHED_EVENTS: usize = 256;
/// How long the loop sleeps where nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// The hub: a way to it, and the loop to be spawned.
pub(crate) fn start(
    limits: HubLimits,
    identity: &Identity,
    clock: Clock,
) -> (HubHandle, impl Future<Output = ()> + Send + use<>) {
    let (sender, mailbox) = mpsc::channel(limits.mailbox);
    let handle = HubHandle::new(sender, ANSWER_DEADLINE);
    let actor = Actor {
        clock,
        hub: Hub::new(limits, seed(identity)),
        health: HealthMachine::new(clock.now()),
        watchers: Watchers::new(limits.watchers),
        outlets: SecondaryMap::new(),
        batch: Batch::default(),
        ready: Vec::new(),
        drained: None,
    };
    (handle, actor.run(mailbox))
}

/// How long the loop may take to answer about its health or its counters.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// Differs from process to process as the instance does.
fn seed(identity: &Identity) -> u64 {
    twox_hash::XxHash3_64::oneshot(identity.instance_id.as_bytes())
}

struct Actor {
    clock: Clock,
    hub: Hub,
    health: HealthMachine,
    watchers: Watchers,
    outlets: SecondaryMap<ConnectionId, Box<dyn Outlet>>,
    batch: Batch,
    ready: Vec<ConnectionId>,
    /// Told when the last reader is gone.
    drained: Option<oneshot::Sender<()>>,
}

impl Actor {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>) {
        let mut messages = Vec::with_capacity(MAX_TURN_MESSAGES);
        while self.next_messages(&mut mailbox, &mut messages).await {
            let now = self.clock.now();
            for message in messages.drain(..) {
                self.handle(message, now);
                if self.hub.unflushed() >= MAX_UNFLUSHED_EVENTS {
                    self.flush();
                }
            }
            self.hub.tick(now);
            self.watchers.beat(&mut self.health, now);
            for id in self.hub.take_overdue() {
                self.remove(id, now.monotonic);
            }
            self.flush();
            self.finish_drain();
        }
    }

    /// Waits for messages or for what is due, whichever comes first. False: nobody is left to send.
    async fn next_messages(
        &mut self,
        mailbox: &mut mpsc::Receiver<Command>,
        messages: &mut Vec<Command>,
    ) -> bool {
        if self.hub.any_dirty() {
            // Readers wait to be flushed: take what is there, and let others have their turn.
            tokio::task::yield_now().await;
            while messages.len() < MAX_TURN_MESSAGES
                && let Ok(message) = mailbox.try_recv()
            {
                messages.push(message);
            }
            return true;
        }
        let due = [self.hub.next_due(), self.watchers.next_due()]
            .into_iter()
            .flatten()
            .min();
        let due = due.unwrap_or_else(|| self.clock.now().monotonic + IDLE);
        tokio::select! {
            biased;
            received = mailbox.recv_many(messages, MAX_TURN_MESSAGES) => received > 0,
            () = tokio::time::sleep_until(due.into()) => true,
        }
    }

    fn handle(&mut self, message: Command, now: Now) {
        match message {
            Command::Publish {
                events,
                rejected,
                reply,
            } => {
                let outcomes = if self.hub.draining() {
                    Err(HubError::Draining)
                } else {
                    Ok(self.hub.publish(events, rejected, now))
                };
                answer(reply, outcomes);
            }
            Command::RunLedger { run_id, reply } => answer(reply, self.hub.run_report(&run_id)),
            Command::Subscribe(subscribe) => self.subscribe(subscribe, now),
            Command::Writable(id) => self.hub.writable(id, now.monotonic),
            Command::Acknowledge(id, through) => {
                self.hub.acknowledge(id, through, now.monotonic);
            }
            Command::Alive(id) => self.hub.alive(id, now.monotonic),
            Command::Control(id, frame) => self.hub.control(id, frame),
            Command::Close(id, reason) => self.hub.close(id, reason, now.monotonic),
            Command::Disconnected(id) => self.remove(id, now.monotonic),
            Command::Health { reply } => answer(reply, self.health.report(now)),
            Command::Metrics { reply } => {
                let mut report = self.hub.report(now);
                (report.watchers_open, report.watchers_dropped) = self.watchers.counts();
                answer(
                    reply,
                    (report, self.health.lifecycle(), self.health.report(now)),
                );
            }
            Command::Watch {
                max_interval,
                reply,
            } => {
                let watched = if self.hub.draining() {
                    Err(HubError::Draining)
                } else {
                    self.watchers.add(max_interval, &mut self.health, now)
                };
                answer(reply, watched);
            }
            #[cfg(feature = "fault-injection")]
            Command::Fault { fault, reply } => {
                self.hub.arm(fault, now);
                answer(reply, ());
            }
            Command::Inspect { reply } => answer(reply, self.hub.inspect()),
            Command::Rebuild { reply } => {
                self.hub.rebuild(now);
                answer(reply, ());
            }
            Command::Checked(round) => {
                let changed = self.health.checked(round, now);
                self.tell_watchers(changed, now);
            }
            Command::Lifecycle(step) => {
                let changed = self.health.step(step);
                self.tell_watchers(changed, now);
            }
            Command::Drain { reply } => self.drain(reply, now),
        }
    }

    fn tell_watchers(&mut self, changed: bool, now: Now) {
        if changed {
            self.watchers
                .tell_all(UpdateReason::Changed, &mut self.health, now);
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe, now: Now) {
        let Subscribe {
            thread_id,
            position,
            encoding,
            outlet,
            synthetic,
            admitted,
        } = subscribe;
        let subscribed = self.hub.subscribe(
            &thread_id,
            position.as_ref(),
            encoding,
            synthetic,
            now.monotonic,
        );
        let id = subscribed.as_ref().ok().copied();
        let listening = admitted.send(subscribed).is_ok();
        let Some(id) = id else { return };
        if listening {
            self.outlets.insert(id, outlet);
        } else {
            self.hub.remove_reader(id, now.monotonic);
        }
    }

    fn drain(&mut self, reply: oneshot::Sender<()>, now: Now) {
        self.health.drain();
        self.watchers
            .tell_all(UpdateReason::Draining, &mut self.health, now);
        self.hub.drain(now);
        self.drained = Some(reply);
    }

    /// When every reader is gone, accounts for what none of them got.
    fn finish_drain(&mut self) {
        if !self.outlets.is_empty() {
            return;
        }
        let Some(drained) = self.drained.take() else {
            return;
        };
        let dropped = self.hub.drop_pending();
        if dropped > 0 {
            tracing::warn!(
                events = dropped,
                "events that no reader came for end with the process"
            );
        }
        answer(drained, ());
    }

    fn flush(&mut self) {
        if !self.hub.any_dirty() {
            return;
        }
        // Not the turn's: taking in what came with it is part of an event's delay.
        let now = self.clock.now().monotonic;
        let mut ready = std::mem::take(&mut self.ready);
        self.hub.take_dirty(&mut ready, now);
        for id in ready.drain(..) {
            self.write(id, now);
        }
        // What was shared between readers is kept in the window, or gone.
        self.batch.clear();
        self.ready = ready;
    }

    /// Writes until nothing is left or the socket is full. A reader's lag is bounded by its
    /// window, and so is this loop.
    fn write(&mut self, id: ConnectionId, now: Instant) {
        while !self.hub.is_blocked(id) {
            self.hub.gather(id, &mut self.batch, now);
            let Some(outlet) = self.outlets.get_mut(id) else {
                return;
            };
            if self.batch.chunks().is_empty() {
                return;
            }
            let taken = match outlet.try_write(self.batch.chunks()) {
                Ok(taken) => taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => {
                    tracing::debug!(%error, "a reader is gone");
                    return self.remove(id, now);
                }
            };
            if self.hub.wrote(id, &self.batch, taken, now) {
                return self.remove(id, now);
            }
            if !self.batch.full() {
                return;
            }
        }
    }

    fn remove(&mut self, id: ConnectionId, now: Instant) {
        self.hub.remove_reader(id, now);
        self.outlets.remove(id);
    }
}

/// Answers a question; one who no longer waits for the answer needs none.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _ = reply.send(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::testing::event;

    #[tokio::test(start_paused = true)]
    async fn senders_wait_where_the_mailbox_is_full_and_nothing_is_lost() {
        let limits = HubLimits {
            mailbox: 16,
            ..HubLimits::default()
        };
        let identity = Identity {
            component_id: "bridge".into(),
            instance_id: "one".into(),
        };
        let (hub, hub_loop) = start(limits, &identity, Clock::simulated());
        let mut publishing = tokio::task::JoinSet::new();
        let (told, mut telling) = mpsc::channel(32);
        for number in 0..17 {
            let (hub, told) = (hub.clone(), told.clone());
            publishing.spawn(async move {
                let (reply, answer) = oneshot::channel();
                hub.tell(Command::Publish {
                    events: vec![event("t", "r", &number.to_string())],
                    rejected: 0,
                    reply,
                })
                .await;
                told.send(()).await.unwrap();
                answer.await
            });
        }
        for _ in 0..16 {
            telling.recv().await.unwrap();
        }
        // A question finds no room either, and says so in time.
        assert_eq!(
            hub.health().await.map(|report| report.sequence),
            Err(HubError::Timeout(ANSWER_DEADLINE))
        );
        assert!(telling.try_recv().is_err(), "the seventeenth found a place");
        tokio::spawn(hub_loop);
        while let Some(published) = publishing.join_next().await {
            assert_eq!(published.unwrap().unwrap().unwrap().len(), 1);
        }
        let (report, ..) = hub.metrics().await.unwrap();
        assert_eq!(report.stages.accepted, 17);
    }
}
