//! `protocol_violation`: events come outside of the run's order.

use monitorable::bridge::v1::EventType;

use crate::chat::Chat;
use crate::publisher::Run;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "protocol_violation",
    fault: "an agent goes on after the end of its run, and ends it again",
    twin: "a new run on the same thread",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    let mut run = Run::new("chat", "undead");
    let events = [
        run.event(EventType::AgentStarted),
        run.event(EventType::AgentMessage),
        run.event(EventType::AgentCompleted),
        run.event(EventType::AgentThinking),
        run.event(EventType::AgentCompleted),
    ];
    stage.breaks_now();
    chat.agent().publish(&events).await;
    stage.keep((chat, user));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    let agent = chat.agent();
    for run_id in ["first", "second", "third"] {
        agent.publish(&Run::whole("chat", run_id, 1)).await;
    }
    stage.keep((chat, user));
}
