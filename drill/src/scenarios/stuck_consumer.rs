//! `stuck_consumer`: one reader has stopped reading.

use crate::chat::{BRIDGE, Chat};
use crate::proxy::{Fault, Proxy};
use crate::publisher::Run;
use crate::reader::{Options, Reader};
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "stuck_consumer",
    fault: "one of two users of a thread stops reading; it is connected, and reports",
    twin: "a user of an idle thread",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let witness = stage.consumer(BRIDGE);
    let network = Proxy::start(chat.bridge.http).await;
    let options = Options::thread("chat").witnessed_by(witness.pen());
    let stuck = Reader::connect(network.address, options).await;
    let users = chat.busy(stage, &["chat"]).await;
    stage.breaks_now();
    network.set(Fault::Stall);
    stage.keep((chat, users, stuck, witness, network));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let users = chat.busy(stage, &["chat"]).await;
    let witness = stage.consumer(BRIDGE);
    chat.agent().publish(&Run::whole("idle", "only", 1)).await;
    let options = Options::thread("idle").witnessed_by(witness.pen());
    let idle = chat.user_with(options).await;
    stage.keep((chat, users, idle, witness));
}
