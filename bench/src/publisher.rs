//! How messages get into a server.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use rustix::net::{RecvFlags, recv};

use crate::failure::Failure;
use crate::frames;
use crate::payload::Stamp;

/// Messages that a batch may have, where the server takes batches.
pub(crate) const BATCH: usize = 64;

/// One message to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// The thread that it belongs to.
    pub(crate) thread: usize,
    pub(crate) stamp: Stamp,
}

/// A way in.
pub(crate) trait Publisher {
    /// Sends messages, in order; at most [`BATCH`].
    ///
    /// # Errors
    /// Where the server refused these or earlier ones.
    fn publish(&mut self, messages: &[Message]) -> Result<(), Failure>;

    /// Whether there is room for another batch. Where the server takes no more for now, a
    /// publisher must hold its messages back.
    fn has_room(&self) -> bool {
        true
    }
}

/// How a message is written to a plain connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    /// A WebSocket message: length of the topic in two bytes, topic, payload.
    WebSocket,
    /// `PUB topic length`, payload, each on a line.
    Nats,
    /// A POST of the payload.
    Http,
}

/// Plain connections. All messages of one thread go through the same one, so that their order can
/// be kept; what is sent at once is written at once.
pub(crate) struct Plain {
    wire: Wire,
    topics: Vec<String>,
    connections: Vec<(TcpStream, Vec<u8>)>,
}

impl Plain {
    /// Opens connections; `hello` is what each must send first.
    ///
    /// # Errors
    /// Where one cannot be opened.
    pub(crate) fn open(
        wire: Wire,
        address: SocketAddr,
        connections: usize,
        topics: &[String],
        hello: &[u8],
    ) -> Result<Self, Failure> {
        let open = |_| {
            let mut socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            if matches!(wire, Wire::WebSocket) {
                frames::ask(&mut socket, "/pub")?;
                frames::accepted(&mut socket)?;
            }
            socket.write_all(hello)?;
            Ok((socket, Vec::new()))
        };
        let connections = (0..connections).map(open).collect::<Result<_, Failure>>()?;
        Ok(Self {
            wire,
            topics: topics.to_vec(),
            connections,
        })
    }
}

impl Publisher for Plain {
    fn publish(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let count = self.connections.len();
        for message in messages {
            let (_, out) = &mut self.connections[message.thread % count];
            append(self.wire, out, &self.topics[message.thread], message.stamp);
        }
        for (socket, out) in &mut self.connections {
            if out.is_empty() {
                continue;
            }
            socket.write_all(out)?;
            out.clear();
            discard_answers(socket)?;
        }
        Ok(())
    }
}

fn append(wire: Wire, out: &mut Vec<u8>, topic: &str, stamp: Stamp) {
    let payload = stamp.write();
    let bytes = payload.len();
    match wire {
        Wire::WebSocket => {
            let length = u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes();
            frames::append(out, frames::BINARY, &[&length, topic.as_bytes(), &payload]);
        }
        Wire::Nats => {
            out.extend_from_slice(format!("PUB {topic} {bytes}\r\n").as_bytes());
            out.extend_from_slice(&payload);
            out.extend_from_slice(b"\r\n");
        }
        Wire::Http => {
            let head = format!(
                "POST /pub/{topic} HTTP/1.1\r\nHost: bench\r\nContent-Length: {bytes}\r\n\r\n"
            );
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(&payload);
        }
    }
}

/// Answers are read, so that the server never waits, and not looked at: what they would say shows
/// at the readers.
fn discard_answers(socket: &TcpStream) -> Result<(), Failure> {
    let mut answers = [0; 64 * 1024];
    match recv(socket, &mut answers, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Err(Failure::new("the server closed the publisher's connection")),
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
