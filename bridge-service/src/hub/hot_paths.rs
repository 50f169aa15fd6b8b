//! The hub's hot paths, to be measured.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use service_kit::clock::Now;
use yardstick::{FLAT, HotPath, SAME, TENFOLD, Work};

use super::batch::Batch;
use super::encode::{self, Shown};
use super::epoch::Epoch;
use super::event::{Encoding, Event, EventType, Outcome, Subprotocol, Transport};
use super::idempotency::{IdempotencyWindow, Remembered};
use super::ledger::{Ledger, Step};
use super::limits::HubLimits;
use super::reader::ConnectionId;
use super::runs::Runs;
use super::state::Hub;
use super::window::Window;

/// A heap's depth grows with what it holds: three steps more at each tenfold.
const HEAP: f64 = 1.6;
/// Events of one call of `Publish`.
const BATCH: usize = 100;
/// Units where something else grows.
const REPEATS: usize = 1_000;
const ENCODING: Encoding = encoding(Subprotocol::Json, Transport::WebSocket);

/// Each of them is done for every event, reader or question.
#[rustfmt::skip]
pub(crate) const PATHS: &[HotPath] = &[
    HotPath::new("hub/publish", "event", "events", TENFOLD, FLAT, publish),
    HotPath::new("hub/open", "event", "new threads", TENFOLD, FLAT, open),
    HotPath::new("hub/runs", "event", "open runs", TENFOLD, FLAT, runs),
    HotPath::new("hub/fan_out", "frame", "readers of a thread", TENFOLD, FLAT, fan_out),
    HotPath::new("hub/chat", "frame", "threads, a reader each", TENFOLD, FLAT, chat),
    HotPath::new("hub/catch_up", "frame", "events missed", &[10, 100, 1_000], FLAT, catch_up),
    HotPath::new("hub/acknowledge", "event", "readers", TENFOLD, FLAT, acknowledge),
    HotPath::new("hub/join", "reader", "readers of a thread", TENFOLD, FLAT, join),
    HotPath::new("hub/leave", "reader", "readers of a thread", TENFOLD, FLAT, leave),
    HotPath::new("hub/heartbeat", "frame", "quiet readers", TENFOLD, HEAP, heartbeat),
    HotPath::new("hub/expire", "event", "threads", TENFOLD, HEAP, expire),
    HotPath::new("hub/make_room", "event", "idle threads", TENFOLD, FLAT, make_room),
    HotPath::new("hub/report", "report", "quiet readers", TENFOLD, FLAT, report),
    HotPath::new("hub/inspect", "thread", "threads", TENFOLD, FLAT, inspect),
    HotPath::new("hub/window", "event", "events kept", TENFOLD, FLAT, window),
    HotPath::new("hub/ledger", "step", "runs", TENFOLD, FLAT, ledger),
    HotPath::new("hub/idempotency", "event", "ids remembered", TENFOLD, FLAT, idempotency),
    HotPath::new("encode/json", "event", "", SAME, FLAT, encode_json),
    HotPath::new("encode/ag_ui", "event", "", SAME, FLAT, encode_ag_ui),
    HotPath::new("encode/cloud_events", "event", "", SAME, FLAT, encode_cloud_events),
    HotPath::new("encode/sse", "event", "", SAME, FLAT, encode_sse),
];

const fn encoding(subprotocol: Subprotocol, transport: Transport) -> Encoding {
    Encoding {
        subprotocol,
        transport,
    }
}

/// A hub whose readers' sockets take everything, and the buffers of its loop.
struct World {
    hub: Hub,
    batch: Batch,
    ready: Vec<ConnectionId>,
    now: Now,
}

impl World {
    fn new(limits: HubLimits, now: Now) -> Self {
        Self {
            hub: Hub::new(limits, 1),
            batch: Batch::default(),
            ready: Vec::new(),
            now,
        }
    }

    /// As many threads, with a reader each that has its welcome.
    fn with_chats(count: usize, now: Now) -> Self {
        let mut world = Self::new(HubLimits::default(), now);
        for n in 0..count {
            world.join(&format!("thread-{n}"));
        }
        world.flush();
        world
    }

    /// A thread with as many readers that have their welcome.
    fn with_readers(count: usize, now: Now) -> Self {
        let mut world = Self::new(HubLimits::default(), now);
        (0..count).for_each(|_| world.join("thread"));
        world.flush();
        world
    }

    fn join(&mut self, thread: &str) {
        let now = self.now.monotonic;
        let _ = self.hub.subscribe(thread, None, ENCODING, false, now);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.later(time);
        self.hub.tick(self.now);
    }

    /// Hands in batches, and says how many events were accepted.
    fn publish(&mut self, batches: &mut Vec<Vec<Event>>) -> u64 {
        let outcomes = batches
            .drain(..)
            .flat_map(|events| self.hub.publish(events, 0, self.now));
        outcomes
            .filter(|outcome| matches!(outcome, Outcome::Accepted(_)))
            .count() as u64
    }

    /// Writes to every reader that has something to get, and says how many frames.
    fn flush(&mut self) -> u64 {
        let now = self.now.monotonic;
        let mut ready = std::mem::take(&mut self.ready);
        self.hub.take_dirty(&mut ready, now);
        let mut frames = 0;
        for id in ready.drain(..) {
            loop {
                self.hub.gather(id, &mut self.batch, now);
                frames += self.batch.iter().count() as u64;
                let all = self.batch.bytes();
                if all == 0 || self.hub.wrote(id, &self.batch, all, now) || !self.batch.full() {
                    break;
                }
            }
        }
        self.batch.clear();
        self.ready = ready;
        frames
    }
}

/// A message of 256 bytes.
fn event(thread_id: String, run_id: String, n: usize) -> Event {
    Event {
        event_id: format!("0197a3c4-7d2e-7000-8000-{n:012}"),
        user_id: "user-1".to_owned(),
        thread_id,
        run_id,
        agent_name: "assistant".to_owned(),
        event_type: EventType::AgentMessage,
        create_time: None,
        tool_name: String::new(),
        tool_call_id: String::new(),
        data: Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(256 - 11))),
        trace: None,
    }
}

/// Events by number, as calls of `Publish` bring them.
fn batches(numbers: std::ops::Range<usize>, make: impl Fn(usize) -> Event) -> Vec<Vec<Event>> {
    let numbers: Vec<usize> = numbers.collect();
    let batches = numbers.chunks(BATCH);
    batches
        .map(|batch| batch.iter().map(|n| make(*n)).collect())
        .collect()
}

fn in_one_thread(n: usize) -> Event {
    event("thread".to_owned(), "run".to_owned(), n)
}

fn in_own_thread(n: usize) -> Event {
    event(format!("thread-{n}"), format!("run-{n}"), n)
}

fn publish(size: usize, now: Now) -> Work {
    let mut world = World::new(HubLimits::default(), now);
    let mut events = batches(0..size, in_one_thread);
    Box::new(move || world.publish(&mut events))
}

fn open(size: usize, now: Now) -> Work {
    let mut world = World::new(HubLimits::default(), now);
    let mut events = batches(0..size, in_own_thread);
    Box::new(move || world.publish(&mut events))
}

fn runs(size: usize, now: Now) -> Work {
    let mut world = World::new(HubLimits::default(), now);
    let of_runs = |n: usize| event("thread".to_owned(), format!("run-{}", n % size), n);
    world.publish(&mut batches(0..size, of_runs));
    let mut events = batches(size..size + REPEATS, of_runs);
    Box::new(move || world.publish(&mut events))
}

fn fan_out(size: usize, now: Now) -> Work {
    let mut world = World::with_readers(size, now);
    let mut events = batches(0..1, in_one_thread);
    Box::new(move || {
        world.publish(&mut events);
        world.flush()
    })
}

fn chat(size: usize, now: Now) -> Work {
    let mut world = World::with_chats(size, now);
    let mut events = batches(0..size, in_own_thread);
    Box::new(move || {
        world.publish(&mut events);
        world.flush()
    })
}

fn catch_up(size: usize, now: Now) -> Work {
    let mut world = World::new(HubLimits::default(), now);
    world.publish(&mut batches(0..size, in_one_thread));
    world.join("thread");
    Box::new(move || world.flush())
}

fn acknowledge(size: usize, now: Now) -> Work {
    let mut world = World::with_chats(size, now);
    world.publish(&mut batches(0..size, in_own_thread));
    world.flush();
    let readers: Vec<_> = world.hub.readers.keys().collect();
    Box::new(move || {
        for id in &readers {
            world.hub.acknowledge(*id, 1, now.monotonic);
        }
        world.hub.ledger.users.acknowledged
    })
}

fn join(size: usize, now: Now) -> Work {
    let mut world = World::new(HubLimits::default(), now);
    Box::new(move || {
        (0..size).for_each(|_| world.join("thread"));
        world.hub.users_open
    })
}

fn leave(size: usize, now: Now) -> Work {
    let mut world = World::with_readers(size, now);
    let readers: Vec<_> = world.hub.readers.keys().collect();
    Box::new(move || {
        for id in &readers {
            world.hub.remove_reader(*id, now.monotonic);
        }
        world.hub.users_closed
    })
}

fn heartbeat(size: usize, now: Now) -> Work {
    let mut world = World::with_chats(size, now);
    let interval = HubLimits::default().heartbeat;
    Box::new(move || {
        world.pass(interval);
        world.flush()
    })
}

fn expire(size: usize, now: Now) -> Work {
    let mut world = World::new(HubLimits::default(), now);
    world.publish(&mut batches(0..size, in_own_thread));
    let age = HubLimits::default().window_age;
    Box::new(move || {
        world.pass(age);
        world.hub.ledger.users.expired
    })
}

/// What all windows may keep is full, and beside them are idle threads that will be forgotten before
/// the oldest event would age out.
fn make_room(size: usize, now: Now) -> Work {
    let limits = HubLimits {
        window_total_bytes: 64 * 1024,
        ..HubLimits::default()
    };
    let mut world = World::new(limits, now);
    world.publish(&mut batches(0..size, in_own_thread));
    world.pass(limits.thread_idle - limits.window_age / 2);
    let busy = |n: usize| event(format!("busy-{}", n % 10), format!("busy-{}", n % 10), n);
    world.publish(&mut batches(size..size + REPEATS, busy));
    let before = world.hub.ledger.users.expired;
    let mut events = batches(size + REPEATS..size + 2 * REPEATS, busy);
    Box::new(move || {
        world.publish(&mut events);
        world.hub.ledger.users.expired - before
    })
}

fn report(size: usize, now: Now) -> Work {
    let mut world = World::with_chats(size, now);
    Box::new(move || {
        let reports = (0..REPEATS).map(|_| world.hub.report(now));
        reports
            .filter(|report| report.threads_held == report.connections_open)
            .count() as u64
    })
}

fn inspect(size: usize, now: Now) -> Work {
    let mut world = World::with_chats(size, now);
    world.publish(&mut batches(0..size, in_own_thread));
    Box::new(move || match world.hub.inspect() {
        Ok(_) => world.hub.threads.len() as u64,
        Err(_) => 0,
    })
}

fn window(size: usize, now: Now) -> Work {
    let mut window = Window::default();
    let mut runs = Runs::default();
    let event = in_one_thread(0);
    let thread = (&Arc::from("thread"), Epoch::new(1, 1));
    let run = runs
        .find_or_open(&event, thread, 1, now.monotonic, Duration::from_secs(3_600))
        .unwrap_or_default();
    for _ in 0..size {
        window.push(&event, run, now.monotonic, now.wall);
    }
    Box::new(move || {
        let mut delivered = 0;
        for _ in 0..REPEATS {
            let last = window.push(&event, run, now.monotonic, now.wall);
            let frame = |_: &_| Bytes::from_static(b"frame");
            window.frame(last, ENCODING, frame);
            delivered += u64::from(window.deliver(last).is_some());
            window.pop_oldest();
        }
        delivered
    })
}

fn ledger(size: usize, now: Now) -> Work {
    let (mut runs, mut ledger) = (Runs::default(), Ledger::default());
    let thread = Arc::from("thread");
    let open = |n| {
        let (first, thread) = (in_own_thread(n), (&thread, Epoch::new(1, 1)));
        let idle = HubLimits::default().run_idle;
        runs.find_or_open(&first, thread, size, now.monotonic, idle)
    };
    let keys: Vec<_> = (0..size).flat_map(open).collect();
    Box::new(move || {
        for step in [Step::Accept, Step::Deliver, Step::Acknowledge] {
            for key in &keys {
                ledger.take(&mut runs, *key, false, step);
            }
        }
        ledger.users.accepted + ledger.users.delivered + ledger.users.acknowledged
    })
}

/// Each id is new, and the window is full: the oldest is forgotten.
fn idempotency(size: usize, _: Now) -> Work {
    let mut window = IdempotencyWindow::new(1, size);
    let id = |n: usize| format!("0197a3c4-7d2e-7000-8000-{n:012}");
    let place = Remembered {
        sequence: 1,
        epoch: 1,
    };
    for n in 0..size {
        window.remember(window.key(&id(n)), place);
    }
    let ids: Vec<_> = (size..size + REPEATS).map(id).collect();
    Box::new(move || {
        let mut new = 0;
        for id in &ids {
            let key = window.key(id);
            new += u64::from(window.find(key).is_none());
            window.remember(key, place);
        }
        new
    })
}

fn frames(size: usize, now: Now, encoding: Encoding) -> Work {
    let event = in_one_thread(1);
    Box::new(move || {
        let shown = |sequence| Shown {
            event_id: &event.event_id,
            event_type: event.event_type,
            thread_id: &event.thread_id,
            run_id: &event.run_id,
            agent_name: &event.agent_name,
            tool_name: &event.tool_name,
            tool_call_id: &event.tool_call_id,
            data: &event.data,
            trace: "",
            time: now.wall,
            sequence,
            epoch: "0123456789abcdef",
        };
        let frames = (1..=size as u64).map(|sequence| encode::event(encoding, shown(sequence)));
        frames
            .filter(|frame| frame.len() > event.data.len())
            .count() as u64
    })
}

fn encode_json(size: usize, now: Now) -> Work {
    frames(size, now, ENCODING)
}

fn encode_ag_ui(size: usize, now: Now) -> Work {
    frames(size, now, encoding(Subprotocol::AgUi, Transport::WebSocket))
}

fn encode_cloud_events(size: usize, now: Now) -> Work {
    let cloud_events = encoding(Subprotocol::CloudEvents, Transport::WebSocket);
    frames(size, now, cloud_events)
}

fn encode_sse(size: usize, now: Now) -> Work {
    frames(
        size,
        now,
        encoding(Subprotocol::Json, Transport::ServerSentEvents),
    )
}
