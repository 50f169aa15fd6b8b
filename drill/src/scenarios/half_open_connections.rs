//! `half_open_connections`: writes go to dead sockets.

use crate::chat::Chat;
use crate::proxy::Fault;
use crate::reader::Options;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "half_open_connections",
    fault: "the users are gone with their network, and their connections stay open",
    twin: "users that never acknowledge",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const THREADS: [&str; 3] = ["one", "two", "three"];

async fn inject(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    let users = chat.busy(stage, &THREADS).await;
    stage.breaks_now();
    chat.network.set(Fault::Swallow);
    // Whoever is gone tells nobody anything any more.
    chat.consumers_die();
    stage.keep((chat, users));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    for thread_id in THREADS {
        let options = Options {
            acknowledge: false,
            ..Options::thread(thread_id).witnessed_by(chat.consumer_pen())
        };
        stage.keep(chat.user_with(options).await);
        stage.keep(chat.talk(thread_id));
    }
    chat.until_healthy(stage).await;
    stage.keep(chat);
}
