//! Thousands of WebSocket readers on one thread. Whatever a reader got is checked at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use service_kit::clock::Clock;
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::check::{Check, Faults};
use crate::dialect::{Dialect, Found};
use crate::failure::Failure;
use crate::frames::{self, Frame};
use crate::timer::Timer;

/// Readers that shake hands at once, while connecting.
const CONNECTING: usize = 64;
/// Connections from one source address: far fewer than its ports.
const PER_SOURCE: usize = 10_000;
/// What one read may bring.
const READ_BYTES: usize = 128 * 1024;
/// Sockets looked after between two looks at what is to be sent.
const TURN: usize = 1_024;
/// How often readers that wait look at the time.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// A handshake must be over within it.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
const TIMER: u64 = u64::MAX;
/// Longest delay noted, in microseconds; longer ones count as this.
const LONGEST_DELAY: u64 = 60_000_000;

/// How readers connect and what they do.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) address: SocketAddr,
    pub(crate) dialect: Dialect,
    /// Sent once the connection is open; `None`: nothing.
    pub(crate) subscribe: Option<fn(topic: &str) -> Vec<u8>>,
    /// Messages after which a reader acknowledges them, at most once a read. `None`: never.
    pub(crate) acknowledge_every: Option<u64>,
}

struct Reader {
    socket: TcpStream,
    /// The thread that it reads.
    thread: usize,
    check: Check,
    /// The beginning of a frame whose end has not come yet; almost always empty.
    rest: Vec<u8>,
    newest: u64,
    acknowledged: u64,
}

/// Every reader, and what they have seen together.
pub(crate) struct Readers {
    manner: Manner,
    epoll: AsyncFd<OwnedFd>,
    timer: Timer,
    ready: Vec<epoll::Event>,
    buffer: Vec<u8>,
    readers: Vec<Reader>,
    began: Instant,
    /// Readers that each message must reach.
    fan: u32,
    /// How many readers a message has reached, by its number, for those under way.
    reached: Vec<u32>,
    /// Messages that have reached every reader.
    pub(crate) complete: u64,
    /// Messages that have reached a reader, over all readers.
    pub(crate) deliveries: u64,
    /// From sending to reading, in microseconds.
    pub(crate) delays: Histogram<u64>,
    strange: u64,
    closed: u64,
}

impl Readers {
    /// Connects one reader to each of `threads`, as often as it takes for `count` readers.
    /// `path` is where a topic is read. Times are counted from `began`.
    ///
    /// # Errors
    /// Where a reader cannot connect.
    pub(crate) fn connect(
        manner: &Manner,
        began: Instant,
        count: usize,
        topics: &[String],
        path: impl Fn(&str) -> String,
    ) -> Result<Self, Failure> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = Timer::new()?;
        let token = epoll::EventData::new_u64(TIMER);
        epoll::add(&epoll, &timer, token, epoll::EventFlags::IN)?;
        let delays = Histogram::new_with_bounds(1, LONGEST_DELAY, 3)
            .map_err(|error| Failure::new(error.to_string()))?;
        let mut readers = Self {
            manner: manner.clone(),
            epoll: watched(epoll)?,
            timer,
            ready: Vec::with_capacity(TURN),
            buffer: vec![0; READ_BYTES],
            readers: Vec::with_capacity(count),
            began,
            fan: u32::try_from(count / topics.len()).unwrap_or(u32::MAX),
            reached: vec![0; 1 << 12],
            complete: 0,
            deliveries: 0,
            delays,
            strange: 0,
            closed: 0,
        };
        let mut left = count;
        while left > 0 {
            let group = left.min(CONNECTING);
            readers.connect_group(group, topics, &path)?;
            left -= group;
        }
        Ok(readers)
    }

    fn connect_group(
        &mut self,
        count: usize,
        topics: &[String],
        path: &impl Fn(&str) -> String,
    ) -> Result<(), Failure> {
        let first = self.readers.len();
        for index in first..first + count {
            let mut socket = open(self.manner.address, index / PER_SOURCE)?;
            let thread = index % topics.len();
            frames::ask(&mut socket, &path(&topics[thread]))?;
            self.readers.push(Reader {
                socket,
                thread,
                check: Check::default(),
                rest: Vec::new(),
                newest: 0,
                acknowledged: 0,
            });
        }
        for index in first..first + count {
            let reader = &mut self.readers[index];
            reader.rest = frames::accepted(&mut reader.socket)?;
            if let Some(subscribe) = self.manner.subscribe {
                reader
                    .socket
                    .write_all(&subscribe(&topics[reader.thread]))?;
            }
            await_place(reader, self.manner.dialect.in_place())?;
            reader.socket.set_nonblocking(true)?;
            let token = epoll::EventData::new_u64(index as u64);
            let wanted = epoll::EventFlags::IN;
            epoll::add(self.epoll.get_ref(), &reader.socket, token, wanted)?;
        }
        Ok(())
    }

    /// Waits until a socket or the timer is ready, and reads what there is.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(crate) async fn turn(&mut self) -> Result<(), Failure> {
        let mut guard = self.epoll.readable().await?;
        self.ready.clear();
        let at_once = Timespec::default();
        epoll::wait(
            guard.get_inner(),
            spare_capacity(&mut self.ready),
            Some(&at_once),
        )?;
        if self.ready.is_empty() {
            guard.clear_ready();
            return Ok(());
        }
        guard.retain_ready();
        drop(guard);
        let ready = std::mem::take(&mut self.ready);
        for event in &ready {
            match event.data.u64() {
                TIMER => self.timer.rest(),
                index => self.read(index as usize)?,
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// Wakes the next turn after a while, and every while from then on where it repeats.
    pub(crate) fn wake_after(&self, span: Duration, repeat: bool) -> Result<(), Failure> {
        self.timer.arm(span, repeat)
    }

    fn read(&mut self, index: usize) -> Result<(), Failure> {
        let reader = &mut self.readers[index];
        let kept = reader.rest.len();
        if kept + READ_BYTES / 2 > self.buffer.len() {
            self.buffer.resize(kept + READ_BYTES, 0);
        }
        self.buffer[..kept].copy_from_slice(&reader.rest);
        reader.rest.clear();
        let count = match (&reader.socket).read(&mut self.buffer[kept..]) {
            Ok(0) => return self.close(index),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return self.close(index),
        };
        self.digest(index, kept + count);
        Ok(())
    }

    fn close(&mut self, index: usize) -> Result<(), Failure> {
        self.closed += 1;
        epoll::delete(self.epoll.get_ref(), &self.readers[index].socket)?;
        Ok(())
    }

    /// Takes the frames in the first `length` bytes of the buffer.
    fn digest(&mut self, index: usize, length: usize) {
        let now = Clock::system().now().since(self.began).as_nanos() as u64;
        let Self {
            manner,
            buffer,
            readers,
            fan,
            reached,
            complete,
            deliveries,
            delays,
            strange,
            ..
        } = self;
        let reader = &mut readers[index];
        let bytes = &buffer[..length];
        let mut at = 0;
        while let Some(Frame { opcode, start, end }) = frames::frame_at(bytes, at) {
            let payload = &bytes[start..end];
            at = end;
            match opcode {
                frames::TEXT | frames::BINARY => {}
                frames::PING => {
                    let mut pong = Vec::new();
                    frames::append(&mut pong, frames::PONG, &[payload]);
                    // A reader that cannot be written to is closed by its server, and counted.
                    let _ = (&reader.socket).write_all(&pong);
                    continue;
                }
                frames::PONG | frames::CLOSE => continue,
                _ => {
                    *strange += 1;
                    continue;
                }
            }
            let found = manner.dialect.read(payload, |stamp| {
                if !reader.check.take(stamp.number) {
                    return;
                }
                reader.newest = reader.newest.max(stamp.number);
                *deliveries += 1;
                delays.saturating_record((now.saturating_sub(stamp.sent) / 1_000).max(1));
                if *fan == 1 {
                    *complete += 1;
                    return;
                }
                let place = stamp.number as usize % reached.len();
                reached[place] += 1;
                if reached[place] == *fan {
                    reached[place] = 0;
                    *complete += 1;
                }
            });
            *strange += u64::from(found == Some(Found::Strange));
        }
        reader.rest.extend_from_slice(&bytes[at..]);
        if let Some(every) = manner.acknowledge_every
            && reader.newest >= reader.acknowledged + every
        {
            reader.acknowledged = reader.newest;
            let text = format!(r#"{{"type":"ack","seq":{}}}"#, reader.newest);
            let mut frame = Vec::with_capacity(text.len() + 8);
            frames::append(&mut frame, frames::TEXT, &[text.as_bytes()]);
            let _ = (&reader.socket).write_all(&frame);
        }
    }

    /// Reads for a while whatever comes.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(crate) async fn rest(&mut self, span: Duration) -> Result<(), Failure> {
        let start = Clock::system().now().monotonic;
        self.wake_after(LOOK, true)?;
        while Clock::system().now().since(start) < span {
            self.turn().await?;
        }
        Ok(())
    }

    /// What is wrong, once what was sent had time to come; `sent` is the newest number of each
    /// thread.
    pub(crate) fn faults(&self, sent: &[u64]) -> Faults {
        let mut faults = Faults {
            strange: self.strange,
            closed: self.closed,
            ..Faults::default()
        };
        for reader in &self.readers {
            faults += reader.check.faults(sent[reader.thread]);
        }
        faults
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.readers.len()
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe; it asks for what an `OwnedFd` keeps by its type"
)]
fn watched(epoll: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(epoll, Interest::READABLE)
}

/// Reads until the server has said that the reader has its place.
fn await_place(reader: &mut Reader, said: &[u8]) -> Result<(), Failure> {
    let mut part = [0; 4_096];
    let is_in =
        |bytes: &[u8]| said.is_empty() || bytes.windows(said.len()).any(|words| words == said);
    while !is_in(&reader.rest) {
        let count = reader.socket.read(&mut part)?;
        if count == 0 {
            return Err(Failure::new("the server closed a reader at its start"));
        }
        reader.rest.extend_from_slice(&part[..count]);
    }
    Ok(())
}

/// A connection from the loopback's address of this number.
fn open(to: SocketAddr, source: usize) -> Result<TcpStream, Failure> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if source > 0 {
        let last = u8::try_from(source + 1).unwrap_or(u8::MAX);
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        socket.bind(&from.into())?;
    }
    socket
        .connect(&to.into())
        .map_err(|error| Failure::from(error).during("a reader connects"))?;
    socket.set_tcp_nodelay(true)?;
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(HANDSHAKE_DEADLINE))?;
    Ok(socket)
}

/// A reader that never reads, with as little room for what it is sent as the kernel allows.
///
/// # Errors
/// Where it cannot connect.
pub(crate) fn stalled(to: SocketAddr, path: &str) -> Result<TcpStream, Failure> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(1)?;
    socket.connect(&to.into())?;
    let mut socket = TcpStream::from(socket);
    frames::ask(&mut socket, path)?;
    frames::accepted(&mut socket)?;
    Ok(socket)
}
