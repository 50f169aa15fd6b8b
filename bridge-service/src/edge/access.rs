//! What the bridge's doors take: which method, which thread.

use monitorable::bridge::v1::AgentEvent;
use service_kit::access::{Action, Denied, Identity, Rule};
use tonic::Status;

use super::ingest::validate::is_synthetic;

/// What a gRPC method takes of its caller.
pub(crate) fn rule(path: &str) -> Rule {
    match path.trim_start_matches('/').split_once('/') {
        Some(("grpc.health.v1.Health", _)) => Rule::Open,
        Some(("bridge.v1.AgentEvents", "GetEgress")) => Rule::May(Action::Know),
        Some(("bridge.v1.AgentEvents", _)) => Rule::May(Action::Publish),
        Some(("monitorable.v1.Monitorable", _)) => Rule::May(Action::Inspect),
        _ => Rule::May(Action::Know),
    }
}

/// Whether this reader may read this thread. Synthetic threads are an auditor's too.
///
/// # Errors
/// Who may not, and what it would take.
pub(crate) fn may_read(identity: &Identity, thread_id: &str) -> Result<(), Denied> {
    either(identity, Action::Read(thread_id), thread_id)
}

/// Whether this caller may write to the threads of all these events; `None` is everybody. One
/// that it may not write to fails the batch whole: its agent is set up wrong, and a half would
/// hide that.
///
/// # Errors
/// `PERMISSION_DENIED` with the first thread that is not allowed.
pub(crate) fn may_write(identity: Option<&Identity>, events: &[AgentEvent]) -> Result<(), Status> {
    let Some(identity) = identity else {
        return Ok(());
    };
    for event in events {
        let thread_id = event.thread_id.as_str();
        either(identity, Action::Write(thread_id), thread_id).map_err(|denied| {
            tracing::info!(%denied, "refused: not allowed");
            Status::permission_denied(denied.to_string())
        })?;
    }
    Ok(())
}

fn either(identity: &Identity, action: Action<'_>, thread_id: &str) -> Result<(), Denied> {
    match identity.may(action) {
        Err(_) if is_synthetic(thread_id) && identity.may(Action::Probe).is_ok() => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use service_kit::access::{Credential, Grants, Role, Threads};

    use super::*;

    fn somebody(role: Role, threads: Threads) -> Identity {
        Identity {
            name: "somebody".into(),
            credential: Credential::Certificate,
            grants: Grants {
                roles: vec![role],
                read: threads.clone(),
                write: threads,
            },
            expires: None,
        }
    }

    fn event(thread_id: &str) -> AgentEvent {
        AgentEvent {
            thread_id: thread_id.to_owned(),
            ..AgentEvent::default()
        }
    }

    #[test]
    fn probes_get_in_and_everything_else_is_asked() {
        assert_eq!(rule("/grpc.health.v1.Health/Check"), Rule::Open);
        assert_eq!(
            rule("/bridge.v1.AgentEvents/PublishStream"),
            Rule::May(Action::Publish)
        );
        assert_eq!(
            rule("/bridge.v1.AgentEvents/GetEgress"),
            Rule::May(Action::Know)
        );
        assert_eq!(
            rule("/monitorable.v1.Monitorable/WatchHealth"),
            Rule::May(Action::Inspect)
        );
        for other in [
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/",
            "",
            "x",
        ] {
            assert_eq!(rule(other), Rule::May(Action::Know), "{other}");
        }
    }

    #[test]
    fn a_batch_with_one_foreign_thread_fails_whole() {
        let agent = somebody(Role::Agent, Threads::all());
        assert!(may_write(Some(&agent), &[event("a"), event("b")]).is_ok());
        let nobody = somebody(Role::Agent, Threads::default());
        let refused = may_write(Some(&nobody), &[event("a")]).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        assert!(refused.message().contains("\"a\""), "{refused:?}");
        assert!(may_write(None, &[event("a")]).is_ok());
    }

    #[test]
    fn a_monitor_has_the_synthetic_threads_and_no_other() {
        let monitor = somebody(Role::Monitor, Threads::default());
        assert!(may_write(Some(&monitor), &[event("$canary/m/1")]).is_ok());
        assert!(may_read(&monitor, "$canary/m/1").is_ok());
        assert!(may_write(Some(&monitor), &[event("$canary/m/1"), event("chat")]).is_err());
        assert!(may_read(&monitor, "chat").is_err());
    }
}
