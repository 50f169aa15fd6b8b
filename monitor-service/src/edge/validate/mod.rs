//! What callers may send: every field is checked here, whichever way it came in, and a refusal
//! names the field, the value and what is allowed.

mod canary;
pub(crate) mod maintenance;
pub(crate) mod report;
pub(crate) mod target;
mod tls;

use tonic::Status;

/// Longest id, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 128;
/// Longest piece of a refused value that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// A refusal: one sentence that begins with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub(crate) String);

impl Invalid {
    pub(crate) fn new(field: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{field}: {why}"))
    }
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        Self::invalid_argument(invalid.0)
    }
}

/// The value in quotes, cut where it is long.
pub(crate) fn shown(value: &str) -> String {
    if value.chars().count() <= MAX_SHOWN_CHARS {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(MAX_SHOWN_CHARS).collect();
    format!("{start:?}… ({} bytes)", value.len())
}

/// Checks an id: 1 to 128 bytes of printable ASCII without spaces.
///
/// # Errors
/// Where it is not one.
pub(crate) fn id(field: &str, value: &str) -> Result<(), Invalid> {
    let allowed = format!("1 to {MAX_ID_BYTES} bytes of printable ASCII without spaces");
    if value.is_empty() {
        return Err(Invalid::new(
            field,
            format!("is empty; allowed is {allowed}"),
        ));
    }
    if value.len() > MAX_ID_BYTES || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        let shown = shown(value);
        return Err(Invalid::new(
            field,
            format!("{shown} is not allowed; allowed is {allowed}"),
        ));
    }
    Ok(())
}

/// As [`id`], and it may be empty.
///
/// # Errors
/// Where it is neither.
pub(crate) fn optional_id(field: &str, value: &str) -> Result<(), Invalid> {
    if value.is_empty() {
        Ok(())
    } else {
        id(field, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_allowed() {
        for value in ["a", "bridge-1", "urn:x/y#z", &"x".repeat(128)] {
            assert_eq!(id("component_id", value), Ok(()));
        }
    }

    #[test]
    fn ids_that_are_not() {
        for value in ["", " ", "a b", "ä", "a\n", "\u{0}", &"x".repeat(129)] {
            let error = id("component_id", value).unwrap_err();
            assert!(error.0.starts_with("component_id: "), "{error}");
            assert!(error.0.contains("1 to 128 bytes"), "{error}");
        }
    }

    #[test]
    fn a_long_value_is_shown_cut() {
        let error = id("component_id", &"x".repeat(1_000_000)).unwrap_err();
        assert!(error.0.len() < 300, "{error}");
        assert!(error.0.contains("(1000000 bytes)"), "{error}");
    }
}
