//! `event_non_emission`: the work was done, and the user saw nothing of it.

use crate::chat::Chat;
use crate::publisher::Run;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "event_non_emission",
    fault: "the bridge confirms each message of an agent and keeps none; the run ends well",
    twin: "an agent that uses no tools",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    chat.fault("swallow agent_message").await;
    stage.breaks_now();
    chat.agent().publish(&Run::whole("chat", "unseen", 1)).await;
    stage.keep((chat, user));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    chat.agent()
        .publish(&Run::whole("chat", "toolless", 0))
        .await;
    stage.keep((chat, user));
}
