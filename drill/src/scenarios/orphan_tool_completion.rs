//! `orphan_tool_completion`: the start of a tool was lost.

use std::time::Duration;

use monitorable::bridge::v1::EventType;

use crate::chat::{Chat, slowly};
use crate::publisher::Run;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "orphan_tool_completion",
    fault: "a tool completes that nobody saw begin",
    twin: "four tools at once, interleaved",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    let mut run = Run::new("chat", "orphan");
    let events = [
        run.event(EventType::AgentStarted),
        run.tool(EventType::ToolCompleted, "orphan-call"),
        run.event(EventType::AgentMessage),
        run.event(EventType::AgentCompleted),
    ];
    stage.breaks_now();
    chat.agent().publish(&events).await;
    stage.keep((chat, user));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    let mut run = Run::new("chat", "parallel");
    let mut events = vec![run.event(EventType::AgentStarted)];
    let calls = ["call-1", "call-2", "call-3", "call-4"];
    events.extend(calls.map(|call| run.tool(EventType::ToolExecuting, call)));
    let backwards = calls.into_iter().rev();
    events.extend(backwards.map(|call| run.tool(EventType::ToolCompleted, call)));
    events.push(run.event(EventType::AgentMessage));
    events.push(run.event(EventType::AgentCompleted));
    slowly(&chat.agent(), &events, Duration::from_millis(100)).await;
    stage.keep((chat, user));
}
