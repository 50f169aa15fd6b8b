//! `alert_path_dead`: the alarm rang, and nobody heard.

use http::StatusCode;

use crate::fake::Fake;
use crate::receiver::Receiver;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "alert_path_dead",
    fault: "the receiver of alerts refuses every one",
    twin: "a receiver that is well after one retry",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &["inconsistent_claims"],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let world = World::open(stage).await;
    world.alerts.answer(StatusCode::SERVICE_UNAVAILABLE);
    stage.breaks_now();
    world.ring();
    stage.keep(world);
}

async fn twin(stage: &mut Stage) {
    let world = World::open(stage).await;
    world.alerts.answer_once(StatusCode::SERVICE_UNAVAILABLE);
    world.ring();
    stage.keep(world);
}

/// A component, under a monitor that alerts one receiver and tells another one that it lives.
struct World {
    alerts: Receiver,
    _beats: Receiver,
    fake: Fake,
}

impl World {
    async fn open(stage: &mut Stage) -> Self {
        let (alerts, beats) = (Receiver::start().await, Receiver::start().await);
        let alerted = format!("http://{}/alerts", alerts.address);
        let told = format!("http://{}/beats", beats.address);
        let changes = [
            ("alert.webhook_url", &*alerted),
            ("alert.dead_man_url", &*told),
        ];
        stage.reopen(&changes).await;
        Self {
            alerts,
            _beats: beats,
            fake: stage.fake("alarming").await,
        }
    }

    /// Something worth an alert happens.
    fn ring(&self) {
        self.fake.slip(|answers| answers.checks[0].healthy = false);
    }
}
