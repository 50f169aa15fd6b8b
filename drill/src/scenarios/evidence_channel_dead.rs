//! `evidence_channel_dead`: the witnesses went quiet.

use crate::chat::Chat;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "evidence_channel_dead",
    fault: "the users' witness stops reporting, without a word",
    twin: "a witness that signs off",
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
    chat.consumers_die();
    stage.keep((chat, users));
}

async fn twin(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    let users = chat.busy(stage, &["chat"]).await;
    drop(users);
    chat.consumers_sign_off().await;
    stage.keep(chat);
}
