//! Observers that tell the monitor what they saw, past the component, over lines of their own.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::bridge::Facts;
use super::dice::{Dice, MILLI, SECOND};
use super::monitor::{Heard, Message, Monitor, name, shifted};
use super::reader::Arrival;
use super::session::SessionStep;
use super::world::{At, What, World};
use crate::domain::{Posting, Sighting, Vantage, WitnessReport};

/// Between two reports; each is a sign of life too.
const BEAT: At = 300 * MILLI;
/// Events that one report may carry.
const BATCH: usize = 1_000;
/// How long one report may take before it is sent again.
const DEADLINE: At = 2 * SECOND;
/// How long an observer's line may be down so that its next report comes in time all the same: less
/// than its promise by a deadline, a beat and the way; where it promises nothing, less than the
/// silence that is allowed then.
const SHORT_OUTAGE: At = 1_500 * MILLI;
const SHORT_PROMISE: At = 5 * SECOND;
const LONG_OUTAGE: At = 9 * SECOND;
const LONG_PROMISE: At = 15 * SECOND;
/// After an outage a line holds for so long.
const LINE_HOLDS: At = 20 * SECOND;

/// How an observer tells what it saw.
#[derive(Clone, Copy)]
enum Habit {
    /// As a browser may that posts receipts: nothing is numbered or promised.
    Plain,
    /// Its reports are numbered, and its events say on which connection they came.
    Numbered,
    /// It promises the next report, too.
    Promising(At),
}

impl Habit {
    fn new(dice: &mut Dice) -> Self {
        match dice.number(0, 9) {
            0..=1 => Self::Plain,
            2..=3 => Self::Numbered,
            4..=6 => Self::Promising(SHORT_PROMISE),
            _ => Self::Promising(LONG_PROMISE),
        }
    }

    fn is_numbered(self) -> bool {
        !matches!(self, Self::Plain)
    }

    fn promise(self) -> Option<At> {
        match self {
            Self::Promising(promise) => Some(promise),
            Self::Plain | Self::Numbered => None,
        }
    }

    fn longest_outage(self) -> At {
        match self {
            Self::Promising(LONG_PROMISE) => LONG_OUTAGE,
            _ => SHORT_OUTAGE,
        }
    }
}

/// An event in an observer's notebook.
#[derive(Clone)]
pub(super) struct Note {
    pub(super) seen: At,
    pub(super) facts: Rc<Facts>,
    pub(super) sequence: u64,
    pub(super) epoch: Rc<str>,
    pub(super) arrival: Arrival,
}

/// What one report tells. A numbered one that is not answered is sent again as it was.
#[derive(Clone)]
struct Report {
    number: u64,
    notes: Vec<Note>,
    reading: Vec<String>,
    sign_off: bool,
}

/// One report on its way.
pub(super) struct Post {
    place: usize,
    session: u64,
    /// Which observer of the session, and which of its attempts.
    who: usize,
    attempt: u64,
    observer_id: String,
    vantage: Vantage,
    habit: Habit,
    skew: i64,
    sent: At,
    report: Report,
    round_trip: Option<At>,
    /// Whether the answer comes back.
    answered: bool,
}

impl Post {
    /// What the monitor gets: the one place where reports are made.
    pub(super) fn report(&self, monitor: &Monitor) -> WitnessReport {
        let own_time = |at: At| shifted(monitor.true_time(at), self.skew);
        let arrival = |note: &Note| match self.habit {
            Habit::Plain => Arrival::default(),
            Habit::Numbered | Habit::Promising(_) => note.arrival.clone(),
        };
        let sighting = |note: &Note| Sighting {
            event_id: note.facts.event_id.clone(),
            component_id: name(self.place),
            thread_id: note.facts.thread_id.to_string(),
            run_id: note.facts.run_id.to_string(),
            event_type: note.facts.kind.to_owned(),
            sequence: note.sequence,
            tool_call_id: note.facts.tool_call_id.clone(),
            observe_time: Some(own_time(note.seen)),
            epoch: note.epoch.to_string(),
            connection_id: arrival(note).connection,
            arrival: arrival(note).number,
            replayed: arrival(note).replayed,
        };
        WitnessReport {
            observer_id: self.observer_id.clone(),
            vantage: self.vantage,
            component_id: name(self.place),
            sightings: self.report.notes.iter().map(sighting).collect(),
            reading: self.report.reading.clone(),
            sign_off: self.report.sign_off,
            posting: self.posting(own_time(self.sent)),
        }
    }

    fn posting(&self, sent: SystemTime) -> Posting {
        if !self.habit.is_numbered() {
            return Posting::default();
        }
        let promise = self.habit.promise().filter(|_| !self.report.sign_off);
        Posting {
            session_id: format!("session-of-{}", self.observer_id),
            number: self.report.number,
            sent: Some(sent),
            round_trip: self.round_trip.map(Duration::from_micros),
            next_within: promise.map(Duration::from_micros),
        }
    }

    /// When its observer no longer waits for the answer.
    pub(super) fn given_up_at(&self) -> At {
        self.sent + DEADLINE
    }

    pub(super) fn given_up(&self) -> What {
        let step = SessionStep::GivesUp(self.who, self.attempt);
        What::Session(self.place, self.session, step)
    }
}

pub(super) struct Observer {
    pub(super) name: String,
    pub(super) vantage: Vantage,
    habit: Habit,
    skew: i64,
    /// Reports overtake each other: each goes out in time, whatever became of the one before.
    parallel: bool,
    pub(super) notebook: VecDeque<Note>,
    pub(super) reading: BTreeSet<Rc<str>>,
    /// It named what it reads, so that its events alone no longer say so.
    named: bool,
    /// It read since its last report, and does no more.
    pub(super) has_left: bool,
    /// The report that waits for its answer.
    flying: Option<(u64, Report)>,
    attempts: u64,
    reports: u64,
    /// How long the last report took to be answered.
    round_trip: Option<At>,
    last: At,
    line_down_until: At,
    /// What is sent while the line is down arrives when it is up again; or never.
    line_keeps: bool,
    /// When the last report that is under way arrives.
    quiet_from: At,
    /// It signs off as soon as everything is told.
    pub(super) leaves: bool,
    pub(super) gone: bool,
}

impl Observer {
    pub(super) fn new(name: String, vantage: Vantage, dice: &mut Dice) -> Self {
        let skew = i64::try_from(dice.number(0, 100 * MILLI)).unwrap();
        Self {
            name,
            vantage,
            habit: Habit::new(dice),
            skew: skew - 50_000,
            parallel: dice.chance(0.2),
            notebook: VecDeque::new(),
            reading: BTreeSet::new(),
            named: false,
            has_left: false,
            flying: None,
            attempts: 0,
            reports: 0,
            round_trip: None,
            last: 0,
            line_down_until: 0,
            line_keeps: false,
            quiet_from: 0,
            leaves: false,
            gone: false,
        }
    }

    /// Whether its events say on which connection they came.
    pub(super) fn tells_arrivals(&self) -> bool {
        self.habit.is_numbered()
    }

    /// It reads no more; what it read in between is named once all the same.
    pub(super) fn stops_reading(&mut self) {
        if self.named {
            self.reading.clear();
        } else {
            self.has_left = true;
        }
    }

    /// What it reads, as the report says that is about to arrive.
    fn names_reading(&mut self, arrives: bool) -> Vec<String> {
        let named = self.reading.iter().map(ToString::to_string).collect();
        self.named |= arrives && !self.reading.is_empty();
        if self.has_left && arrives {
            self.has_left = false;
            self.reading.clear();
        }
        named
    }

    /// What it has seen by now and not told yet.
    fn take_notes(&mut self, at: At) -> Vec<Note> {
        let seen = self.notebook.iter().take_while(|note| note.seen <= at);
        let count = seen.count().min(BATCH);
        self.notebook.drain(..count).collect()
    }
}

/// What becomes of a report.
struct Fate {
    /// `None`: it never arrives.
    latency: Option<At>,
    answered: bool,
}

fn fate(observer: &mut Observer, at: At, dice: &mut Dice) -> Fate {
    if observer.parallel {
        let latency = Some(dice.millis(5, 700));
        return Fate {
            latency,
            answered: true,
        };
    }
    let throw = dice.number(0, 9_999);
    if at >= observer.line_down_until + LINE_HOLDS && throw < 15 {
        let longest = observer.habit.longest_outage();
        observer.line_down_until = at + dice.number(500 * MILLI, longest);
        observer.line_keeps = dice.chance(0.5);
    }
    if at < observer.line_down_until {
        // Where it arrives after all, it may have been given up and sent again long ago.
        let late = observer.line_down_until - at + observer.attempts;
        return Fate {
            latency: observer.line_keeps.then_some(late),
            answered: observer.line_keeps,
        };
    }
    let latency = match throw {
        100..200 => dice.millis(100, 900),
        _ => dice.millis(1, 30),
    };
    Fate {
        latency: Some(latency),
        answered: !(200..250).contains(&throw),
    }
}

impl World {
    pub(super) fn posts(&mut self, number: usize, who: usize) {
        let at = self.core.at;
        let place = &mut self.places[number];
        let Some(session) = &mut place.session else {
            return;
        };
        let observer = &mut session.observers[who];
        if observer.gone || observer.flying.is_some() {
            return;
        }
        let notes = observer.take_notes(at);
        let told = notes.is_empty() && observer.notebook.is_empty() && at > observer.quiet_from;
        let sign_off = observer.leaves && told && at >= observer.line_down_until;
        observer.reports += 1;
        let report = Report {
            number: observer.reports,
            notes,
            reading: Vec::new(),
            sign_off,
        };
        self.sends_report(number, who, report, false);
    }

    /// One attempt to tell a report. `again`: the one before was not answered.
    fn sends_report(&mut self, number: usize, who: usize, mut report: Report, again: bool) {
        let at = self.core.at;
        let Some(session) = &mut self.places[number].session else {
            return;
        };
        let session_number = session.number;
        let observer = &mut session.observers[who];
        observer.attempts += 1;
        observer.last = at;
        let was_down = observer.line_down_until;
        let fate = if report.sign_off {
            observer.gone = true;
            self.core.troubles.count("signed_off", 1);
            Fate {
                latency: Some(self.core.dice.millis(1, 30)),
                answered: true,
            }
        } else {
            fate(observer, at, &mut self.core.dice)
        };
        let troubles = &mut self.core.troubles;
        troubles.count("lines_down", u64::from(observer.line_down_until > was_down));
        troubles.count("told_again", u64::from(again));
        if !again {
            // A numbered report comes at last.
            let arrives = fate.latency.is_some() || observer.habit.is_numbered();
            report.reading = observer.names_reading(arrives);
        }
        let post = Post {
            place: number,
            session: session_number,
            who,
            attempt: observer.attempts,
            observer_id: observer.name.clone(),
            vantage: observer.vantage,
            habit: observer.habit,
            skew: observer.skew,
            sent: at,
            report,
            round_trip: observer.round_trip.filter(|_| !observer.parallel),
            answered: fate.answered,
        };
        if observer.parallel {
            let again = What::Session(number, session_number, SessionStep::Posts(who));
            self.core.later(BEAT, again);
        } else if !post.report.sign_off {
            observer.flying = Some((post.attempt, post.report.clone()));
            if !fate.answered || fate.latency > Some(DEADLINE) {
                self.core.plan(post.given_up_at(), post.given_up());
            }
        }
        if let Some(latency) = fate.latency {
            observer.quiet_from = observer.quiet_from.max(at + latency);
            let source = number as u64 * 1_000 + 2 + who as u64;
            let heard = Heard {
                place: number,
                source,
                waited: false,
                message: Message::Posted(post),
            };
            self.deliver(at + latency, heard);
        }
    }

    /// The monitor took a report in.
    pub(super) fn posted(&mut self, number: usize, post: &Post) {
        let at = self.core.at;
        let Some(session) = &mut self.places[number].session else {
            return;
        };
        if session.number != post.session || !post.answered {
            return;
        }
        let observer = &mut session.observers[post.who];
        if (observer.flying.as_ref()).is_some_and(|(flying, _)| *flying == post.attempt) {
            observer.flying = None;
            observer.round_trip = Some(at - post.sent);
            let next = (observer.last + BEAT).max(at + 2 * MILLI);
            let step = SessionStep::Posts(post.who);
            self.core
                .plan(next, What::Session(number, post.session, step));
        }
    }

    /// No answer came in time: the same is told again, where it is not numbered with what came
    /// since.
    pub(super) fn gives_up(&mut self, number: usize, who: usize, attempt: u64) {
        let Some(session) = &mut self.places[number].session else {
            return;
        };
        let observer = &mut session.observers[who];
        let flying = observer.flying.take_if(|(flying, _)| *flying == attempt);
        let Some((_, report)) = flying else {
            return;
        };
        if observer.habit.is_numbered() {
            self.sends_report(number, who, report, true);
            return;
        }
        for note in report.notes.into_iter().rev() {
            observer.notebook.push_front(note);
        }
        self.posts(number, who);
    }
}
