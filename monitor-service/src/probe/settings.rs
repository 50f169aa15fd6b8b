//! How often the probes look, and how long they wait.

use std::time::Duration;

/// Intervals, deadlines and back-off of every probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeSettings {
    /// The longest silence that is asked of a watch stream.
    pub(crate) beat_interval: Duration,
    /// Between two scheduled audits of one component; jittered by a tenth.
    pub(crate) audit_interval: Duration,
    /// How long one call may take, connecting included; also the first message of a stream.
    pub(crate) call_deadline: Duration,
    /// How long connecting may take; less than `call_deadline`, so that a call outlives the
    /// attempt it waits for and can say why there was no connection.
    pub(crate) connect_deadline: Duration,
    /// The first pause before a watch stream is opened again.
    pub(crate) reconnect_base: Duration,
    /// The longest such pause. Well under `reconnect_grace` and `restart_grace` of the rules: what
    /// the monitor waits itself is nobody's absence.
    pub(crate) reconnect_cap: Duration,
    /// Between two HTTP/2 pings, on idle connections too.
    pub(crate) keepalive_interval: Duration,
    /// How long a ping may stay unanswered before the connection counts as broken.
    pub(crate) keepalive_timeout: Duration,
    /// How long a watch stream may be silent before it is given up and opened again.
    pub(crate) silence_limit: Duration,
    /// Components that start together are spread out by this much each, so that a restart with
    /// 1,000 components does not call them all in one instant.
    pub(crate) start_pace: Duration,
    /// Between two looks at one component, with the calls of an audit: what only calls can show
    /// must not wait for the next audit.
    pub(crate) glance_interval: Duration,
    /// Looks a second at all components together; where there are more, each is looked at less
    /// often. At least 1.
    pub(crate) glance_rate: u32,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            beat_interval: Duration::from_secs(1),
            audit_interval: Duration::from_secs(30),
            call_deadline: Duration::from_secs(2),
            connect_deadline: Duration::from_millis(1_500),
            reconnect_base: Duration::from_millis(200),
            reconnect_cap: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(2),
            silence_limit: Duration::from_secs(30),
            start_pace: Duration::from_millis(4),
            glance_interval: Duration::from_secs(1),
            glance_rate: 1_000,
        }
    }
}
