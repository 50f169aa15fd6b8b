//! Why a synthetic run did not come back, and whom that speaks against.

use std::io;
use std::time::Duration;

use tokio_tungstenite::tungstenite;
use tonic::{Code, Status};

use super::story::shown;
use crate::domain::{CallError, CanaryOutcome};
use crate::probe::error::classify;

/// Close codes of the contract.
const UNAUTHENTICATED: u16 = 4001;
const FORBIDDEN: u16 = 4003;
const DRAINING: u16 = 4009;
const TOO_MANY_CONNECTIONS: u16 = 4010;
/// Errors of POSIX systems: no file handles left, in the process or in the system.
const NO_FILES: [i32; 2] = [23, 24];

/// Why a run did not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The path is broken.
    Failed(String),
    /// The component said that it drains.
    Draining(String),
    /// It says nothing of the path.
    NoWord(String),
    /// The component takes no agents' events.
    NotServed,
}

impl Trouble {
    /// The run's outcome. `None`: there is no run.
    pub(super) fn outcome(self) -> Option<CanaryOutcome> {
        match self {
            Self::Failed(why) => Some(CanaryOutcome::Failed(why)),
            Self::Draining(why) => Some(CanaryOutcome::Draining(why)),
            Self::NoWord(why) => Some(CanaryOutcome::NoWord(why)),
            Self::NotServed => None,
        }
    }

    /// A call that failed.
    pub(super) fn of_call(what: &str, status: &Status, keepalive_timeout: Duration) -> Self {
        let error = classify(status, keepalive_timeout);
        let why = format!("{what}: {error}");
        if !matches!(error, CallError::Refused { .. }) {
            return Self::Failed(why);
        }
        match status.code() {
            Code::Unimplemented => Self::NotServed,
            Code::Unavailable => Self::Draining(why),
            Code::Unauthenticated | Code::PermissionDenied | Code::ResourceExhausted => {
                Self::NoWord(why)
            }
            _ => Self::Failed(why),
        }
    }

    /// A connection that could not be made, or broke.
    pub(super) fn of_io(what: &str, error: &io::Error) -> Self {
        let why = format!("{what}: {error}");
        let own = error
            .raw_os_error()
            .is_some_and(|code| NO_FILES.contains(&code))
            || matches!(
                error.kind(),
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory
            );
        if own {
            Self::NoWord(why)
        } else {
            Self::Failed(why)
        }
    }

    /// A WebSocket that could not be opened, or broke.
    pub(super) fn of_socket(what: &str, error: &tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Io(error) => Self::of_io(what, error),
            tungstenite::Error::Http(response) => {
                let status = response.status();
                let body = response.body().as_deref().unwrap_or_default();
                let body = shown(String::from_utf8_lossy(body).trim());
                let why = format!("{what}: answered HTTP {status}: {body}");
                match status.as_u16() {
                    401 | 403 | 429 | 503 => Self::NoWord(why),
                    _ => Self::Failed(why),
                }
            }
            other => Self::Failed(format!("{what}: {other}")),
        }
    }

    /// A goodbye, or a close frame.
    pub(super) fn of_close(what: &str, code: u16, reason: &str) -> Self {
        let why = format!("{what}: closed with {code} {}", shown(reason));
        match code {
            DRAINING => Self::Draining(why),
            UNAUTHENTICATED | FORBIDDEN | TOO_MANY_CONNECTIONS => Self::NoWord(why),
            _ => Self::Failed(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_speaks_against_the_path_is_a_failure() {
        let call = |status: Status| Trouble::of_call("x", &status, Duration::ZERO);
        assert_eq!(call(Status::unimplemented("")), Trouble::NotServed);
        assert!(matches!(
            call(Status::unavailable("draining")),
            Trouble::Draining(_)
        ));
        assert!(matches!(
            call(Status::unauthenticated("")),
            Trouble::NoWord(_)
        ));
        assert!(matches!(call(Status::internal("")), Trouble::Failed(_)));
        assert!(matches!(
            Trouble::of_close("x", 4009, ""),
            Trouble::Draining(_)
        ));
        assert!(matches!(
            Trouble::of_close("x", 4001, ""),
            Trouble::NoWord(_)
        ));
        assert!(matches!(
            Trouble::of_close("x", 4008, ""),
            Trouble::Failed(_)
        ));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(matches!(Trouble::of_io("x", &refused), Trouble::Failed(_)));
        let no_files = io::Error::from_raw_os_error(24);
        assert!(matches!(Trouble::of_io("x", &no_files), Trouble::NoWord(_)));
    }
}
