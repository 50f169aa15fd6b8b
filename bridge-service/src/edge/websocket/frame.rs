//! The frames that this side makes itself: answers to control frames. The hub makes the rest.

use bytes::Bytes;

/// A whole close frame and a whole pong (RFC 6455, section 5.2); payloads of control frames have at
/// most 125 bytes, so one byte holds their length.
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;
const MAX_CONTROL_BYTES: usize = 125;

/// The answer to a ping: its payload, which the decoder has kept to 125 bytes.
pub(super) fn pong(payload: &[u8]) -> Bytes {
    control(PONG, payload)
}

/// The answer to a close frame: the same code.
pub(super) fn close_answer(code: Option<u16>) -> Bytes {
    match code {
        Some(code) => control(CLOSE, &code.to_be_bytes()),
        None => control(CLOSE, &[]),
    }
}

fn control(first: u8, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(MAX_CONTROL_BYTES)];
    let length = u8::try_from(payload.len()).unwrap_or_default();
    [&[first, length], payload].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_unmasked_control_frames() {
        assert_eq!(pong(b"hi").as_ref(), [0x8a, 2, b'h', b'i']);
        assert_eq!(close_answer(Some(1000)).as_ref(), [0x88, 2, 0x03, 0xe8]);
        assert_eq!(close_answer(None).as_ref(), [0x88, 0]);
        assert_eq!(pong(&[0; 300]).len(), 127);
    }
}
