//! Maintenance windows, as they may be asked for.

use std::time::Duration;

use monitorable::monitor::v1 as wire;

use super::{Invalid, id};
use crate::probe::convert::span;

/// The shortest and the longest window.
pub(crate) const MIN_WINDOW: Duration = Duration::from_secs(1);
pub(crate) const MAX_WINDOW: Duration = Duration::from_secs(7 * 86_400);
/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 256;

/// A window that may be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) component_id: String,
    pub(crate) duration: Duration,
    /// Empty: not said.
    pub(crate) reason: String,
}

/// Checks every field.
///
/// # Errors
/// The first field that is not valid.
pub(crate) fn window(request: wire::StartMaintenanceRequest) -> Result<Window, Invalid> {
    id("component_id", &request.component_id)?;
    let allowed = "allowed is 1s to 7d";
    let Some(asked) = request.duration else {
        return Err(Invalid::new("duration", format!("is missing; {allowed}")));
    };
    let held = |duration: &Duration| (MIN_WINDOW..=MAX_WINDOW).contains(duration);
    let Some(duration) = span(asked).filter(held) else {
        let why = format!(
            "{} s and {} ns is not allowed; {allowed}",
            asked.seconds, asked.nanos
        );
        return Err(Invalid::new("duration", why));
    };
    if request.reason.len() > MAX_REASON_BYTES {
        let bytes = request.reason.len();
        let why = format!("{bytes} bytes are too many; allowed are {MAX_REASON_BYTES}");
        return Err(Invalid::new("reason", why));
    }
    Ok(Window {
        component_id: request.component_id,
        duration,
        reason: request.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(seconds: i64) -> wire::StartMaintenanceRequest {
        wire::StartMaintenanceRequest {
            component_id: "bridge".to_owned(),
            duration: Some(prost_types::Duration { seconds, nanos: 0 }),
            reason: "a new disk".to_owned(),
        }
    }

    #[test]
    fn windows_are_held_to_their_range() {
        assert_eq!(window(asked(1)).unwrap().duration, MIN_WINDOW);
        assert_eq!(window(asked(604_800)).unwrap().duration, MAX_WINDOW);
        for seconds in [0, -5, 604_801, i64::MAX] {
            let error = window(asked(seconds)).unwrap_err();
            assert!(error.0.starts_with("duration: "), "{error}");
            assert!(error.0.contains("allowed is 1s to 7d"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_or_too_long_is_named() {
        let mut request = asked(60);
        request.component_id.clear();
        assert!(window(request).unwrap_err().0.starts_with("component_id: "));
        let mut request = asked(60);
        request.duration = None;
        assert!(
            window(request)
                .unwrap_err()
                .0
                .starts_with("duration: is missing")
        );
        let mut request = asked(60);
        request.reason = "x".repeat(257);
        assert!(
            window(request)
                .unwrap_err()
                .0
                .starts_with("reason: 257 bytes")
        );
    }
}
