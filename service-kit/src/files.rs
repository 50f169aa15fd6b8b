//! The limit of open files, which is one of connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process has open beside its connections.
const OWN_FILES: u64 = 64;

/// Raises this process's limit of open files as far as it may: whoever starts it leaves it at 1024,
/// for programs that cannot have more, and says how far it may go. Warns where that is not enough
/// for so many connections.
pub fn allow_connections(connections: usize) {
    let allowed = raise();
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX);
    if allowed.is_some_and(|allowed| allowed < wanted.saturating_add(OWN_FILES)) {
        tracing::warn!(
            open_files = allowed,
            connections,
            "fewer files may be open than the settings allow connections: raise the hard limit \
             (ulimit -Hn), or lower those settings"
        );
    }
}

/// How many may be open afterwards. `None`: as many as there are.
fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, highest) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_goes_up_to_what_the_process_may_have() {
        let before = getrlimit(Resource::Nofile);
        let low = Rlimit {
            current: Some(512),
            maximum: before.maximum,
        };
        setrlimit(Resource::Nofile, low).unwrap();
        assert_eq!(raise(), before.maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
