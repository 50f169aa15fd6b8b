//! `late_delivery`: events arrive too late to matter.

use std::time::Duration;

use monitorable::monitor::v1::Vantage;

use crate::chat::{BRIDGE, Chat};
use crate::proxy::Fault;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "late_delivery",
    fault: "the network to the users delays everything by 1.5 s",
    twin: "witnesses whose clocks are 5 s apart, and no delay",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

/// Over the second at which lateness counts; before it has passed, nobody can see it.
const DELAY: Duration = Duration::from_millis(1_500);
const CLOCK_AHEAD: Duration = Duration::from_secs(5);

async fn inject(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let users = chat.busy(stage, &["chat"]).await;
    stage.breaks_in(DELAY);
    chat.network.set(Fault::Delay(DELAY));
    stage.keep((chat, users));
}

async fn twin(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    chat.consumers_sign_off().await;
    chat.consumers = Some(stage.witness(BRIDGE, Vantage::Consumer, CLOCK_AHEAD));
    let users = chat.busy(stage, &["chat"]).await;
    stage.keep((chat, users));
}
