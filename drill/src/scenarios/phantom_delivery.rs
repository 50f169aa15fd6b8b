//! `phantom_delivery`: it delivers what nobody sent.

use std::time::Duration;

use crate::chat::{Chat, pass};
use crate::reader::Options;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "phantom_delivery",
    fault: "an event that no agent sent reaches the users",
    twin: "users that do not report",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    let users = chat.busy(stage, &["chat"]).await;
    stage.breaks_now();
    chat.fault("invent chat 1").await;
    stage.keep((chat, users));
}

async fn twin(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    chat.consumers_sign_off().await;
    let user = chat.user_with(Options::thread("chat")).await;
    stage.keep(chat.talk("chat"));
    pass(Duration::from_secs(3)).await;
    stage.keep((chat, user));
}
