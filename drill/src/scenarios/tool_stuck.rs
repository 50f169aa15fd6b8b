//! `tool_stuck`: a tool never returns.

use monitorable::bridge::v1::EventType;

use crate::chat::{Chat, pass};
use crate::publisher::Run;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "tool_stuck",
    fault: "a tool begins, and does not return",
    twin: "a slow tool, inside its limit",
    threshold: Threshold::Setting("rules.tool_limit"),
    settings: &[("rules.tool_limit", "5s")],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    let mut run = Run::new("chat", "stuck");
    let events = [
        run.event(EventType::AgentStarted),
        run.tool(EventType::ToolExecuting, "stuck-call"),
    ];
    chat.agent().publish(&events).await;
    stage.breaks_now();
    stage.keep((chat, user));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    let (agent, mut run) = (chat.agent(), Run::new("chat", "slow"));
    let begin = [
        run.event(EventType::AgentStarted),
        run.tool(EventType::ToolExecuting, "slow-call"),
    ];
    agent.publish(&begin).await;
    pass(stage.limit("rules.tool_limit").mul_f64(0.7)).await;
    let end = [
        run.tool(EventType::ToolCompleted, "slow-call"),
        run.event(EventType::AgentCompleted),
    ];
    agent.publish(&end).await;
    stage.keep((chat, user));
}
