//! `run_never_finished`: the agent died in the middle of its run.

use monitorable::bridge::v1::EventType;

use crate::chat::{Chat, slowly};
use crate::publisher::Run;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "run_never_finished",
    fault: "the agent is gone after two events, and so is its report",
    twin: "a long tool that reports progress",
    threshold: Threshold::Setting("rules.run_silence"),
    settings: &[("rules.run_silence", "5s")],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    let mut run = Run::new("chat", "unfinished");
    let events = [
        run.event(EventType::AgentStarted),
        run.event(EventType::AgentThinking),
    ];
    chat.agent().publish(&events).await;
    stage.breaks_now();
    chat.producers_die().await;
    stage.keep((chat, user));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let user = chat.proven(stage).await;
    let (agent, mut run) = (chat.agent(), Run::new("chat", "long"));
    let begin = [
        run.event(EventType::AgentStarted),
        run.tool(EventType::ToolExecuting, "long-call"),
    ];
    agent.publish(&begin).await;
    let progress: Vec<_> = (0..8).map(|_| run.event(EventType::Custom)).collect();
    slowly(&agent, &progress, stage.limit("rules.run_silence") / 4).await;
    let end = [
        run.tool(EventType::ToolCompleted, "long-call"),
        run.event(EventType::AgentCompleted),
    ];
    agent.publish(&end).await;
    stage.keep((chat, user));
}
