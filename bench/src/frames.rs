//! WebSocket as a client needs it: the opening handshake, a server's frames, and frames to a
//! server (RFC 6455).

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::failure::Failure;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Any key will do: what is sent is no secret, and no browser sends it.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const MASKED: u8 = 0x80;
/// Largest answer to a handshake, in bytes.
const MAX_HEAD_BYTES: usize = 4_096;

/// One frame of a server, as places in the bytes that it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    /// Where its payload begins.
    pub(crate) start: usize,
    /// Where its payload, and the frame, ends.
    pub(crate) end: usize,
}

/// The frame that begins at `at`; `None` where it has not come in whole.
pub(crate) fn frame_at(bytes: &[u8], at: usize) -> Option<Frame> {
    let head = bytes.get(at..at + 2)?;
    let (start, length) = match head[1] & !MASKED {
        126 => {
            let length = bytes.get(at + 2..at + 4)?;
            (
                at + 4,
                usize::from(u16::from_be_bytes(length.try_into().ok()?)),
            )
        }
        127 => {
            let length = bytes.get(at + 2..at + 10)?;
            let length = u64::from_be_bytes(length.try_into().ok()?);
            (at + 10, usize::try_from(length).ok()?)
        }
        length => (at + 2, usize::from(length)),
    };
    let end = start.checked_add(length)?;
    (end <= bytes.len()).then_some(Frame {
        opcode: head[0] & 0x0f,
        start,
        end,
    })
}

/// Appends a client's frame, masked.
pub(crate) fn append(out: &mut Vec<u8>, opcode: u8, payload: &[&[u8]]) {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    out.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < 126 => out.push(MASKED | length),
        (_, Ok(length)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let bytes = payload.iter().flat_map(|part| part.iter());
    out.extend(bytes.zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Asks for an upgrade; [`accepted`] reads the answer.
///
/// # Errors
/// Where the socket cannot be written to.
pub(crate) fn ask(socket: &mut TcpStream, path: &str) -> Result<(), Failure> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    Ok(socket.write_all(request.as_bytes())?)
}

/// Reads the answer to an upgrade; returns what came behind it.
///
/// # Errors
/// Where the server does not switch, or closes.
pub(crate) fn accepted(socket: &mut TcpStream) -> Result<Vec<u8>, Failure> {
    let mut head = Vec::new();
    let mut part = [0; 1_024];
    loop {
        let count = socket.read(&mut part)?;
        head.extend_from_slice(&part[..count]);
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            if !head.starts_with(b"HTTP/1.1 101") {
                let text = String::from_utf8_lossy(&head);
                let line = text.lines().next().unwrap_or_default();
                return Err(Failure::new(format!("no upgrade: {line}")));
            }
            return Ok(head.split_off(end + 4));
        }
        if count == 0 || head.len() > MAX_HEAD_BYTES {
            return Err(Failure::new("the connection ended inside the handshake"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(length: usize) -> Vec<u8> {
        let mut bytes = vec![0x80 | TEXT];
        match length {
            0..126 => bytes.push(length as u8),
            126..65_536 => {
                bytes.push(126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + length, b'x');
        bytes
    }

    #[test]
    fn every_length_is_read_whole_and_never_too_early() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let bytes = [server_frame(3), server_frame(length)].concat();
            let first = frame_at(&bytes, 0).unwrap();
            let second = frame_at(&bytes, first.end).unwrap();
            assert_eq!((second.opcode, second.end), (TEXT, bytes.len()));
            assert_eq!(second.end - second.start, length);
            for cut in first.end..bytes.len() {
                assert_eq!(
                    frame_at(&bytes[..cut], first.end),
                    None,
                    "{length} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn what_is_sent_is_masked() {
        for length in [5, 125, 126, 70_000] {
            let payload = vec![b'y'; length];
            let mut out = Vec::new();
            append(&mut out, BINARY, &[&payload[..2], &payload[2..]]);
            let head = out.len() - length;
            assert_eq!((out[0], out[1] & MASKED), (0x80 | BINARY, MASKED));
            let keys = MASK.iter().cycle();
            assert!(
                out[head..]
                    .iter()
                    .zip(keys)
                    .all(|(byte, key)| byte ^ key == b'y')
            );
        }
    }
}
