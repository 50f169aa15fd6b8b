//! What is written to a reader at once: whole frames, gathered behind its cursor.
//!
//! Readers of one thread that stand at the same place are written the same bytes, so a batch of
//! events is gathered for the first of them and serves the others.

use bytes::{Bytes, BytesMut};

use super::event::Encoding;
use super::thread::ThreadKey;

/// Frames handed to a socket at once.
const MAX_CHUNKS: usize = 256;
/// Bytes handed to a socket at once; the frame that goes over it is the last.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// What a chunk is, so that its arrival can be accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Control,
    Event(u64),
    Farewell,
}

/// The place of a reader that is to get events and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) thread: ThreadKey,
    pub(super) encoding: Encoding,
    /// The next event to write.
    pub(super) next: u64,
    /// The thread's newest event.
    pub(super) last: u64,
}

/// Frames gathered for one write. Reused from write to write.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    chunks: Vec<Bytes>,
    items: Vec<Item>,
    bytes: usize,
    /// Whose it is, where it holds events and nothing else.
    stand: Option<Stand>,
    /// All chunks in one piece, once a second reader needs them: one copy spares every further
    /// reader a list of pieces.
    joined: Option<Bytes>,
}

impl Batch {
    /// Forgets the frames of the last write.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.items.clear();
        self.bytes = 0;
        self.stand = None;
        self.joined = None;
    }

    /// Bytes gathered.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What to hand to the socket, in order.
    pub(crate) fn chunks(&self) -> &[Bytes] {
        match &self.joined {
            Some(joined) => std::slice::from_ref(joined),
            None => &self.chunks,
        }
    }

    /// Whether a limit ended the gathering: more may be waiting.
    pub(crate) fn full(&self) -> bool {
        self.chunks.len() >= MAX_CHUNKS || self.bytes >= MAX_BATCH_BYTES
    }

    pub(super) fn push(&mut self, chunk: Bytes, item: Item) {
        self.bytes += chunk.len();
        self.chunks.push(chunk);
        self.items.push(item);
    }

    /// Each frame with what it is.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, Item)> {
        self.chunks.iter().zip(self.items.iter().copied())
    }

    /// The first and the last event of a batch that holds nothing else.
    pub(super) fn events(&self) -> Option<(u64, u64)> {
        let first = self.stand?.next;
        (!self.chunks.is_empty()).then(|| (first, first + self.chunks.len() as u64 - 1))
    }

    /// Notes for whom it was gathered. `None`: it holds more than events, and serves nobody else.
    pub(super) fn gathered_for(&mut self, stand: Option<Stand>) {
        self.stand = stand;
    }

    /// Whether what is gathered is what a reader at that place needs; then it is made one piece.
    pub(super) fn serves(&mut self, stand: Option<Stand>) -> bool {
        let serves = stand.is_some() && self.stand == stand;
        if serves && self.joined.is_none() && self.chunks.len() > 1 {
            let mut joined = BytesMut::with_capacity(self.bytes);
            for chunk in &self.chunks {
                joined.extend_from_slice(chunk);
            }
            self.joined = Some(joined.freeze());
        }
        serves
    }
}
