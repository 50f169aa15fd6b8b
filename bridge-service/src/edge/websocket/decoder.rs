//! From a client's bytes to its messages (RFC 6455, section 5), bounded and without a buffer while
//! nothing is under way.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::hub::event::CloseReason;

/// Longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL_BYTES: u64 = 125;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Text(String),
    /// With the payload to send back.
    Ping(Vec<u8>),
    Pong,
    /// With the code to send back, where there was one.
    Close(Option<u16>),
}

/// A client that broke the protocol, or a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: CloseReason,
    pub(super) what: &'static str,
}

const fn broken(what: &'static str) -> Violation {
    Violation {
        reason: CloseReason::ProtocolError,
        what,
    }
}

const TOO_BIG: Violation = Violation {
    reason: CloseReason::MessageTooBig,
    what: "a message over the limit",
};

/// What a client sent and is not a whole message yet.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    unread: Vec<u8>,
    /// How many of them are understood. They leave together, once no whole frame is left: many
    /// small messages that come at once are not moved for each other.
    understood: usize,
    /// The text so far of a message that comes in fragments.
    fragments: Option<Vec<u8>>,
}

impl Decoder {
    /// Takes bytes as they came. The caller then calls [`Decoder::next`] until it gives nothing, so
    /// no more than one frame within the limit is ever kept.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes have come.
    ///
    /// # Errors
    /// The first violation. Nothing that follows one can be understood.
    pub(super) fn next(&mut self, max_bytes: usize) -> Result<Option<Incoming>, Violation> {
        while let Some((header, payload)) = self.next_frame(max_bytes)? {
            match header.opcode {
                OpCode::Control(control) => return whole_control(control, payload).map(Some),
                OpCode::Data(data) => {
                    if let Some(text) = self.data(data, header.is_final, payload, max_bytes)? {
                        return Ok(Some(Incoming::Text(text)));
                    }
                }
            }
        }
        self.unread.drain(..std::mem::take(&mut self.understood));
        if self.unread.is_empty() {
            // An idle client costs no buffer.
            self.unread = Vec::new();
        }
        Ok(None)
    }

    /// Forgets what cannot become a message any more, so that reading on costs no memory.
    pub(super) fn forget_over(&mut self, max_bytes: usize) {
        if self.unread.len() > max_bytes {
            *self = Self::default();
        }
    }

    fn next_frame(
        &mut self,
        max_bytes: usize,
    ) -> Result<Option<(FrameHeader, Vec<u8>)>, Violation> {
        let unread = &self.unread[self.understood..];
        let mut cursor = Cursor::new(unread);
        let parsed =
            FrameHeader::parse(&mut cursor).map_err(|_| broken("a frame of a reserved type"))?;
        let Some((header, length)) = parsed else {
            return Ok(None);
        };
        check_header(&header, length, max_bytes)?;
        let start = usize::try_from(cursor.position()).map_err(|_| TOO_BIG)?;
        let end = start + usize::try_from(length).map_err(|_| TOO_BIG)?;
        if unread.len() < end {
            return Ok(None);
        }
        let mut payload = unread[start..end].to_vec();
        self.understood += end;
        let mask = header.mask.ok_or(broken("an unmasked frame"))?;
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[index % mask.len()];
        }
        Ok(Some((header, payload)))
    }

    fn data(
        &mut self,
        data: Data,
        last: bool,
        payload: Vec<u8>,
        max_bytes: usize,
    ) -> Result<Option<String>, Violation> {
        let text = match (data, self.fragments.take()) {
            (Data::Text, None) => payload,
            (Data::Continue, Some(mut text)) => {
                if text.len() + payload.len() > max_bytes {
                    return Err(TOO_BIG);
                }
                text.extend_from_slice(&payload);
                text
            }
            (Data::Text, Some(_)) => return Err(broken("a message inside a fragmented one")),
            (Data::Continue, None) => return Err(broken("a fragment of no message")),
            _ => return Err(broken("a binary message")),
        };
        if !last {
            self.fragments = Some(text);
            return Ok(None);
        }
        String::from_utf8(text)
            .map(Some)
            .map_err(|_| broken("a text that is not UTF-8"))
    }
}

/// Refuses a frame by its header, so that nobody waits for a payload that will not be taken.
fn check_header(header: &FrameHeader, length: u64, max_bytes: usize) -> Result<(), Violation> {
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(broken("a reserved bit without an extension"));
    }
    if header.mask.is_none() {
        return Err(broken("an unmasked frame"));
    }
    match header.opcode {
        OpCode::Control(_) if !header.is_final || length > MAX_CONTROL_BYTES => Err(broken(
            "a control frame that is fragmented or over 125 bytes",
        )),
        OpCode::Data(Data::Binary) => Err(broken("a binary message")),
        OpCode::Data(_) if length > max_bytes as u64 => Err(TOO_BIG),
        _ => Ok(()),
    }
}

fn whole_control(control: Control, payload: Vec<u8>) -> Result<Incoming, Violation> {
    match control {
        Control::Ping => Ok(Incoming::Ping(payload)),
        Control::Pong => Ok(Incoming::Pong),
        Control::Close => close_code(&payload).map(Incoming::Close),
        Control::Reserved(_) => Err(broken("a frame of a reserved type")),
    }
}

/// The code of a close frame, where it is one that a client may send (section 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(broken("a close frame of one byte")),
    };
    let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if allowed && std::str::from_utf8(reason).is_ok() {
        Ok(Some(code))
    } else {
        Err(broken("a close frame whose code or reason is not valid"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 300;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(long as u16).to_be_bytes());
            }
        }
        let mask = [9, 8, 7, 6];
        frame.extend_from_slice(&mask);
        frame.extend(
            payload
                .iter()
                .enumerate()
                .map(|(i, byte)| byte ^ mask[i % 4]),
        );
        frame
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Incoming>, Violation> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        decoder.feed(bytes);
        while let Some(message) = decoder.next(LIMIT)? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[test]
    fn whole_messages_of_every_kind() {
        let bytes = [
            frame(0x81, "hé".as_bytes()),
            frame(0x89, b"are you there"),
            frame(0x8a, b""),
            frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e']),
            frame(0x88, b""),
        ];
        let expected = vec![
            Incoming::Text("hé".to_owned()),
            Incoming::Ping(b"are you there".to_vec()),
            Incoming::Pong,
            Incoming::Close(Some(1000)),
            Incoming::Close(None),
        ];
        assert_eq!(decode(&bytes.concat()), Ok(expected));
    }

    #[test]
    fn fragments_join_and_controls_may_come_between() {
        let bytes = [
            frame(0x01, b"{\"type\""),
            frame(0x89, b"1"),
            frame(0x00, b":"),
            frame(0x80, b"1}"),
        ];
        let expected = vec![
            Incoming::Ping(b"1".to_vec()),
            Incoming::Text("{\"type\":1}".to_owned()),
        ];
        assert_eq!(decode(&bytes.concat()), Ok(expected));
    }

    #[test]
    fn violations_have_their_close_code() {
        let unmasked = vec![0x81, 1, b'x'];
        let long = vec![b'x'; LIMIT + 1];
        let two_halves = [frame(0x01, &long[..200]), frame(0x80, &long[..200])].concat();
        for (bytes, code) in [
            (unmasked, 1002),
            (frame(0x82, b"binary"), 1002),
            (frame(0x83, b""), 1002),
            (frame(0x8b, b""), 1002),
            (frame(0xc1, b"compressed"), 1002),
            (frame(0x09, b"fragmented ping"), 1002),
            (frame(0x89, &long[..126]), 1002),
            (frame(0x80, b"of nothing"), 1002),
            ([frame(0x01, b"a"), frame(0x81, b"b")].concat(), 1002),
            (frame(0x81, &[0xff]), 1002),
            (frame(0x88, &[1]), 1002),
            (frame(0x88, &[0x03, 0xed]), 1002),
            (frame(0x81, &long), 1009),
            (two_halves, 1009),
            // Eight bytes of length: refused before any payload comes.
            (
                vec![0x81, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
                1009,
            ),
        ] {
            let violation = decode(&bytes).unwrap_err();
            assert_eq!(violation.reason.code(), code, "{}", violation.what);
        }
    }

    #[test]
    fn an_idle_client_costs_no_buffer() {
        let mut decoder = Decoder::default();
        decoder.feed(&frame(0x8a, b""));
        while decoder.next(LIMIT).unwrap().is_some() {}
        assert_eq!(decoder.unread.capacity(), 0);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn nearly_valid_bytes_never_panic(
            first: u8,
            second: u8,
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let _ = decode(&[vec![first, second], rest].concat());
        }

        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            texts in prop::collection::vec(".{0,40}", 1..6),
            cut in 1_usize..40,
        ) {
            let bytes: Vec<u8> = texts.iter().flat_map(|t| frame(0x81, t.as_bytes())).collect();
            let mut decoder = Decoder::default();
            let mut decoded = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.feed(piece);
                while let Some(Incoming::Text(text)) = decoder.next(LIMIT).unwrap() {
                    decoded.push(text);
                }
            }
            prop_assert_eq!(decoded, texts);
        }
    }
}
