//! The load: keeps messages under way, or sends them at a pace, and measures meanwhile.

use std::time::{Duration, Instant};

use service_kit::clock::Clock;

use crate::check::Faults;
use crate::cpu::Meter;
use crate::failure::Failure;
use crate::payload::Stamp;
use crate::process::Server;
use crate::publisher::{BATCH, Message, Publisher};
use crate::readers::{LOOK, Readers};
use crate::result::Figures;
use crate::systems::Running;

/// A server that delivers nothing for so long has lost something.
const STALL: Duration = Duration::from_secs(5);
/// Longest wait for what is under way, at the end of a measurement.
const SETTLE: Duration = Duration::from_secs(10);

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many messages are sent and not yet read by every reader, always.
    UnderWay(u64),
    /// So many messages a second, evenly.
    PerSecond(f64),
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Passed(Duration),
    /// So many messages have been sent.
    Sent(u64),
}

/// A publisher and its readers.
pub(crate) struct Load {
    began: Instant,
    readers: Readers,
    publisher: Box<dyn Publisher>,
    /// The newest number of each thread.
    sent: Vec<u64>,
    /// The thread whose turn it is.
    turn: usize,
    total: u64,
    /// Messages that were due and not sent, because the server took no more.
    pub(crate) held_back: u64,
    batch: Vec<Message>,
}

impl Load {
    /// Connects `readers` readers to so many threads.
    ///
    /// # Errors
    /// Where a connection fails.
    pub(crate) fn connect(
        running: &Running,
        readers: usize,
        threads: usize,
    ) -> Result<Self, Failure> {
        let began = Clock::system().now().monotonic;
        let topics: Vec<String> = (0..threads).map(|index| format!("t{index}")).collect();
        Ok(Self {
            began,
            readers: running.readers(began, readers, &topics)?,
            publisher: running.publisher(&topics)?,
            sent: vec![0; threads],
            turn: 0,
            total: 0,
            held_back: 0,
            batch: Vec::with_capacity(BATCH),
        })
    }

    fn under_way(&self) -> u64 {
        self.total - self.readers.complete
    }

    /// Sends at a pace until the end, checking nothing but that the server goes on.
    ///
    /// # Errors
    /// Where the server refuses or delivers nothing any more.
    pub(crate) async fn run(&mut self, pace: Pace, until: Until) -> Result<(), Failure> {
        let clock = Clock::system();
        let start = clock.now().monotonic;
        let before = self.total + self.held_back;
        let mut alive = (self.readers.deliveries, start);
        if let Pace::UnderWay(_) = pace {
            self.readers.wake_after(LOOK, true)?;
        }
        loop {
            let now = clock.now();
            let passed = now.since(start);
            let sent = self.total + self.held_back - before;
            let ended = match until {
                Until::Passed(span) => passed >= span,
                Until::Sent(count) => sent >= count,
            };
            if ended {
                return Ok(());
            }
            let due = match pace {
                Pace::UnderWay(limit) => limit.saturating_sub(self.under_way()),
                Pace::PerSecond(rate) => {
                    // The first is due at once, the others evenly after it.
                    let due = (passed.as_secs_f64() * rate) as u64 + 1;
                    let next = Duration::from_secs_f64(due as f64 / rate);
                    self.readers
                        .wake_after(next.saturating_sub(passed), false)?;
                    due.saturating_sub(sent)
                }
            };
            if due > 0 {
                self.send(due)?;
                tokio::task::yield_now().await;
            }
            if self.readers.deliveries > alive.0 {
                alive = (self.readers.deliveries, now.monotonic);
            } else if self.under_way() > 0 && now.since(alive.1) > STALL {
                let under_way = self.under_way();
                return Err(Failure::new(format!(
                    "nothing came for {STALL:?}, with {under_way} messages under way"
                )));
            }
            self.readers.turn().await?;
        }
    }

    fn send(&mut self, count: u64) -> Result<(), Failure> {
        let sent = Clock::system().now().since(self.began).as_nanos() as u64;
        for left in (1..=count).rev() {
            if self.batch.is_empty() && !self.publisher.has_room() {
                self.held_back += left;
                break;
            }
            self.total += 1;
            let thread = self.turn;
            self.turn = (self.turn + 1) % self.sent.len();
            self.sent[thread] += 1;
            let number = self.sent[thread];
            let stamp = Stamp { number, sent };
            self.batch.push(Message { thread, stamp });
            if self.batch.len() == BATCH {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if !self.batch.is_empty() {
            self.publisher.publish(&self.batch)?;
            self.batch.clear();
        }
        Ok(())
    }

    /// What is wrong, if nothing more comes.
    pub(crate) fn faults(&self) -> Faults {
        self.readers.faults(&self.sent)
    }

    /// Messages sent.
    pub(crate) fn sent(&self) -> u64 {
        self.total
    }

    /// Waits until everything sent has come.
    ///
    /// # Errors
    /// Where the kernel refuses. What does not come in time is no error here, but lost.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        let clock = Clock::system();
        let start = clock.now().monotonic;
        self.readers.wake_after(LOOK, true)?;
        while self.under_way() > 0 && clock.now().since(start) < SETTLE {
            self.readers.turn().await?;
        }
        Ok(())
    }

    /// Measures for a while, and then what had gone wrong since the connections were opened.
    ///
    /// # Errors
    /// Where the server refuses or stops.
    pub(crate) async fn measure(
        &mut self,
        server: &Server,
        pace: Pace,
        span: Duration,
    ) -> Result<Figures, Failure> {
        self.readers.delays.reset();
        let (deliveries, complete) = (self.readers.deliveries, self.readers.complete);
        let meter = Meter::start(server);
        self.run(pace, Until::Passed(span)).await?;
        let used = meter.read();
        let seconds = used.passed.as_secs_f64();
        let deliveries = self.readers.deliveries - deliveries;
        let events = self.readers.complete - complete;
        let at = |quantile| self.readers.delays.value_at_quantile(quantile) as f64;
        let (p50_us, p99_us, p999_us) = (at(0.5), at(0.99), at(0.999));
        self.settle().await?;
        Ok(Figures {
            events_per_second: events as f64 / seconds,
            deliveries_per_second: deliveries as f64 / seconds,
            cpu_us_per_delivery: used.server * 1e6 / deliveries as f64,
            server_cpu_percent: used.server_percent,
            load_cpu_percent: used.load_percent,
            others_cpu_percent: used.others_percent,
            p50_us,
            p99_us,
            p999_us,
            resident_kib: server.resident_kib() as f64,
            faults: self.faults(),
        })
    }
}
