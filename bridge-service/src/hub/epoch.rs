//! The name of one thread's log in one process: a position is good only inside its epoch.

/// Longest text: two numbers of 64 bits in hexadecimal, and a dash.
const MAX_BYTES: usize = 33;

/// An epoch. Its text is kept inside, so that handing one on touches no shared counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    number: u64,
    text: [u8; MAX_BYTES],
    length: u8,
}

impl Epoch {
    /// The `number`th epoch of a process whose seed no other process has.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let written = format!("{seed:016x}-{number:x}");
        let mut text = [0; MAX_BYTES];
        text[..written.len()].copy_from_slice(written.as_bytes());
        Self {
            number,
            text,
            length: written.len() as u8,
        }
    }

    /// Its number in this process.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// What clients see.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_fits() {
        assert_eq!(Epoch::new(1, 0x2f).as_str(), "0000000000000001-2f");
        let longest = Epoch::new(u64::MAX, u64::MAX);
        assert_eq!(longest.as_str(), "ffffffffffffffff-ffffffffffffffff");
    }
}
