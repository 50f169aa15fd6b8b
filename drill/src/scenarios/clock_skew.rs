//! `clock_skew`: its times cannot be trusted.

use std::time::Duration;

use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "clock_skew",
    fault: "its clock leaps ahead by 30 s",
    twin: "a step of its clock by 50 ms",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let fake = stage.fake("fast-clock").await;
    stage.breaks_now();
    fake.slip(|answers| answers.clock_ahead = Duration::from_secs(30));
    stage.keep(fake);
}

async fn twin(stage: &mut Stage) {
    let fake = stage.fake("stepped-clock").await;
    fake.slip(|answers| answers.clock_ahead = Duration::from_millis(50));
    stage.keep(fake);
}
