//! `black_hole`: it accepts everything and delivers nothing.

use crate::chat::Chat;
use crate::proxy::Fault;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "black_hole",
    fault: "the network to the users stands still; the bridge notices nothing",
    twin: "nobody reads the thread that is written to, and nobody writes to the one that is read",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let users = chat.busy(stage, &["chat"]).await;
    stage.breaks_now();
    chat.network.set(Fault::Stall);
    stage.keep((chat, users));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let user = chat.user("silent").await;
    stage.keep(chat.talk("unread"));
    stage.keep((chat, user));
}
