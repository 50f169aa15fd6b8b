//! `watch_contradiction`: the stream and the calls tell different stories.

use std::time::Duration;

use monitorable::monitorable::v1::State;

use crate::chat::pass;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "watch_contradiction",
    fault: "calls say DEGRADED, and the health stream goes on saying ACTIVE",
    twin: "a change under way: the stream tells it a moment later",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const COMPONENT: &str = "two-faced";

async fn inject(stage: &mut Stage) {
    let fake = stage.fake(COMPONENT).await;
    stage.breaks_now();
    fake.slip(|answers| answers.calls_state = Some(State::Degraded));
    stage.keep(fake);
}

async fn twin(stage: &mut Stage) {
    let fake = stage.fake(COMPONENT).await;
    for state in [State::Degraded, State::Active] {
        fake.slip(|answers| answers.calls_state = Some(state));
        stage.auditor().audit(COMPONENT).await;
        pass(Duration::from_millis(300)).await;
        fake.change(|answers| {
            answers.state = state;
            answers.calls_state = None;
        });
        pass(Duration::from_secs(4)).await;
    }
    stage.keep(fake);
}
