//! `silent_restart`: it crashed, and nobody said so.

use crate::chat::Chat;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "silent_restart",
    fault: "the bridge is killed, and another one takes its place at once",
    twin: "a rolling restart: the old one says that it drains",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    chat.crash(stage).await;
    stage.keep(chat);
}

async fn twin(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    chat.rolling_restart(stage).await;
    stage.keep(chat);
}
