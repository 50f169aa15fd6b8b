//! `limping`: it is alive, and far too slow.

use std::time::Duration;

use crate::chat::Chat;
use crate::proxy::Fault;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "limping",
    fault: "the network of one of four equal bridges delays everything by 400 ms",
    twin: "the network of all four does",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const BRIDGES: [&str; 4] = ["bridge-1", "bridge-2", "bridge-3", "bridge-4"];
const SLOW: Fault = Fault::Delay(Duration::from_millis(400));

async fn inject(stage: &mut Stage) {
    let chats = equals(stage).await;
    stage.breaks_now();
    slow_down(&chats[0]);
    stage.keep(chats);
}

async fn twin(stage: &mut Stage) {
    let chats = equals(stage).await;
    chats.iter().for_each(slow_down);
    stage.keep(chats);
}

fn slow_down(chat: &Chat) {
    chat.calls.set(SLOW);
    chat.network.set(SLOW);
}

/// Bridges with the same work.
async fn equals(stage: &mut Stage) -> Vec<Chat> {
    let mut chats = Vec::new();
    for id in BRIDGES {
        let chat = Chat::open_with(stage, id, &[]).await;
        stage.keep(chat.user("chat").await);
        stage.keep(chat.talk("chat"));
        chats.push(chat);
    }
    for chat in &chats {
        chat.until_healthy(stage).await;
    }
    chats
}
