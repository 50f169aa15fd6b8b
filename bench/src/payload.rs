//! What each message carries: its number in its thread, and when it was sent.

/// Bytes of a payload.
pub(crate) const BYTES: usize = 256;

const HEAD: &[u8] = br#"{"n":""#;
const BETWEEN: &[u8] = br#"","t":""#;
const FILL: &[u8] = br#"","x":""#;
const TAIL: &[u8] = br#""}"#;
/// Both values are written in hexadecimal, at fixed places.
const DIGITS: usize = 16;
const NUMBER_AT: usize = HEAD.len();
const SENT_AT: usize = NUMBER_AT + DIGITS + BETWEEN.len();

/// A message's number, and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// In its thread, from 1, without gaps.
    pub(crate) number: u64,
    /// Nanoseconds after the load began.
    pub(crate) sent: u64,
}

impl Stamp {
    /// The payload that carries it: one JSON object.
    pub(crate) fn write(self) -> [u8; BYTES] {
        let mut payload = [b'x'; BYTES];
        let mut put =
            |at: usize, bytes: &[u8]| payload[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, HEAD);
        put(NUMBER_AT, &digits(self.number));
        put(NUMBER_AT + DIGITS, BETWEEN);
        put(SENT_AT, &digits(self.sent));
        put(SENT_AT + DIGITS, FILL);
        put(BYTES - TAIL.len(), TAIL);
        payload
    }

    /// What a payload carries; `None` where it is no payload of ours.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let ours = payload.len() == BYTES && payload.starts_with(HEAD) && payload.ends_with(TAIL);
        if !ours {
            return None;
        }
        Some(Self {
            number: value(&payload[NUMBER_AT..])?,
            sent: value(&payload[SENT_AT..])?,
        })
    }
}

fn digits(value: u64) -> [u8; DIGITS] {
    const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| HEXADECIMAL[(value >> (60 - 4 * at) & 15) as usize])
}

/// All digits at once, since millions of them are read each second: a letter has bit 6 and is 9
/// more than its low half.
fn value(text: &[u8]) -> Option<u64> {
    let half = |at: usize| -> Option<u64> {
        let word = u64::from_be_bytes(text.get(at..at + 8)?.try_into().ok()?);
        let letters = word >> 6 & 0x0101_0101_0101_0101;
        let nibbles = (word & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9;
        let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
        let words = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
        Some((words | words >> 16) & 0xffff_ffff)
    };
    Some(half(0)? << 32 | half(8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (number, sent) in [
            (1, 0),
            (0x0123_4567_89ab_cdef, u64::MAX),
            (10_000_000, 987_654_321),
        ] {
            let stamp = Stamp { number, sent };
            assert_eq!(Stamp::read(&stamp.write()), Some(stamp));
        }
    }

    #[test]
    fn a_payload_is_json() {
        let payload = Stamp { number: 7, sent: 9 }.write();
        let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(value["n"], "0000000000000007");
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        let payload = Stamp { number: 7, sent: 9 }.write();
        assert_eq!(Stamp::read(&payload[1..]), None);
        assert_eq!(Stamp::read(br#"{"type":"heartbeat","seq":3}"#), None);
    }
}
