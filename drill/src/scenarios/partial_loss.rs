//! `partial_loss`: one thread loses everything.

use crate::chat::Chat;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "partial_loss",
    fault: "of two threads that are written to and read, one reaches nobody any more",
    twin: "a thread without readers, and a reader without events",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    let users = chat.busy(stage, &["heard", "unheard"]).await;
    stage.breaks_now();
    chat.fault("mute unheard").await;
    stage.keep((chat, users));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let users = chat.busy(stage, &["heard"]).await;
    stage.keep(chat.talk("unread"));
    stage.keep(chat.user("silent").await);
    stage.keep((chat, users));
}
