//! Frames: a payload, and the few bytes around it, in one allocation.

use bytes::Bytes;

use crate::hub::event::Transport;

/// Longest header of a server's WebSocket frame: two bytes and a 64-bit length.
const MAX_HEADER_BYTES: usize = 10;
/// A whole unmasked text frame (RFC 6455, section 5.2).
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: [u8; 2] = [0x89, 0x00];
/// Longest payload of a control frame (RFC 6455, section 5.5), less the code.
const MAX_CLOSE_REASON_BYTES: usize = 123;

/// Builds one frame around a payload.
pub(super) struct Builder {
    transport: Transport,
    /// Room for the longest header, or what server-sent events have before the payload; then the
    /// payload.
    buffer: Vec<u8>,
    payload_start: usize,
}

impl Builder {
    /// For a payload of about so many bytes.
    pub(super) fn new(transport: Transport, expected: usize) -> Self {
        let mut buffer = Vec::with_capacity(MAX_HEADER_BYTES + expected);
        if transport == Transport::WebSocket {
            buffer.resize(MAX_HEADER_BYTES, 0);
        }
        let payload_start = buffer.len();
        Self {
            transport,
            buffer,
            payload_start,
        }
    }

    /// Server-sent events only: the id that a reader resumes with. Before the payload.
    pub(super) fn event_id(&mut self, epoch: &str, sequence: u64) {
        self.buffer
            .extend_from_slice(format!("id: {epoch}:{sequence}\n").as_bytes());
        self.payload_start = self.buffer.len();
    }

    /// Where the payload is to be appended.
    pub(super) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    pub(super) fn finish(self) -> Bytes {
        match self.transport {
            Transport::WebSocket => finish_web_socket(self.buffer),
            Transport::ServerSentEvents => {
                let (head, payload) = self.buffer.split_at(self.payload_start);
                finish_server_sent_event(head, payload)
            }
        }
    }
}

/// Puts the header right before the payload, so that neither is copied.
fn finish_web_socket(mut buffer: Vec<u8>) -> Bytes {
    let length = buffer.len() - MAX_HEADER_BYTES;
    let start = match length {
        0..126 => {
            let start = MAX_HEADER_BYTES - 2;
            buffer[start + 1] = length as u8;
            start
        }
        126..=0xffff => {
            let start = MAX_HEADER_BYTES - 4;
            buffer[start + 1] = 126;
            buffer[start + 2..MAX_HEADER_BYTES].copy_from_slice(&(length as u16).to_be_bytes());
            start
        }
        _ => {
            buffer[1] = 127;
            buffer[2..MAX_HEADER_BYTES].copy_from_slice(&(length as u64).to_be_bytes());
            0
        }
    };
    buffer[start] = TEXT;
    Bytes::from(buffer).slice(start..)
}

fn finish_server_sent_event(head: &[u8], payload: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(head.len() + payload.len() + 16);
    event.extend_from_slice(head);
    let mut data = |line: &[u8]| {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    };
    // A JSON text may hold line breaks between its tokens; each line is a data line of its own. Few
    // do, and to look for a byte costs a fraction of looking at each.
    if payload.contains(&b'\n') || payload.contains(&b'\r') {
        let lines = payload.split(|byte| matches!(byte, b'\n' | b'\r'));
        lines.for_each(data);
    } else {
        data(payload);
    }
    event.push(b'\n');
    event.into()
}

/// A ping without payload.
pub(crate) const fn ping() -> &'static [u8] {
    &PING
}

/// A close frame. A reason over the protocol's 123 bytes is cut; ours are ASCII.
pub(super) fn close(code: u16, reason: &str) -> Vec<u8> {
    let reason = &reason.as_bytes()[..reason.len().min(MAX_CLOSE_REASON_BYTES)];
    let mut frame = vec![CLOSE, 2 + reason.len() as u8];
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(reason);
    frame
}
