//! The decoder's hot path, to be measured.

use service_kit::clock::Now;
use yardstick::{FLAT, HotPath, Work};

use super::decoder::{Decoder, Incoming};

/// What a client sends for each event that it got.
#[rustfmt::skip]
pub(crate) const PATHS: &[HotPath] = &[
    HotPath::new("websocket/decode", "message", "messages read at once", &[10, 100, 1_000], FLAT, decode),
];

/// More than any message here takes.
const MAX_BYTES: usize = 4_096;

fn decode(size: usize, _: Now) -> Work {
    let messages = (1..=size).map(|seq| format!("{{\"type\":\"ack\",\"seq\":{seq}}}"));
    let bytes: Vec<u8> = messages.flat_map(|text| masked(text.as_bytes())).collect();
    let mut decoder = Decoder::default();
    Box::new(move || {
        decoder.feed(&bytes);
        let mut decoded = 0;
        while let Ok(Some(Incoming::Text(_))) = decoder.next(MAX_BYTES) {
            decoded += 1;
        }
        decoded
    })
}

/// A short text as a client's frame.
fn masked(text: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![0x81, 0x80 | text.len() as u8];
    frame.extend(mask);
    frame.extend(
        text.iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}
