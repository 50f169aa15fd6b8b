//! `counter_regression`: state was lost without a restart.

use std::sync::Arc;
use std::time::Duration;

use monitorable::monitorable::v1::DeliveryMetrics;

use crate::chat::pass;
use crate::fake::Fake;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "counter_regression",
    fault: "its counters fall, and it is still the same process",
    twin: "a restart, announced",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const COMPONENT: &str = "forgetful";

async fn inject(stage: &mut Stage) {
    let fake = at_work(stage).await;
    stage.breaks_now();
    fake.slip(|answers| answers.delivery = Some(delivered(10)));
    stage.keep(fake);
}

async fn twin(stage: &mut Stage) {
    let fake = at_work(stage).await;
    fake.drain();
    pass(Duration::from_millis(500)).await;
    fake.restart("forgetful-2");
    stage.until_well(COMPONENT).await;
    stage.keep(fake);
}

/// A component that has delivered much, and delivers more all the time.
async fn at_work(stage: &mut Stage) -> Arc<Fake> {
    let fake = Arc::new(Fake::start(COMPONENT).await);
    fake.slip(|answers| answers.delivery = Some(delivered(1_000_000)));
    let worker = fake.clone();
    stage.every(Duration::from_millis(100), move |_| {
        worker.slip(|answers| {
            let before = answers.delivery.take().unwrap_or_default();
            answers.delivery = Some(delivered(before.events_delivered + 5));
        });
    });
    stage.watch(COMPONENT, &fake.uri()).await;
    fake
}

fn delivered(events: u64) -> DeliveryMetrics {
    DeliveryMetrics {
        events_accepted: events,
        events_delivered: events,
        ..DeliveryMetrics::default()
    }
}
