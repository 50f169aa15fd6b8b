//! `recovery_loop`: it recovers for ever.

use std::time::Duration;

use monitorable::monitorable::v1::State;

use crate::chat::pass;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "recovery_loop",
    fault: "it tries to recover three times a second, never does, and stays ACTIVE",
    twin: "one recovery that works",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const COMPONENT: &str = "sisyphus";

async fn inject(stage: &mut Stage) {
    let fake = stage.fake(COMPONENT).await;
    stage.breaks_now();
    stage.every(Duration::from_millis(300), move |_| {
        fake.slip(|answers| answers.lifecycle.recovery_attempts += 1);
    });
}

async fn twin(stage: &mut Stage) {
    let fake = stage.fake(COMPONENT).await;
    fake.change(|answers| {
        answers.state = State::Degraded;
        answers.lifecycle.recovery_attempts = 1;
    });
    pass(Duration::from_secs(2)).await;
    fake.change(|answers| {
        answers.state = State::Active;
        answers.lifecycle.successful_recoveries = 1;
    });
    stage.keep(fake);
}
