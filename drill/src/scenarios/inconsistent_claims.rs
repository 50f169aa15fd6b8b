//! `inconsistent_claims`: the parts of a report contradict each other.

use std::time::Duration;

use monitorable::monitorable::v1::{LifecycleMetrics, State};

use crate::chat::pass;
use crate::fake::Fake;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "inconsistent_claims",
    fault: "it claims to be healthy while one of its own checks fails",
    twin: "a report taken in the middle of the initialization",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const COMPONENT: &str = "contradictory";

async fn inject(stage: &mut Stage) {
    let fake = stage.fake(COMPONENT).await;
    stage.breaks_now();
    fake.slip(|answers| {
        answers.checks[0].healthy = false;
        answers.checks[0].message = "no work was done".to_owned();
    });
    stage.keep(fake);
}

async fn twin(stage: &mut Stage) {
    let fake = Fake::start(COMPONENT).await;
    fake.slip(|answers| {
        answers.state = State::Initializing;
        answers.checks[0].healthy = false;
        answers.lifecycle = LifecycleMetrics::default();
    });
    stage.auditor().register(COMPONENT, &fake.uri()).await;
    pass(Duration::from_secs(3)).await;
    fake.change(|answers| {
        answers.state = State::Active;
        answers.checks[0].healthy = true;
        answers.lifecycle.total_initializations = 1;
        answers.lifecycle.successful_initializations = 1;
        answers.lifecycle.success_rate = 1.0;
    });
    stage.until_well(COMPONENT).await;
    stage.keep(fake);
}
