//! Traffic: agents at work, and chat users who read along, lose the connection and return.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::bridge::Facts;
use super::dice::{MILLI, SECOND};
use super::reader::{Arrival, Reader};
use super::script::{Step, script};
use super::witness::{Note, Observer};
use super::world::{At, What, World};
use crate::domain::Vantage;

#[derive(Clone, Copy)]
pub(super) enum SessionStep {
    /// An agent's next event.
    Acts(usize),
    /// A reader connects.
    Connects(usize),
    /// Every reader loses its connection.
    Storm,
    /// The component ends the connections, in order.
    Goodbye,
    /// An observer's next report.
    Posts(usize),
    /// An observer waits for no answer any more.
    GivesUp(usize, u64),
    Burst,
    Ends,
    Over,
}

/// An agent, one run after the other on one thread.
struct Agent {
    thread: Rc<str>,
    run: Rc<str>,
    runs: u64,
    events: u64,
    /// Last step first.
    script: Vec<Step>,
    /// The step that could not be handed in yet.
    held: Option<Step>,
}

pub(super) struct Session {
    pub(super) number: u64,
    pub(super) observers: Vec<Observer>,
    /// Which observer sees what the agents hand in. `None`: nobody reports it.
    producer: Option<usize>,
    agents: Vec<Agent>,
    pub(super) readers: Vec<Reader>,
    until: At,
    /// Deliveries are slow before this moment.
    pub(super) overloaded_until: At,
    ending: bool,
}

impl World {
    pub(super) fn plan_session(&mut self, number: usize) {
        let idle = match self.core.dice.number(0, 9) {
            0 => self.core.dice.seconds(600, 3_600),
            _ => self.core.dice.seconds(20, 300),
        };
        let sessions = self.places[number].sessions;
        let begins = What::Session(number, sessions, SessionStep::Over);
        self.core.later(idle, begins);
    }

    fn begins(&mut self, number: usize) {
        let dice = &mut self.core.dice;
        let place = &mut self.places[number];
        place.sessions += 1;
        let id = place.sessions;
        let lasts = dice.seconds(60, 180);
        let threads: Vec<Rc<str>> = (0..dice.number(1, 2))
            .map(|thread| format!("t{id}.{thread}").into())
            .collect();
        let mut observers = Vec::new();
        if dice.chance(0.95) {
            let name = format!("agent{number}.{id}");
            observers.push(Observer::new(name, Vantage::Producer, dice));
        }
        let producer = (!observers.is_empty()).then_some(0);
        let mut readers = Vec::new();
        for user in 0..dice.number(0, 3) {
            let name = format!("user{number}.{id}.{user}");
            observers.push(Observer::new(name, Vantage::Consumer, dice));
            let all = dice.chance(0.6);
            let one = threads[dice.index(threads.len())].clone();
            readers.push(Reader {
                observer: observers.len() - 1,
                threads: if all { threads.clone() } else { vec![one] },
                acknowledges: dice.chance(0.6),
                connected: false,
                connections: 0,
                lines: BTreeMap::new(),
                positions: BTreeMap::new(),
                last_arrival: 0,
            });
        }
        let agents = threads.iter().map(|thread| Agent {
            thread: thread.clone(),
            run: thread.clone(),
            runs: 0,
            events: 0,
            script: Vec::new(),
            held: None,
        });
        place.session = Some(Session {
            number: id,
            producer,
            agents: agents.collect(),
            readers,
            observers,
            until: self.core.at + lasts,
            overloaded_until: 0,
            ending: false,
        });
        self.plan_first_steps(number, id);
    }

    fn plan_first_steps(&mut self, number: usize, id: u64) {
        let Some(session) = &self.places[number].session else {
            return;
        };
        let core = &mut self.core;
        for observer in 0..session.observers.len() {
            let first = core.dice.millis(0, 300);
            core.later(
                first,
                What::Session(number, id, SessionStep::Posts(observer)),
            );
        }
        for reader in 0..session.readers.len() {
            // Some come when it is half over.
            let late = core.dice.chance(0.2);
            let first = core.dice.millis(0, if late { 60_000 } else { 2_000 });
            core.later(
                first,
                What::Session(number, id, SessionStep::Connects(reader)),
            );
        }
        for agent in 0..session.agents.len() {
            let first = core.dice.millis(0, 4_000);
            core.later(first, What::Session(number, id, SessionStep::Acts(agent)));
        }
        let storm = core.dice.seconds(10, 90);
        core.later(storm, What::Session(number, id, SessionStep::Storm));
        if core.dice.chance(0.25) {
            let burst = core.dice.seconds(5, 60);
            core.later(burst, What::Session(number, id, SessionStep::Burst));
        }
    }

    pub(super) fn session_step(&mut self, number: usize, id: u64, step: SessionStep) {
        let Some(session) = &mut self.places[number].session else {
            if matches!(step, SessionStep::Over) && self.places[number].sessions == id {
                self.begins(number);
            }
            return;
        };
        if session.number != id {
            return;
        }
        match step {
            SessionStep::Acts(agent) => self.acts(number, agent),
            SessionStep::Connects(reader) => self.connects(number, reader),
            SessionStep::Storm => {
                self.core.troubles.count("storms", 1);
                let next = self.core.dice.seconds(20, 120);
                self.core
                    .later(next, What::Session(number, id, SessionStep::Storm));
                self.cuts_readers(number, 4_000);
            }
            SessionStep::Goodbye => self.cuts_readers(number, 1_000),
            SessionStep::Posts(who) => self.posts(number, who),
            SessionStep::GivesUp(who, report) => self.gives_up(number, who, report),
            SessionStep::Burst => self.bursts(number),
            SessionStep::Ends => self.ends(number),
            SessionStep::Over => self.over(number),
        }
    }

    /// More at once than readers take, for a moment.
    fn bursts(&mut self, number: usize) {
        let at = self.core.at;
        let Some(session) = &mut self.places[number].session else {
            return;
        };
        let mut busy = session.agents.iter_mut();
        let busy = busy.find(|agent| agent.events > 0 && !agent.script.is_empty());
        if let Some(agent) = busy {
            self.core.troubles.count("bursts", 1);
            let events = self.core.dice.number(30, 250);
            let pace = self.core.dice.millis(5, 20);
            // What was to come next has been waited for already.
            if let Some(next) = agent.script.last_mut() {
                next.wait = pace;
            }
            for _ in 0..events {
                agent
                    .script
                    .push(Step::new(pace, "agent_thinking", String::new()));
            }
            session.overloaded_until = at + events * pace + SECOND;
            if self.core.dice.chance(0.3) {
                // Who returns after it finds a part of the log gone.
                let storm = What::Session(number, session.number, SessionStep::Goodbye);
                self.core.later(events * pace / 4, storm);
            }
        }
    }

    fn acts(&mut self, number: usize, who: usize) {
        let at = self.core.at;
        let place = &mut self.places[number];
        let ready = place.up && place.bridge.takes_events();
        let Some(session) = &mut place.session else {
            return;
        };
        let id = session.number;
        let agent = &mut session.agents[who];
        let step = match agent.held.take() {
            Some(step) => step,
            None if agent.script.is_empty() => {
                if at >= session.until {
                    if !std::mem::replace(&mut session.ending, true) {
                        self.core
                            .later(5 * SECOND, What::Session(number, id, SessionStep::Ends));
                    }
                    return;
                }
                agent.runs += 1;
                agent.events = 0;
                agent.run = format!("{}/run{}", agent.thread, agent.runs).into();
                agent.script = script(&agent.run, &mut self.core.dice);
                self.core.troubles.count("runs", 1);
                let first = self.core.dice.millis(100, 5_000);
                self.core
                    .later(first, What::Session(number, id, SessionStep::Acts(who)));
                return;
            }
            None => agent.script.pop().unwrap(),
        };
        if !ready {
            agent.held = Some(step);
            let again = self.core.dice.millis(200, 800);
            self.core
                .later(again, What::Session(number, id, SessionStep::Acts(who)));
            return;
        }
        agent.events += 1;
        let facts = Rc::new(Facts {
            event_id: format!("{}.{}", agent.run, agent.events),
            thread_id: agent.thread.clone(),
            run_id: agent.run.clone(),
            kind: step.kind,
            tool_call_id: step.tool,
        });
        let wait = agent.script.last().map_or(MILLI, |next| next.wait);
        self.core
            .later(wait, What::Session(number, id, SessionStep::Acts(who)));
        self.publishes(number, &facts);
    }

    fn publishes(&mut self, number: usize, facts: &Rc<Facts>) {
        let at = self.core.at;
        let place = &mut self.places[number];
        let Some(session) = &mut place.session else {
            return;
        };
        let sequence = place.bridge.accept(facts, at);
        let epoch = place.bridge.log(&facts.thread_id).epoch.clone();
        if let Some(producer) = session.producer {
            session.observers[producer].notebook.push_back(Note {
                seen: at + MILLI,
                facts: facts.clone(),
                sequence,
                epoch: epoch.clone(),
                arrival: Arrival::default(),
            });
        }
        let overloaded = at < session.overloaded_until;
        for (who, reader) in session.readers.iter_mut().enumerate() {
            if !reader.connected || !reader.threads.contains(&facts.thread_id) {
                continue;
            }
            let latency = match overloaded {
                true => self.core.dice.millis(200, 900),
                false => self.core.dice.number(300, 50 * MILLI),
            };
            let arrives = (at + latency).max(reader.last_arrival + 20);
            reader.last_arrival = arrives;
            let position = (epoch.clone(), sequence);
            reader.positions.insert(facts.thread_id.clone(), position);
            let acks = (who, reader.acknowledges(&mut self.core.dice));
            place
                .bridge
                .writes(&facts.thread_id, sequence, acks, arrives);
            session.observers[reader.observer].notebook.push_back(Note {
                seen: arrives,
                facts: facts.clone(),
                sequence,
                epoch: epoch.clone(),
                arrival: reader.arrives(&facts.thread_id, sequence),
            });
        }
    }

    fn ends(&mut self, number: usize) {
        let agents_done = |session: &Session| {
            let mut agents = session.agents.iter();
            agents.all(|agent| agent.script.is_empty() && agent.held.is_none())
        };
        let Some(session) = &mut self.places[number].session else {
            return;
        };
        let id = session.number;
        if !agents_done(session) {
            self.core
                .later(5 * SECOND, What::Session(number, id, SessionStep::Ends));
            return;
        }
        for observer in &mut session.observers {
            observer.leaves = true;
        }
        self.cuts_readers(number, 1);
        self.core
            .later(5 * SECOND, What::Session(number, id, SessionStep::Over));
    }

    fn over(&mut self, number: usize) {
        let place = &mut self.places[number];
        let Some(session) = &place.session else {
            return;
        };
        if session.observers.iter().any(|observer| !observer.gone) {
            let again = What::Session(number, session.number, SessionStep::Over);
            self.core.later(5 * SECOND, again);
            return;
        }
        place.session = None;
        if place.up {
            place.bridge.forget_threads(self.core.at);
        }
        self.plan_session(number);
    }
}
