//! From an audit to an exit code.

use monitorable::monitor::v1 as wire;

use super::Exit;

/// How an error of a call begins where there was no connection; see `CallError`.
const CANNOT_CONNECT: &str = "cannot connect";

/// The exit code of an audit. UNVERIFIED counts as well: no claim was contradicted.
pub(crate) fn exit(audit: &wire::Audit) -> Exit {
    let verdict = audit
        .overall_assessment
        .as_ref()
        .map_or(wire::Verdict::Unspecified, |assessment| {
            assessment.verdict()
        });
    let health_error = audit
        .internal_health
        .as_ref()
        .map_or("", |health| health.error.as_str());
    let metrics_error = audit
        .internal_metrics
        .as_ref()
        .map_or("", |metrics| metrics.error.as_str());
    match verdict {
        wire::Verdict::SilentFailure => Exit::ClaimsDoNotHold,
        wire::Verdict::NotMonitored => Exit::BadArguments,
        _ if health_error.starts_with(CANNOT_CONNECT) => Exit::CannotConnect,
        _ if !health_error.is_empty() => Exit::CallFailed,
        wire::Verdict::Degraded | wire::Verdict::Down => Exit::Unhealthy,
        wire::Verdict::NoData | wire::Verdict::Unspecified => Exit::CallFailed,
        wire::Verdict::Healthy | wire::Verdict::Unverified if metrics_error.is_empty() => Exit::Ok,
        wire::Verdict::Healthy | wire::Verdict::Unverified => Exit::CallFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CallError;

    fn audit(verdict: wire::Verdict, health: &str, metrics: &str) -> wire::Audit {
        wire::Audit {
            internal_health: Some(wire::InternalHealth {
                error: health.to_owned(),
                ..Default::default()
            }),
            internal_metrics: Some(wire::InternalMetrics {
                error: metrics.to_owned(),
                ..Default::default()
            }),
            overall_assessment: Some(wire::OverallAssessment {
                verdict: verdict.into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn each_verdict_has_its_code() {
        use wire::Verdict;
        for (verdict, expected) in [
            (Verdict::Healthy, Exit::Ok),
            (Verdict::Unverified, Exit::Ok),
            (Verdict::Degraded, Exit::Unhealthy),
            (Verdict::Down, Exit::Unhealthy),
            (Verdict::SilentFailure, Exit::ClaimsDoNotHold),
            (Verdict::NoData, Exit::CallFailed),
            (Verdict::NotMonitored, Exit::BadArguments),
            (Verdict::Unspecified, Exit::CallFailed),
        ] {
            assert_eq!(exit(&audit(verdict, "", "")), expected, "{verdict:?}");
        }
    }

    #[test]
    fn nobody_there_is_told_from_a_call_that_failed() {
        let down = |error: CallError| exit(&audit(wire::Verdict::Down, &error.to_string(), ""));
        assert_eq!(
            down(CallError::Unreachable("refused".to_owned())),
            Exit::CannotConnect
        );
        for error in [
            CallError::TimedOut(std::time::Duration::from_secs(2)),
            CallError::Malformed("x".to_owned()),
            CallError::Refused {
                code: "UNAVAILABLE".to_owned(),
                message: String::new(),
            },
        ] {
            assert_eq!(down(error), Exit::CallFailed);
        }
    }

    #[test]
    fn metrics_that_do_not_come_are_a_failed_call() {
        let audit = audit(wire::Verdict::Unverified, "", "answered UNIMPLEMENTED: no");
        assert_eq!(exit(&audit), Exit::CallFailed);
    }
}
