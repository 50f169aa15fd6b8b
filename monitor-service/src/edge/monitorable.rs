//! `monitorable.v1.Monitorable` of the monitor itself, so that a monitor can audit another.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use monitorable::monitorable::v1 as wire;
use monitorable::monitorable::v1::Reason;
use monitorable::monitorable::v1::monitorable_server::Monitorable;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Edge;
use super::convert;
use super::self_report::{Fingerprint, SelfMonitor};
use super::validate::Invalid;
use crate::probe::convert::span;

/// Longest nonce, in bytes.
const MAX_NONCE_BYTES: usize = 256;
/// The longest silence where the watcher names none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// Shorter intervals are raised to this one.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Longer ones are refused.
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);
/// A beat comes after this share of the promised interval, so that a slow network breaks no
/// promise.
const BEAT_SHARE: f64 = 0.6;
/// Messages that may wait in one stream; a watcher that takes none is left behind, not waited for.
const STREAM_BUFFER: usize = 1;

/// How long the last message may wait for a slow watcher.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

type Sent = Result<wire::WatchHealthResponse, Status>;

/// The service.
pub(crate) struct MonitorableService {
    monitor: Arc<SelfMonitor>,
    changes: watch::Receiver<Fingerprint>,
    watchers: Arc<Semaphore>,
    watchers_max: usize,
    shutdown: CancellationToken,
}

impl MonitorableService {
    pub(crate) fn new(edge: &Edge) -> Self {
        Self {
            monitor: edge.self_monitor.clone(),
            changes: edge.changes.clone(),
            watchers: Arc::new(Semaphore::new(edge.limits.watchers_max)),
            watchers_max: edge.limits.watchers_max,
            shutdown: edge.shutdown.clone(),
        }
    }
}

/// The interval that is promised to a watcher.
fn interval(asked: Option<prost_types::Duration>) -> Result<Duration, Invalid> {
    let Some(asked) = asked else {
        return Ok(DEFAULT_INTERVAL);
    };
    span(asked)
        .filter(|interval| !interval.is_zero() && *interval <= MAX_INTERVAL)
        .map(|interval| interval.max(MIN_INTERVAL))
        .ok_or_else(|| {
            let why = format!(
                "{} s and {} ns is not allowed; allowed is a positive duration up to a day",
                asked.seconds, asked.nanos
            );
            Invalid::new("max_interval", why)
        })
}

#[tonic::async_trait]
impl Monitorable for MonitorableService {
    async fn get_health_status(
        &self,
        request: Request<wire::GetHealthStatusRequest>,
    ) -> Result<Response<wire::GetHealthStatusResponse>, Status> {
        let nonce = request.into_inner().nonce;
        if nonce.len() > MAX_NONCE_BYTES {
            let why = format!(
                "{} bytes are too many; allowed are {MAX_NONCE_BYTES}",
                nonce.len()
            );
            return Err(Invalid::new("nonce", why).into());
        }
        let health = self.monitor.health().await?;
        Ok(Response::new(wire::GetHealthStatusResponse {
            health: Some(convert::health_status(&health)),
            nonce,
        }))
    }

    async fn get_metrics(
        &self,
        _request: Request<wire::GetMetricsRequest>,
    ) -> Result<Response<wire::GetMetricsResponse>, Status> {
        let metrics = self.monitor.metrics().await?;
        Ok(Response::new(wire::GetMetricsResponse {
            metrics: Some(convert::metrics(&metrics)),
        }))
    }

    type WatchHealthStream = Pin<Box<dyn Stream<Item = Sent> + Send + 'static>>;

    async fn watch_health(
        &self,
        request: Request<wire::WatchHealthRequest>,
    ) -> Result<Response<Self::WatchHealthStream>, Status> {
        let interval = interval(request.into_inner().max_interval)?;
        let permit = self.watchers.clone().try_acquire_owned().map_err(|_| {
            let max = self.watchers_max;
            Status::resource_exhausted(format!("watchers: {max} are open, and no more are allowed"))
        })?;
        let (sender, receiver) = mpsc::channel(STREAM_BUFFER);
        let watcher = Watcher {
            monitor: self.monitor.clone(),
            changes: self.changes.clone(),
            shutdown: self.shutdown.clone(),
            interval,
            sender,
            _permit: permit,
        };
        tokio::spawn(watcher.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// One stream of the monitor's own health.
struct Watcher {
    monitor: Arc<SelfMonitor>,
    changes: watch::Receiver<Fingerprint>,
    shutdown: CancellationToken,
    interval: Duration,
    sender: mpsc::Sender<Sent>,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    async fn run(mut self) {
        self.changes.mark_unchanged();
        let mut reason = Reason::Initial;
        loop {
            let last = reason == Reason::Draining;
            if !self.send(reason).await || last {
                return;
            }
            reason = self.next_reason().await;
            if self.sender.is_closed() {
                return;
            }
        }
    }

    async fn next_reason(&mut self) -> Reason {
        tokio::select! {
            () = self.shutdown.cancelled() => Reason::Draining,
            () = self.sender.closed() => Reason::Heartbeat,
            Ok(()) = self.changes.changed() => Reason::Changed,
            () = tokio::time::sleep(self.interval.mul_f64(BEAT_SHARE)) => Reason::Heartbeat,
        }
    }

    /// Whether the watcher is still there. Where the loop does not answer nothing is sent: the
    /// promise breaks, and the watcher knows.
    async fn send(&self, reason: Reason) -> bool {
        let Ok(health) = self.monitor.health().await else {
            return reason != Reason::Draining;
        };
        let promise = (reason != Reason::Draining).then(|| convert::duration(self.interval));
        let message = wire::WatchHealthResponse {
            health: Some(convert::health_status(&health)),
            reason: reason.into(),
            next_within: promise,
        };
        if reason == Reason::Draining {
            let last = self.sender.send_timeout(Ok(message), DRAIN_PATIENCE);
            return last.await.is_ok();
        }
        tokio::select! {
            // The drain message comes next; a watcher that takes nothing must not hold it up.
            () = self.shutdown.cancelled() => true,
            sent = self.sender.send(Ok(message)) => sent.is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos })
    }

    #[test]
    fn intervals_are_raised_to_the_floor() {
        assert_eq!(interval(None).unwrap(), DEFAULT_INTERVAL);
        assert_eq!(interval(seconds(0, 1)).unwrap(), MIN_INTERVAL);
        assert_eq!(interval(seconds(1, 0)).unwrap(), Duration::from_secs(1));
    }

    #[test]
    fn intervals_that_are_none_are_refused() {
        for asked in [
            seconds(0, 0),
            seconds(-1, 0),
            seconds(1, -1),
            seconds(86_401, 0),
            seconds(i64::MAX, 0),
        ] {
            let error = interval(asked).unwrap_err();
            assert!(error.0.starts_with("max_interval: "), "{error}");
        }
    }
}
