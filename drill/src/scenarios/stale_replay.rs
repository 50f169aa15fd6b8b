//! `stale_replay`: a cache answers in the place of the component.

use crate::fake::Fake;
use crate::relay::Relay;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "stale_replay",
    fault: "a cache in front of the component repeats its last answer",
    twin: "a load balancer over two honest instances",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const COMPONENT: &str = "replayed";

async fn inject(stage: &mut Stage) {
    let fake = Fake::start(COMPONENT).await;
    let relay = Relay::start(&[fake.uri()]).await;
    stage.watch(COMPONENT, &relay.uri()).await;
    stage.breaks_now();
    relay.answer_from_cache();
    stage.keep((fake, relay));
}

async fn twin(stage: &mut Stage) {
    let first = Fake::start(COMPONENT).await;
    let second = Fake::start(COMPONENT).await;
    second.slip(|answers| answers.instance_id = format!("{COMPONENT}-2"));
    let balancer = Relay::start(&[first.uri(), second.uri()]).await;
    stage.watch(COMPONENT, &balancer.uri()).await;
    // Answers of both instances, in turn.
    for _ in 0..6 {
        stage.auditor().audit(COMPONENT).await;
    }
    stage.keep((first, second, balancer));
}
