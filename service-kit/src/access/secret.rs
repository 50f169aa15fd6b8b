//! A text that nobody gets to see.

use std::fmt;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

/// A secret. `Debug` shows three stars, there is no `Display`, and comparing takes as long for a
/// near guess as for a far one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Whether this is the secret. Every byte is compared, so that the time taken says nothing
    /// about how near a guess came.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        let pairs = self.0.bytes().zip(shown.bytes());
        let difference = pairs.fold(0, |difference, (ours, theirs)| difference | (ours ^ theirs));
        self.0.len() == shown.len() && std::hint::black_box(difference) == 0
    }

    /// What tells it from any other.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        Digest(bytes)
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The SHA-256 of a secret, for whoever must know it again and need not have it. Not shown either.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; SHA256_OUTPUT_LEN]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_compared_whole_and_shown_never() {
        let secret = Secret::from("correct-horse".to_owned());
        assert!(secret.is("correct-horse"));
        for wrong in ["", "correct-hors", "correct-horse2", "Correct-horse"] {
            assert!(!secret.is(wrong), "{wrong}");
        }
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(format!("{:?}", secret.digest()), "***");
        assert_eq!(secret.digest(), secret.clone().digest());
        assert_ne!(secret.digest(), Secret::default().digest());
    }
}
