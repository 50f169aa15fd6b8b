//! W5, unary calls: what one call costs the server, beside a bare health check.

use std::time::Duration;

use monitorable::bridge::v1::{PublishRequest, PublishResponse, Status};
use monitorable::grpc_health::v1::HealthCheckResponse;
use monitorable::grpc_health::v1::health_check_response::ServingStatus;
use monitorable::monitorable::v1::{GetHealthStatusRequest, GetHealthStatusResponse, State};
use prost::Message as _;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use serde::Serialize;
use service_kit::clock::Clock;

use super::Plan;
use crate::calls::{Caller, Method};
use crate::cpu::{AGAIN, DISTURBED_PERCENT, Meter};
use crate::failure::Failure;
use crate::machine::SERVER_CORE;
use crate::payload::Stamp;
use crate::process::Server;
use crate::publisher::Message;
use crate::report::{Bar, Section, Table, number};
use crate::result::median;
use crate::systems::bridge::{Bridge, Events, STEADY};

const CONNECTIONS: usize = 16;
/// Threads that published events go to.
const THREADS: usize = 1_000;
const BATCH: usize = 100;
const WARM_UP: Duration = Duration::from_millis(700);
/// A turn of the loop waits for so long at the most, so that its end is seen.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// What one measurement gave.
#[derive(Clone, Copy, Debug, Serialize)]
struct Calls {
    per_second: f64,
    cpu_us: f64,
    server_cpu_percent: f64,
    load_cpu_percent: f64,
    others_cpu_percent: f64,
    failed: u64,
}

impl Calls {
    fn disturbed(&self) -> bool {
        self.others_cpu_percent > DISTURBED_PERCENT
    }
}

/// What is called, and on which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Kind {
    BareCheck,
    Check,
    GetHealthStatus,
    Publish,
    PublishBatch,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::BareCheck,
        Self::Check,
        Self::GetHealthStatus,
        Self::Publish,
        Self::PublishBatch,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::BareCheck => "bare tonic, Health/Check",
            Self::Check => "bridge, Health/Check",
            Self::GetHealthStatus => "bridge, GetHealthStatus",
            Self::Publish => "bridge, Publish, 1 event",
            Self::PublishBatch => "bridge, Publish, 100 events",
        }
    }

    /// Calls under way on each connection, and events in each call.
    fn size(self) -> (usize, usize) {
        match self {
            Self::BareCheck | Self::Check | Self::GetHealthStatus => (16, 0),
            Self::Publish => (16, 1),
            Self::PublishBatch => (1, BATCH),
        }
    }
}

/// Measures it.
///
/// # Errors
/// Where a server does not start.
pub(super) fn run(plan: &Plan) -> Result<Section, Failure> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("--serve-health");
    let (bare, bare_addresses) = Server::announced(&mut command, SERVER_CORE, &["grpc"])?;
    let bridge = Bridge::start(&STEADY)?;
    let bare_address = bare_addresses.first().copied();
    let bare_address =
        bare_address.ok_or_else(|| Failure::new("the bare server has no address"))?;
    let mut publish = Publish {
        events: Events::new((0..THREADS).map(|index| format!("t{index}")).collect()),
        count: 1,
        turn: 0,
    };
    let mut measured: Vec<(Kind, Vec<Calls>)> = Kind::ALL.map(|kind| (kind, Vec::new())).into();
    for round in 0..plan.rounds {
        eprintln!("    round {}", round + 1);
        for (kind, rounds) in &mut measured {
            let (under_way, events) = kind.size();
            publish.count = events;
            let span = Duration::from_secs_f64(plan.seconds);
            let mut measure = || match kind {
                Kind::BareCheck => drive(&bare, bare_address, under_way, &mut Check, span),
                Kind::Check => drive(&bridge.server, bridge.grpc, under_way, &mut Check, span),
                Kind::GetHealthStatus => drive(
                    &bridge.server,
                    bridge.grpc,
                    under_way,
                    &mut HealthStatus,
                    span,
                ),
                Kind::Publish | Kind::PublishBatch => {
                    drive(&bridge.server, bridge.grpc, under_way, &mut publish, span)
                }
            };
            let mut calls = measure();
            for _ in 0..AGAIN {
                if calls.as_ref().is_ok_and(Calls::disturbed) {
                    calls = measure();
                }
            }
            rounds.push(calls.map_err(|error| error.during(kind.name()))?);
        }
    }
    Ok(section(&measured))
}

fn section(measured: &[(Kind, Vec<Calls>)]) -> Section {
    let of = |kind, of: fn(&Calls) -> f64| {
        let found = measured.iter().find(|(found, _)| *found == kind);
        median(found.map_or_else(Vec::new, |(_, rounds)| rounds.iter().map(of).collect()))
    };
    let header = [
        "",
        "calls/s",
        "events/s",
        "CPU µs/call",
        "server CPU %",
        "load CPU %",
    ];
    let lines = Kind::ALL.map(|kind| {
        let failed: u64 = measured
            .iter()
            .filter(|(found, _)| *found == kind)
            .flat_map(|(_, rounds)| rounds)
            .map(|calls| calls.failed)
            .sum();
        let disturbed = measured
            .iter()
            .filter(|(found, _)| *found == kind)
            .flat_map(|(_, rounds)| rounds)
            .filter(|calls| calls.disturbed())
            .count();
        let mut name = kind.name().to_owned();
        if failed > 0 {
            name += &format!(" (FAILED: {failed} calls)");
        }
        if disturbed > 0 {
            name += &format!(" ({disturbed} rounds disturbed by other work)");
        }
        let rate = of(kind, |calls| calls.per_second);
        let events = rate * kind.size().1 as f64;
        vec![
            name,
            number(rate),
            if events > 0.0 {
                number(events)
            } else {
                String::new()
            },
            number(of(kind, |calls| calls.cpu_us)),
            number(of(kind, |calls| calls.server_cpu_percent)),
            number(of(kind, |calls| calls.load_cpu_percent)),
        ]
    });
    let table = Table {
        caption: String::new(),
        header: header.map(str::to_owned).to_vec(),
        lines: lines.to_vec(),
    };
    let rate = |kind| of(kind, |calls| calls.per_second);
    let finite = |value: f64| value.is_finite().then_some(value);
    let health = finite(rate(Kind::GetHealthStatus) / rate(Kind::BareCheck));
    let events = finite(rate(Kind::PublishBatch) * BATCH as f64);
    Section::new("W5 unary calls, nobody reads")
        .note(format!(
            "{CONNECTIONS} connections; 16 calls under way on each, and 1 where a call has 100 \
             events. Every answer is decoded and checked."
        ))
        .tables(vec![table])
        .bars(vec![
            Bar::at_least(
                "GetHealthStatus, calls/s ÷ a bare tonic health check",
                health,
                0.9,
                Some(1.0),
            ),
            Bar::at_least(
                "Publish in batches of 100, events/s",
                events,
                500_000.0,
                Some(1_000_000.0),
            ),
        ])
        .data(&measured)
}

/// Keeps calls under way on fresh connections.
fn drive(
    server: &Server,
    address: std::net::SocketAddr,
    under_way: usize,
    method: &mut impl Method,
    span: Duration,
) -> Result<Calls, Failure> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut callers = Vec::with_capacity(CONNECTIONS);
    for index in 0..CONNECTIONS {
        let caller = Caller::connect(address, under_way, method)?;
        let token = epoll::EventData::new_u64(index as u64);
        let wanted = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&epoll, &caller.socket, token, wanted)?;
        callers.push(caller);
    }
    let mut turn_for = |span: Duration| -> Result<(u64, u64), Failure> {
        let clock = Clock::system();
        let start = clock.now().monotonic;
        let count = |callers: &[Caller]| {
            let good: u64 = callers.iter().map(|caller| caller.good).sum();
            let bad: u64 = callers.iter().map(|caller| caller.bad).sum();
            (good, bad)
        };
        let before = count(&callers);
        let mut ready = Vec::with_capacity(CONNECTIONS);
        loop {
            let passed = clock.now().since(start);
            if passed >= span {
                let (good, bad) = count(&callers);
                return Ok((good - before.0, bad - before.1));
            }
            ready.clear();
            epoll::wait(&epoll, spare_capacity(&mut ready), Some(&LOOK))?;
            for event in &ready {
                let index = event.data.u64() as usize;
                callers[index].turn(method)?;
            }
        }
    };
    turn_for(WARM_UP)?;
    let meter = Meter::start(server);
    let (good, failed) = turn_for(span)?;
    let used = meter.read();
    Ok(Calls {
        per_second: good as f64 / used.passed.as_secs_f64(),
        cpu_us: used.server * 1e6 / good as f64,
        server_cpu_percent: used.server_percent,
        load_cpu_percent: used.load_percent,
        others_cpu_percent: used.others_percent,
        failed,
    })
}

struct Check;

impl Method for Check {
    fn path(&self) -> &'static str {
        "/grpc.health.v1.Health/Check"
    }

    fn request(&mut self, _out: &mut Vec<u8>) {}

    fn is_good(&self, answer: &[u8]) -> bool {
        HealthCheckResponse::decode(answer)
            .is_ok_and(|answer| answer.status() == ServingStatus::Serving)
    }
}

struct HealthStatus;

const NONCE: &str = "bench";

impl Method for HealthStatus {
    fn path(&self) -> &'static str {
        "/monitorable.v1.Monitorable/GetHealthStatus"
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        let nonce = NONCE.to_owned();
        out.extend_from_slice(&GetHealthStatusRequest { nonce }.encode_to_vec());
    }

    fn is_good(&self, answer: &[u8]) -> bool {
        GetHealthStatusResponse::decode(answer).is_ok_and(|answer| {
            let state = answer.health.map(|health| health.state());
            answer.nonce == NONCE && state == Some(State::Active)
        })
    }
}

/// Batches of new events, to the threads in turns.
struct Publish {
    events: Events,
    count: usize,
    turn: usize,
}

impl Method for Publish {
    fn path(&self) -> &'static str {
        "/bridge.v1.AgentEvents/Publish"
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        let events = (0..self.count).map(|_| {
            self.turn += 1;
            let thread = self.turn % THREADS;
            let stamp = Stamp {
                number: self.turn as u64,
                sent: 0,
            };
            self.events.event(Message { thread, stamp })
        });
        let request = PublishRequest {
            events: events.collect(),
        };
        out.extend_from_slice(&request.encode_to_vec());
    }

    fn is_good(&self, answer: &[u8]) -> bool {
        PublishResponse::decode(answer).is_ok_and(|answer| {
            let accepted = answer
                .receipts
                .iter()
                .filter(|receipt| receipt.status() == Status::Accepted);
            accepted.count() == self.count
        })
    }
}
