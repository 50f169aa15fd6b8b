//! `flapping`: it is never down for long enough to alarm.

use std::time::Duration;

use monitorable::monitorable::v1::State;

use crate::chat::pass;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "flapping",
    fault: "its state changes five times a second",
    twin: "one clean failover",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const COMPONENT: &str = "restless";

async fn inject(stage: &mut Stage) {
    let fake = stage.fake(COMPONENT).await;
    stage.breaks_now();
    stage.every(Duration::from_millis(200), move |number| {
        let state = if number % 2 == 0 {
            State::Degraded
        } else {
            State::Active
        };
        fake.change(|answers| answers.state = state);
    });
}

async fn twin(stage: &mut Stage) {
    let fake = stage.fake(COMPONENT).await;
    fake.change(|answers| answers.state = State::Degraded);
    pass(Duration::from_secs(3)).await;
    fake.change(|answers| answers.state = State::Active);
    stage.keep(fake);
}
