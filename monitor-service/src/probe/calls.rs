//! The monitor's unary calls: each with a deadline that holds whatever the peer does.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt;
use monitorable::monitorable::v1::{GetHealthStatusRequest, GetMetricsRequest};
use service_kit::clock::{Clock, Now};
use tonic::{Code, Response, Status};

use super::channel::{Link, LinkState, no_connection_within};
use super::client::Client;
use super::convert;
use super::error::{classify, connection_lost};
use super::pulse::Pulse;
use super::settings::ProbeSettings;
use super::stretch::Stretch;
use crate::domain::{Answer, CallError, HealthClaim, MetricsClaim, Probed};

/// Everything that calling one target takes.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) link: Arc<Link>,
    pub(super) settings: ProbeSettings,
    pub(super) clock: Clock,
    pub(super) pulse: Arc<Pulse>,
    pub(super) stretch: Arc<Stretch>,
}

/// The fate of an audit whose calls could not be made at all.
pub(super) fn not_probed(why: &str) -> Probed {
    let error = CallError::Own(why.to_owned());
    Probed {
        health: Err(error.clone()),
        nonce_echoed: false,
        metrics: Err(error),
    }
}

impl Caller {
    /// Both calls of an audit, at once.
    pub(super) async fn probe(&self) -> Probed {
        let (health, metrics) = tokio::join!(self.health(), self.metrics());
        let (health, nonce_echoed) = match health {
            Ok((answer, echoed)) => (Ok(answer), echoed),
            Err(error) => (Err(error), false),
        };
        Probed {
            health,
            nonce_echoed,
            metrics,
        }
    }

    async fn health(&self) -> Result<(Answer<HealthClaim>, bool), CallError> {
        let nonce = nonce();
        let request = GetHealthStatusRequest {
            nonce: nonce.clone(),
        };
        let ask = |mut client: Client| {
            let request = request.clone();
            async move { client.get_health_status(request).await }
        };
        let (answer, sent, received) = self.call(ask).await?;
        let echoed = answer.nonce == nonce;
        let health = answer.health.ok_or_else(|| missing("health"))?;
        let answer = Answer {
            value: convert::health_claim(health).into(),
            sent,
            received,
        };
        Ok((answer, echoed))
    }

    /// The counters alone.
    ///
    /// # Errors
    /// Why there was no answer.
    pub(super) async fn metrics(&self) -> Result<Answer<MetricsClaim>, CallError> {
        let ask =
            |mut client: Client| async move { client.get_metrics(GetMetricsRequest {}).await };
        let (answer, sent, received) = self.call(ask).await?;
        let metrics = answer.metrics.ok_or_else(|| missing("metrics"))?;
        Ok(Answer {
            value: convert::metrics_claim(metrics).into(),
            sent,
            received,
        })
    }

    /// One call inside the deadline; sent once more where the connection broke under it, since a
    /// GOAWAY or a restart between two calls is no fault. With when it was sent, and answered.
    async fn call<T, F>(&self, ask: impl Fn(Client) -> F) -> Result<(T, Now, Now), CallError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let sent = self.clock.now();
        let attempts = async {
            match guarded(ask(self.client.clone())).await {
                Err(status) if connection_lost(&status) => guarded(ask(self.client.clone())).await,
                other => other,
            }
        };
        let deadline = self.call_deadline();
        match tokio::time::timeout(deadline, attempts).await {
            Ok(Ok(response)) => Ok((response.into_inner(), sent, self.clock.now())),
            Ok(Err(status)) => Err(self.failure(&status)),
            Err(_) => Err(self.no_answer(deadline)),
        }
    }

    /// How long a call may take now: longer than set while the monitor itself is late.
    pub(super) fn call_deadline(&self) -> Duration {
        self.stretch.of(self.settings.call_deadline)
    }

    /// What a failed call or stream says.
    pub(super) fn failure(&self, status: &Status) -> CallError {
        match classify(status, self.settings.keepalive_timeout) {
            refused @ (CallError::Refused { .. } | CallError::Malformed(_)) => refused,
            broken => self.unless_stalled(broken),
        }
    }

    /// What a deadline that passed says: without a connection nobody was asked.
    pub(super) fn no_answer(&self, deadline: Duration) -> CallError {
        self.unless_stalled(match self.link.state() {
            LinkState::Connected => CallError::TimedOut(deadline),
            LinkState::Idle | LinkState::Connecting => {
                CallError::Unreachable(no_connection_within(deadline).to_string())
            }
        })
    }

    fn unless_stalled(&self, error: CallError) -> CallError {
        if self.pulse.stalled() {
            CallError::Own(format!("it was itself standing still ({error})"))
        } else {
            error
        }
    }
}

/// A hostile answer can panic inside the gRPC library (such as status details that are no
/// base64); that is an answer that cannot be read, and no end of the probe.
async fn guarded<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    AssertUnwindSafe(call)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            Err(Status::new(
                Code::Internal,
                "failed to decode Protobuf or status: the answer is not gRPC",
            ))
        })
}

/// A word that no peer can foresee: a count under a secret of this process, since asking the
/// system for randomness costs more than a call's own work.
fn nonce() -> String {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let word = SECRET.hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{word:016x}")
}

fn missing(field: &str) -> CallError {
    CallError::Malformed(format!("{field} is missing"))
}
