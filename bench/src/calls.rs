//! Unary gRPC calls as fast as one core can make them: HTTP/2 written and counted by hand, since a
//! whole client costs more than the server that is to be measured (RFC 9113, RFC 7541).

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::failure::Failure;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Of DATA and HEADERS; of SETTINGS and PING it is the acknowledgement.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Largest frame that a server must take.
const MAX_FRAME: usize = 16_384;
/// What either side may send before it is told that there is room, unless it is told otherwise.
const FIRST_WINDOW: i64 = 65_535;
/// What the server may send us; raised again when half of it is used.
const OUR_WINDOW: u32 = 1 << 30;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Length and compression of a gRPC message stand before it.
const MESSAGE_HEAD: usize = 5;
const READ_BYTES: usize = 64 * 1024;

/// What is called.
pub(crate) trait Method {
    /// Such as `/grpc.health.v1.Health/Check`.
    fn path(&self) -> &'static str;
    /// The next request's message, appended.
    fn request(&mut self, out: &mut Vec<u8>);
    /// Whether an answer's message is a good one.
    fn is_good(&self, answer: &[u8]) -> bool;
}

/// A request whose body has not been sent in whole.
struct Waiting {
    stream: u32,
    body: Vec<u8>,
    sent: usize,
}

/// One connection with a fixed number of calls under way.
pub(crate) struct Caller {
    pub(crate) socket: TcpStream,
    headers: Vec<u8>,
    next_stream: u32,
    window: i64,
    waiting: VecDeque<Waiting>,
    answers: HashMap<u32, Vec<u8>>,
    received: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Calls answered well.
    pub(crate) good: u64,
    /// Calls that failed.
    pub(crate) bad: u64,
}

impl Caller {
    /// Connects, and starts so many calls.
    ///
    /// # Errors
    /// Where the server does not take them.
    pub(crate) fn connect(
        address: SocketAddr,
        under_way: usize,
        method: &mut impl Method,
    ) -> Result<Self, Failure> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut caller = Self {
            socket,
            headers: header_block(method.path()),
            next_stream: 1,
            window: FIRST_WINDOW,
            waiting: VecDeque::new(),
            answers: HashMap::new(),
            received: 0,
            input: Vec::new(),
            output: PREFACE.to_vec(),
            good: 0,
            bad: 0,
        };
        // No dynamic table, so that every block of headers stands for itself; room for answers.
        let mut settings = vec![0, 1, 0, 0, 0, 0, 0];
        settings.push(INITIAL_WINDOW_SIZE as u8);
        settings.extend_from_slice(&OUR_WINDOW.to_be_bytes());
        frame(&mut caller.output, SETTINGS, 0, 0, &settings);
        caller.make_room(OUR_WINDOW);
        for _ in 0..under_way {
            caller.call(method);
        }
        caller.write()?;
        Ok(caller)
    }

    fn call(&mut self, method: &mut impl Method) {
        let stream = self.next_stream;
        self.next_stream += 2;
        frame(
            &mut self.output,
            HEADERS,
            END_HEADERS,
            stream,
            &self.headers,
        );
        let mut body = vec![0; MESSAGE_HEAD];
        method.request(&mut body);
        let length = (body.len() - MESSAGE_HEAD) as u32;
        body[1..MESSAGE_HEAD].copy_from_slice(&length.to_be_bytes());
        self.waiting.push_back(Waiting {
            stream,
            body,
            sent: 0,
        });
        self.fill();
    }

    /// Moves bodies to the output as far as the connection's window goes. A stream's own window
    /// is never the tighter one: no body is larger than the first.
    fn fill(&mut self) {
        while let Some(first) = self.waiting.front_mut() {
            let left = first.body.len() - first.sent;
            let room = usize::try_from(self.window).unwrap_or(0);
            let count = left.min(room).min(MAX_FRAME);
            if count == 0 {
                return;
            }
            let part = &first.body[first.sent..first.sent + count];
            let flags = if count == left { END_STREAM } else { 0 };
            frame(&mut self.output, DATA, flags, first.stream, part);
            first.sent += count;
            self.window -= count as i64;
            if count == left {
                self.waiting.pop_front();
            }
        }
    }

    /// Takes all that came, starts a call for each that ended, and writes what there is room for.
    ///
    /// # Errors
    /// Where the server ends the connection.
    pub(crate) fn turn(&mut self, method: &mut impl Method) -> Result<(), Failure> {
        while self.read(method)? == READ_BYTES {}
        if self.received > OUR_WINDOW / 2 {
            self.make_room(self.received);
            self.received = 0;
        }
        self.write()
    }

    /// Takes the frames of one read; how many bytes it brought.
    fn read(&mut self, method: &mut impl Method) -> Result<usize, Failure> {
        let kept = self.input.len();
        self.input.resize(kept + READ_BYTES, 0);
        let count = match self.socket.read(&mut self.input[kept..]) {
            Ok(0) => return Err(Failure::new("the server closed a connection")),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        self.input.truncate(kept + count);
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while let Some(head) = input.get(at..at + FRAME_HEAD) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let start = at + FRAME_HEAD;
            let Some(payload) = input.get(start..start + length) else {
                break;
            };
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            self.take(head[3], head[4], stream, payload, method)?;
            at = start + length;
        }
        self.input = input;
        self.input.drain(..at);
        Ok(count)
    }

    fn take(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        method: &mut impl Method,
    ) -> Result<(), Failure> {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | i64::from(*byte))
        };
        match kind {
            DATA => {
                self.received += payload.len() as u32;
                let answer = self.answers.entry(stream).or_default();
                answer.extend_from_slice(payload);
            }
            WINDOW_UPDATE if stream == 0 => {
                self.window += number(payload);
                self.fill();
            }
            SETTINGS if flags & END_STREAM == 0 => {
                frame(&mut self.output, SETTINGS, END_STREAM, 0, &[]);
            }
            PING if flags & END_STREAM == 0 => {
                frame(&mut self.output, PING, END_STREAM, 0, payload);
            }
            GOAWAY => return Err(Failure::new("the server ends a connection")),
            _ => {}
        }
        let ended = flags & END_STREAM != 0 && (kind == DATA || kind == HEADERS);
        if ended || kind == RST_STREAM {
            let answer = self.answers.remove(&stream);
            let message = answer
                .as_deref()
                .and_then(|answer| answer.get(MESSAGE_HEAD..));
            if message.is_some_and(|message| method.is_good(message)) {
                self.good += 1;
            } else {
                self.bad += 1;
            }
            self.call(method);
        }
        Ok(())
    }

    fn make_room(&mut self, more: u32) {
        frame(&mut self.output, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
    }

    /// Writes what the kernel takes; whether something is left is in the output.
    fn write(&mut self) -> Result<(), Failure> {
        let mut written = 0;
        while written < self.output.len() {
            match self.socket.write(&self.output[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.output.drain(..written);
        Ok(())
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The headers of a gRPC call, none of them put into the server's table.
fn header_block(path: &str) -> Vec<u8> {
    // Places in the static table: `:method: POST`, `:scheme: http`.
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    };
    literal(&[4], path);
    literal(&[1], "bench");
    // `content-type` is the 31st; a name's place has four bits, and the rest stands behind.
    literal(&[0x0f, 31 - 15], "application/grpc");
    literal(&[0, 2, b't', b'e'], "trailers");
    block
}
