//! The standard health protocol, on the real state.

use monitorable::grpc_health::v1::health_check_response::ServingStatus;
use monitorable::grpc_health::v1::health_client::HealthClient;
use monitorable::grpc_health::v1::{HealthCheckRequest, HealthListRequest};
use monitorable_tests::calls::Target;
use monitorable_tests::process::Service;
use tonic::Code;

use crate::pair::SOON;

const SERVICES: [&str; 4] = ["", "monitorable.v1.Monitorable", "liveness", "readiness"];

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn standard_health_checks_list_and_watch() {
    let (bridge, monitor) = tokio::join!(Service::bridge(&[]), Service::monitor(&[]));
    for service in [&bridge, &monitor] {
        Target::at(&service.uri()).until_healthy(SOON).await;
        let mut health = HealthClient::new(service.channel());
        for name in SERVICES {
            let answer = health.check(ask(name)).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{name:?}");
        }
        let refused = health.check(ask("nobody")).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        let listed = health
            .list(HealthListRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(listed.statuses.len(), SERVICES.len(), "{listed:?}");
        let mut watch = health.watch(ask("nobody")).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    }
}

#[tokio::test]
async fn a_health_watch_sees_the_drain() {
    let bridge = Service::bridge(&["--drain-deadline", "4s"]).await;
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    let mut health = HealthClient::new(bridge.channel());
    let mut watch = health.watch(ask("readiness")).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    bridge.terminate();
    // Either it says so before the connection ends, or the connection ends: never SERVING again.
    while let Ok(Some(message)) = tokio::time::timeout(SOON, watch.message()).await.unwrap() {
        assert_eq!(message.status(), ServingStatus::NotServing);
    }
}
