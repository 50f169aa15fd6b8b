//! `frozen_health`: the answer is a stored one.

use std::time::Duration;

use crate::fake::Fake;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "frozen_health",
    fault: "a cached report is told for ever; the worker behind it is dead",
    twin: "checks that run once a minute, and say so",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const COMPONENT: &str = "frozen";

async fn inject(stage: &mut Stage) {
    let fake = stage.fake(COMPONENT).await;
    stage.breaks_now();
    fake.slip(|answers| answers.frozen = true);
    stage.keep(fake);
}

async fn twin(stage: &mut Stage) {
    let fake = Fake::start(COMPONENT).await;
    fake.slip(|answers| answers.check_interval = Some(Duration::from_secs(60)));
    stage.watch(COMPONENT, &fake.uri()).await;
    stage.keep(fake);
}
