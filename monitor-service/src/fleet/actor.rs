//! The loop around the fleet's state: turns the mailbox and the tick into calls, and effects into
//! deeds.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use service_kit::clock::Clock;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::api::{Command, FindingFilter, FleetHandle, Probes};
use super::component::Waiter;
use super::settings::{FleetSettings, Identity};
use super::state::{Effect, FleetState};
use crate::alert::Outbox;
use crate::domain::{Audit, Finding};

/// The fleet's handle, and the loop to run. The loop never returns by itself: it answers until
/// it is dropped, also after [`Command::Drain`], so that what is known can be read to the end.
pub(crate) fn start(
    settings: FleetSettings,
    identity: Identity,
    clock: Clock,
    probes: impl Probes,
    alerts: Outbox,
) -> (FleetHandle, impl Future<Output = ()> + Send + 'static) {
    let (sender, mailbox) = mpsc::channel(settings.mailbox_max.max(1));
    let handle = FleetHandle::new(sender, settings.answer_deadline);
    let (findings, _) = broadcast::channel(settings.finding_backlog_max.max(1));
    let actor = Actor {
        state: FleetState::new(settings, identity, clock.now()),
        clock,
        probes,
        alerts,
        handle: handle.clone(),
        findings,
        waiters: HashMap::new(),
        next_waiter: 0,
    };
    (handle, actor.run(mailbox, settings))
}

struct Actor<P> {
    state: FleetState,
    clock: Clock,
    probes: P,
    alerts: Outbox,
    handle: FleetHandle,
    findings: broadcast::Sender<Finding>,
    waiters: HashMap<Waiter, oneshot::Sender<Arc<Audit>>>,
    next_waiter: Waiter,
}

impl<P: Probes> Actor<P> {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>, settings: FleetSettings) {
        let mut ticks = tokio::time::interval(settings.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The tick comes first, so that a full mailbox cannot keep it waiting.
            tokio::select! {
                biased;
                due = ticks.tick() => {
                    let now = self.clock.now();
                    self.state.turn(now);
                    self.state.tick(now.since(due.into_std()), now);
                }
                // The actor holds a handle itself, so the mailbox never closes.
                Some(command) = mailbox.recv() => self.obey(command),
            }
            self.perform();
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        let state = &mut self.state;
        state.turn(now);
        // A caller that no longer waits needs no answer.
        match command {
            // Whoever gave up was told that it failed, and must not find it done later.
            Command::Register { reply, .. } if reply.is_closed() => {}
            Command::Register { target, reply } => {
                let _ = reply.send(state.register(target, now));
            }
            Command::Remove {
                component_id,
                reply,
            } => {
                let _ = reply.send(state.remove(&component_id, now));
            }
            Command::List { reply } => {
                let _ = reply.send(state.list());
            }
            Command::Audit {
                component_id,
                reply,
            } => {
                self.next_waiter += 1;
                self.waiters.insert(self.next_waiter, reply);
                state.audit(&component_id, self.next_waiter, now);
            }
            Command::Audits {
                component_id,
                limit,
                reply,
            } => {
                let _ = reply.send(state.audits(&component_id, limit));
            }
            Command::Summary { reply } => {
                let _ = reply.send(state.summary(now));
            }
            Command::Findings { filter, reply } => {
                let _ = reply.send(state.findings(&filter));
            }
            Command::WatchFindings { reply } => {
                let open = FindingFilter {
                    open: Some(true),
                    ..FindingFilter::default()
                };
                let _ = reply.send((state.findings(&open), self.findings.subscribe()));
            }
            Command::Thread {
                component_id,
                thread_id,
                reply,
            } => {
                let _ = reply.send(state.thread(&component_id, &thread_id, now));
            }
            Command::Report { report, reply } => {
                let _ = reply.send((state.report(&report, now), now.wall));
            }
            Command::Probe {
                component_id,
                generation,
                event,
            } => {
                state.probe(&component_id, generation, event, now);
            }
            Command::ProbeEnded {
                component_id,
                generation,
                why,
            } => {
                tracing::error!(%component_id, generation, %why, "a probe ended by itself");
                state.probe_ended(&component_id, generation, &why, now);
            }
            Command::SelfReport { reply } => {
                let _ = reply.send(state.self_report(now));
            }
            Command::Adopt(settings) => state.adopt(&settings),
            Command::Drain => state.drain(now),
            Command::StartMaintenance {
                component_id,
                duration,
                reply,
            } => {
                let _ = reply.send(state.start_maintenance(&component_id, duration, now));
            }
            Command::EndMaintenance {
                component_id,
                reply,
            } => {
                let _ = reply.send(state.end_maintenance(&component_id));
            }
            Command::Alert(event) => state.alert_event(event, now),
        }
    }

    fn perform(&mut self) {
        for effect in self.state.take_effects() {
            match effect {
                Effect::StartProbe { target, generation } => {
                    self.probes.start(target, generation, self.handle.clone());
                }
                Effect::StopProbe(component_id) => self.probes.stop(&component_id),
                Effect::AuditNow(component_id) => self.probes.audit_now(&component_id),
                Effect::Publish(finding) => {
                    log(&finding);
                    // Nobody may be watching.
                    let _ = self.findings.send(finding);
                }
                Effect::Suppressed {
                    component_id,
                    count,
                } => {
                    tracing::warn!(%component_id, count, "too many findings are open; no more open");
                }
                Effect::Answer { waiter, audit } => {
                    if let Some(reply) = self.waiters.remove(&waiter) {
                        let _ = reply.send(audit);
                    }
                }
                Effect::Alert(alert) => {
                    if let Some(lost) = self.alerts.leave(alert) {
                        tracing::warn!("an alert was dropped: too many are waiting");
                        self.state.alert_lost(lost, self.clock.now());
                    }
                }
                Effect::Stretch(factor) => self.probes.stretch(factor),
            }
        }
    }
}

fn log(finding: &Finding) {
    let Finding {
        component_id,
        rule_id,
        subject,
        message,
        ..
    } = finding;
    if finding.resolve_time.is_some() {
        tracing::info!(%component_id, rule_id, subject, "resolved");
    } else {
        tracing::warn!(%component_id, rule_id, subject, message, "found");
    }
}
