//! An honest component: a small model of a bridge. What it says is true, and it says it in time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::dice::{Dice, MILLI, SECOND};
use super::monitor::{name, shifted};
use super::world::At;
use crate::audit::claims::CHECK_INTERVAL_GAUGE;
use crate::audit::deliveries::{READ_PENDING_GAUGE, UNACKNOWLEDGED_GAUGE};
use crate::domain::{
    CheckClaim, ClaimedState, DeliveryClaim, HealthClaim, LifecycleClaim, MetricsClaim,
};

/// Events of a thread that can be replayed.
const WINDOW: usize = 60;
/// Rounds of checks in which no more than two degradations begin: the third would be flapping.
const CALM_ROUNDS: u64 = 25;
/// A beat may come this late, and brings one round of checks, however many there were.
const OBSERVED_EVERY: At = 30 * SECOND;
/// How old the status may be that a call is answered with: beside its clock's error less than what
/// is tolerated of its times.
const SAMPLE: At = 350 * MILLI;
/// How far an honest clock is off.
const SKEW_MAX: u64 = 100 * MILLI;

/// What stays the same over restarts.
#[derive(Clone)]
pub(super) struct Nature {
    place: usize,
    /// In which time the next message of its stream is promised.
    pub(super) promise: At,
    check_interval: At,
    announces_checks: bool,
    /// Its loop makes one status in this time, and everybody gets the newest one. `None`: each
    /// gets its own.
    sample: Option<At>,
    /// It delivers events, and counts them.
    delivers: bool,
    /// It says how old the oldest event is that waits for a reader or for its acknowledgement.
    tells_ages: bool,
    /// It counts its failures instead of its successes.
    counts_failures: bool,
    skew: i64,
}

impl Nature {
    pub(super) fn new(place: usize, delivers: bool, dice: &mut Dice) -> Self {
        let promise = match dice.number(0, 19) {
            0..=1 => SECOND,
            2..=13 => 10 * SECOND,
            _ => 30 * SECOND,
        };
        let (check_interval, announces_checks) = match dice.number(0, 3) {
            0 => (10 * SECOND, false),
            1 => (60 * SECOND, false),
            2 => (60 * SECOND, true),
            _ => (600 * SECOND, true),
        };
        let skew = i64::try_from(dice.number(0, 2 * SKEW_MAX)).unwrap();
        Self {
            place,
            promise,
            check_interval,
            announces_checks,
            sample: dice.chance(0.2).then_some(SAMPLE),
            delivers,
            tells_ages: dice.chance(0.5),
            counts_failures: dice.chance(0.5),
            skew: skew - i64::try_from(SKEW_MAX).unwrap(),
        }
    }
}

/// Who an event is; the same for everybody who sees it.
pub(super) struct Facts {
    pub(super) event_id: String,
    pub(super) thread_id: Rc<str>,
    pub(super) run_id: Rc<str>,
    pub(super) kind: &'static str,
    pub(super) tool_call_id: String,
}

/// An event in a thread's log.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) facts: Rc<Facts>,
    accepted: At,
    /// When it is first written to a reader, and to which one.
    written: Option<(At, usize)>,
}

/// A thread's log.
pub(super) struct Log {
    pub(super) epoch: Rc<str>,
    pub(super) last: u64,
    pub(super) entries: VecDeque<Entry>,
}

/// An acknowledgement that has not come yet.
struct Unacknowledged {
    /// Which reader of the session.
    reader: usize,
    written: At,
    comes: At,
}

/// One process of the component.
pub(super) struct Bridge {
    pub(super) nature: Nature,
    instance: String,
    started: At,
    pub(super) state: ClaimedState,
    sequence: u64,
    /// When the newest status was made.
    sampled: At,
    lifecycle: LifecycleClaim,
    ledger: DeliveryClaim,
    /// First writes that are under way.
    writing: BinaryHeap<Reverse<(At, usize)>>,
    unacknowledged: Vec<Unacknowledged>,
    /// The last check between two rounds, which found a change; and how many there were.
    checked_between: (At, u64),
    /// When the last two degradations began.
    degraded: VecDeque<At>,
    pub(super) logs: BTreeMap<Rc<str>, Log>,
    epochs: u64,
}

impl Bridge {
    pub(super) fn new(nature: Nature, instance: u64, at: At, dice: &mut Dice) -> Self {
        let failed = dice.number(0, 2);
        let total = failed + 1;
        Self {
            instance: format!("{}-{instance}", name(nature.place)),
            nature,
            started: at,
            state: ClaimedState::Initializing,
            sequence: 0,
            sampled: 0,
            lifecycle: LifecycleClaim {
                total_initializations: total,
                successful_initializations: 1,
                failed_initializations: failed,
                ..LifecycleClaim::default()
            },
            ledger: DeliveryClaim::default(),
            writing: BinaryHeap::new(),
            unacknowledged: Vec::new(),
            checked_between: (0, 0),
            degraded: VecDeque::new(),
            logs: BTreeMap::new(),
            epochs: 0,
        }
    }

    fn clock(&self, true_time: SystemTime) -> SystemTime {
        shifted(true_time, self.nature.skew)
    }

    /// When the last check ended.
    fn checked(&self, at: At) -> At {
        let rounds = (at - self.started) / self.nature.check_interval;
        let round = self.started + rounds * self.nature.check_interval;
        round.max(self.checked_between.0)
    }

    /// A status made now, or the newest one.
    pub(super) fn status(&mut self, fresh: bool, at: At, true_time: SystemTime) -> HealthClaim {
        let sample = self.nature.sample.filter(|_| !fresh);
        if self.sequence == 0 || sample.is_none_or(|sample| at >= self.sampled + sample) {
            self.sequence += 1;
            self.sampled = at;
        }
        let healthy = self.state == ClaimedState::Active;
        let well = self.state != ClaimedState::Degraded;
        let before = |moment: At| true_time - Duration::from_micros(at - moment);
        HealthClaim {
            component_id: name(self.nature.place),
            instance_id: self.instance.clone(),
            sequence: self.sequence,
            observe_time: Some(self.clock(before(self.sampled))),
            state: self.state,
            healthy,
            checks: vec![CheckClaim {
                name: "registry".into(),
                healthy: well,
                message: String::new(),
                latency: Some(Duration::from_millis(1)),
            }],
            consecutive_failures: u32::from(!well),
            uptime: Some(Duration::from_micros(at - self.started)),
            last_health_check_time: Some(self.clock(before(self.checked(at)))),
            error_message: if well {
                String::new()
            } else {
                "the registry is slow".into()
            },
        }
    }

    pub(super) fn metrics(&mut self, at: At, true_time: SystemTime) -> MetricsClaim {
        self.settle(at);
        let counts = &mut self.lifecycle;
        let rounds = (at - self.started) / self.nature.check_interval;
        counts.health_checks_performed = rounds + self.checked_between.1;
        let total = counts.total_initializations as f64;
        counts.success_rate = if self.nature.counts_failures {
            1.0 - counts.failed_initializations as f64 / total
        } else {
            counts.successful_initializations as f64 / total
        };
        let mut gauges = BTreeMap::new();
        if self.nature.announces_checks {
            let seconds = self.nature.check_interval as f64 / SECOND as f64;
            gauges.insert(CHECK_INTERVAL_GAUGE.to_owned(), seconds);
        }
        let delivery = self.nature.delivers.then(|| self.delivery(at, &mut gauges));
        MetricsClaim {
            component_id: name(self.nature.place),
            instance_id: self.instance.clone(),
            observe_time: Some(self.clock(true_time)),
            lifecycle: self.lifecycle,
            delivery,
            gauges,
        }
    }

    fn delivery(&self, at: At, gauges: &mut BTreeMap<String, f64>) -> DeliveryClaim {
        let age = |moment: At| Duration::from_micros(at - moment);
        let entries = || self.logs.values().flat_map(|log| &log.entries);
        let pending =
            entries().filter(|entry| entry.written.is_none_or(|(written, _)| written > at));
        let oldest = pending.map(|entry| entry.accepted).min();
        if self.nature.tells_ages {
            let read =
                entries().filter(|entry| entry.written.is_some_and(|(written, _)| written > at));
            let read = read.map(|entry| entry.accepted).min();
            let unacknowledged = self.unacknowledged.iter().map(|ack| ack.written);
            let unacknowledged = unacknowledged.filter(|written| *written <= at).min();
            let mut say = |gauge: &str, since: Option<At>| {
                if let Some(since) = since {
                    gauges.insert(gauge.to_owned(), age(since).as_secs_f64());
                }
            };
            say(READ_PENDING_GAUGE, read);
            say(UNACKNOWLEDGED_GAUGE, unacknowledged);
        }
        DeliveryClaim {
            oldest_pending_age: oldest.map(age),
            ..self.ledger.clone()
        }
    }

    /// Counts what has been written and acknowledged by now.
    fn settle(&mut self, at: At) {
        while let Some(Reverse((written, _))) = self.writing.peek().copied()
            && written <= at
        {
            self.writing.pop();
            self.ledger.pending -= 1;
            self.ledger.delivered += 1;
        }
        let before = self.unacknowledged.len();
        self.unacknowledged.retain(|ack| ack.comes > at);
        self.ledger.acknowledged += (before - self.unacknowledged.len()) as u64;
    }

    /// Whether one more degradation is no flapping yet.
    pub(super) fn may_degrade(&self, at: At) -> bool {
        let calm = CALM_ROUNDS * self.nature.check_interval.max(OBSERVED_EVERY);
        self.degraded.len() < 2 || at >= self.degraded[0] + calm
    }

    fn checks(&mut self, at: At) {
        self.checked_between = (at, self.checked_between.1 + 1);
    }

    pub(super) fn degrades(&mut self, at: At) {
        self.checks(at);
        if self.degraded.len() == 2 {
            self.degraded.pop_front();
        }
        self.degraded.push_back(at);
        self.state = ClaimedState::Degraded;
    }

    /// Works again after an attempt at recovery.
    pub(super) fn recovers(&mut self, at: At) {
        self.checks(at);
        self.state = ClaimedState::Active;
        self.lifecycle.recovery_attempts += 1;
        self.lifecycle.successful_recoveries += 1;
    }

    /// Whether events are taken in.
    pub(super) fn takes_events(&self) -> bool {
        matches!(self.state, ClaimedState::Active | ClaimedState::Degraded)
    }

    pub(super) fn log(&mut self, thread: &Rc<str>) -> &mut Log {
        if !self.logs.contains_key(thread) {
            self.epochs += 1;
            let log = Log {
                epoch: format!("{}/{}", self.instance, self.epochs).into(),
                last: 0,
                entries: VecDeque::new(),
            };
            self.logs.insert(thread.clone(), log);
        }
        self.logs.get_mut(thread).unwrap()
    }

    /// Takes an event in; returns its sequence.
    pub(super) fn accept(&mut self, facts: &Rc<Facts>, at: At) -> u64 {
        self.settle(at);
        self.ledger.accepted += 1;
        self.ledger.pending += 1;
        match facts.kind {
            "agent_started" => self.ledger.runs_open += 1,
            "agent_completed" | "agent_error" => {
                self.ledger.runs_open = self.ledger.runs_open.saturating_sub(1);
            }
            _ => {}
        }
        let log = self.log(&facts.thread_id);
        log.last += 1;
        let sequence = log.last;
        log.entries.push_back(Entry {
            sequence,
            facts: facts.clone(),
            accepted: at,
            written: None,
        });
        let left = (log.entries.len() > WINDOW).then(|| log.entries.pop_front());
        if left.flatten().is_some_and(|entry| entry.written.is_none()) {
            self.ledger.pending -= 1;
            self.ledger.expired += 1;
        }
        sequence
    }

    /// An event goes to a reader, who has it at `written`. `acks`: how long after it that reader
    /// acknowledges it. `None`: it never does.
    pub(super) fn writes(
        &mut self,
        thread: &Rc<str>,
        sequence: u64,
        (reader, acks): (usize, Option<At>),
        written: At,
    ) {
        let log = self.log(thread);
        let found = log.entries.iter_mut().rev();
        let mut found = found.skip_while(|entry| entry.sequence != sequence);
        if let Some(entry) = found.next()
            && entry.written.is_none()
        {
            entry.written = Some((written, reader));
            self.writing.push(Reverse((written, reader)));
            self.unacknowledged.extend(acks.map(|after| Unacknowledged {
                reader,
                written,
                comes: written + after,
            }));
        }
    }

    pub(super) fn connected(&mut self) {
        self.ledger.connections_open += 1;
        self.ledger.connections_opened += 1;
    }

    /// A reader goes; what is on its way to it has been written, and it acknowledges no more.
    pub(super) fn disconnected(&mut self, reader: usize, at: At) {
        let by_now = |(written, to): (At, usize)| match to == reader {
            true => (written.min(at), to),
            false => (written, to),
        };
        let writing = std::mem::take(&mut self.writing).into_iter();
        self.writing = writing.map(|Reverse(one)| Reverse(by_now(one))).collect();
        let entries = self.logs.values_mut().flat_map(|log| &mut log.entries);
        entries.for_each(|entry| entry.written = entry.written.map(by_now));
        self.settle(at);
        self.unacknowledged.retain(|ack| ack.reader != reader);
        self.ledger.connections_open -= 1;
        self.ledger.connections_closed += 1;
    }

    /// Forgets threads that nobody uses any more, as after its time of retention.
    pub(super) fn forget_threads(&mut self, at: At) {
        self.settle(at);
        let entries = self.logs.values().flat_map(|log| &log.entries);
        let unread = entries.filter(|entry| entry.written.is_none()).count() as u64;
        self.ledger.pending -= unread;
        self.ledger.expired += unread;
        self.logs.clear();
    }
}
