//! `wrong_identity`: another component answers at this address.

use crate::chat::Chat;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "wrong_identity",
    fault: "the address leads to another component",
    twin: "a redeploy under the same id",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    let stranger = stage.bridge("stranger", &[]).await;
    stage.breaks_now();
    chat.calls.redirect(stranger.grpc);
    chat.cut_calls().await;
    stage.keep((chat, stranger));
}

async fn twin(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    chat.rolling_restart(stage).await;
    stage.keep(chat);
}
