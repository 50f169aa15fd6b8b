//! `duplicate_delivery`: events arrive twice.

use std::time::Duration;

use crate::chat::Chat;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "duplicate_delivery",
    fault: "the bridge writes one event twice",
    twin: "a resume that replays, as its welcome says",
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
    chat.fault("duplicate chat 1").await;
    stage.keep((chat, users));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let users = chat.busy(stage, &["chat", "mobile"]).await;
    let back = chat.away(users, "mobile", Duration::from_secs(1), 6).await;
    stage.keep((chat, back));
}
