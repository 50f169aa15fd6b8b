//! `monitorable.v1.Monitorable` over the hub: each answer is made by the working loop.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream;
use monitorable::monitorable::v1::monitorable_server::{Monitorable, MonitorableServer};
use monitorable::monitorable::v1::{
    GetHealthStatusRequest, GetHealthStatusResponse, GetMetricsRequest, GetMetricsResponse,
    WatchHealthRequest, WatchHealthResponse,
};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::convert;
use crate::health::report::UpdateReason;
use crate::hub::api::{HealthUpdate, HubHandle, Identity};

/// Longest nonce, in bytes.
const MAX_NONCE_BYTES: usize = 256;
/// Bounds of the interval that a watcher may ask for, and what stands for none.
const FLOOR: Duration = Duration::from_millis(100);
const CEILING: Duration = Duration::from_secs(86_400);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// The service.
#[derive(Debug)]
pub(crate) struct MonitorableService {
    hub: HubHandle,
    identity: Identity,
}

impl MonitorableService {
    /// The service, ready to be routed.
    pub(crate) fn server(hub: HubHandle, identity: Identity) -> MonitorableServer<Self> {
        MonitorableServer::new(Self { hub, identity })
    }
}

#[tonic::async_trait]
impl Monitorable for MonitorableService {
    async fn get_health_status(
        &self,
        request: Request<GetHealthStatusRequest>,
    ) -> Result<Response<GetHealthStatusResponse>, Status> {
        let nonce = request.into_inner().nonce;
        if nonce.len() > MAX_NONCE_BYTES {
            let length = nonce.len();
            return Err(Status::invalid_argument(format!(
                "nonce: {length} bytes are not allowed; allowed are up to {MAX_NONCE_BYTES}"
            )));
        }
        let report = self.hub.health().await.map_err(convert::hub_status)?;
        let health = Some(convert::health_status(report, &self.identity));
        Ok(Response::new(GetHealthStatusResponse { health, nonce }))
    }

    async fn get_metrics(
        &self,
        _request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let answer = self.hub.metrics().await;
        let (hub, lifecycle, health) = answer.map_err(convert::hub_status)?;
        let metrics = convert::metrics(&hub, &lifecycle, &health, &self.identity);
        Ok(Response::new(GetMetricsResponse {
            metrics: Some(metrics),
        }))
    }

    type WatchHealthStream =
        Pin<Box<dyn Stream<Item = Result<WatchHealthResponse, Status>> + Send + 'static>>;

    async fn watch_health(
        &self,
        request: Request<WatchHealthRequest>,
    ) -> Result<Response<Self::WatchHealthStream>, Status> {
        let interval = check_interval(request.into_inner().max_interval)?;
        let updates = self.hub.watch(interval).await;
        let watch = Watch {
            updates: updates.map_err(convert::hub_status)?,
            identity: self.identity.clone(),
        };
        Ok(Response::new(Box::pin(stream::unfold(
            Some(watch),
            next_update,
        ))))
    }
}

fn check_interval(asked: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(prost_types::Duration { seconds, nanos }) = asked else {
        return Ok(DEFAULT_INTERVAL);
    };
    let whole = u64::try_from(seconds).ok();
    let fraction = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000);
    match (whole, fraction) {
        (Some(whole), Some(fraction)) => Some(Duration::from_secs(whole))
            .filter(|whole| *whole <= CEILING)
            .map(|whole| whole + Duration::from_nanos(u64::from(fraction)))
            .filter(|span| !span.is_zero() && *span <= CEILING)
            .map(|span| span.max(FLOOR)),
        _ => None,
    }
    .ok_or_else(|| {
        Status::invalid_argument(format!(
            "max_interval: {seconds} s and {nanos} ns is not allowed; allowed is more than 0 and at most one day"
        ))
    })
}

struct Watch {
    updates: mpsc::Receiver<HealthUpdate>,
    identity: Identity,
}

/// A stream ends well only after it said that the component drains; a receiver that the hub closed
/// before was too slow, and its watcher is told so.
async fn next_update(
    watch: Option<Watch>,
) -> Option<(Result<WatchHealthResponse, Status>, Option<Watch>)> {
    let mut watch = watch?;
    let Some(update) = watch.updates.recv().await else {
        let status = Status::resource_exhausted("the watcher fell behind; watch again");
        return Some((Err(status), None));
    };
    let last = update.reason == UpdateReason::Draining;
    let message = convert::health_update(update, &watch.identity);
    Some((Ok(message), (!last).then_some(watch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(seconds: i64, nanos: i32) -> Result<Duration, Status> {
        check_interval(Some(prost_types::Duration { seconds, nanos }))
    }

    #[test]
    fn intervals_have_a_default_a_floor_and_a_ceiling() {
        assert_eq!(check_interval(None).unwrap(), DEFAULT_INTERVAL);
        assert_eq!(interval(0, 1).unwrap(), FLOOR);
        assert_eq!(
            interval(1, 500_000_000).unwrap(),
            Duration::from_millis(1_500)
        );
        assert_eq!(interval(86_400, 0).unwrap(), CEILING);
        for (seconds, nanos) in [
            (0, 0),
            (-1, 0),
            (0, -1),
            (1, -1),
            (1, 1_000_000_000),
            (86_400, 1),
            (i64::MAX, 999_999_999),
        ] {
            let error = interval(seconds, nanos).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
            assert!(error.message().contains(&seconds.to_string()));
        }
    }
}
