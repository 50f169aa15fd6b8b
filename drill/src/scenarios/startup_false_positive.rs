//! `startup_false_positive`: it is ACTIVE before anything was proven.

use crate::chat::{BRIDGE, Chat};
use crate::reader::{Options, Reader};
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "startup_false_positive",
    fault: "a bridge says that it is ACTIVE, and nothing has ever gone through it",
    twin: "a fresh start, inside its grace",
    threshold: Threshold::Setting("rules.startup_grace"),
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    stage.breaks_now();
    let mut chat = Chat::unregistered(stage, BRIDGE, &[]).await;
    chat.fault("wedge all").await;
    let uri = chat.calls.uri();
    stage.auditor().register(BRIDGE, &uri).await;
    // The user is connected, and not even welcomed.
    let options = Options::thread("chat").witnessed_by(chat.consumer_pen());
    let user = Reader::connect(chat.network.address, options).await;
    stage.keep(chat.talk("chat"));
    stage.keep((chat, user));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    stage.keep(chat);
}
