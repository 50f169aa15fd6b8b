//! `unbalanced_ledger`: events vanish inside.

use std::time::Duration;

use crate::chat::{BRIDGE, Chat, Traffic, pass};
use crate::publisher::Run;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "unbalanced_ledger",
    fault: "the bridge loses track of one event that it accepted",
    twin: "heavy load with every stage busy",
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
    chat.fault("vanish chat 1").await;
    stage.keep((chat, users));
}

async fn twin(stage: &mut Stage) {
    // A short memory, so that what nobody reads expires as well.
    let flags = ["--hub-window-events=256", "--hub-reader-lag-events=256"];
    let chat = Chat::open_with(stage, BRIDGE, &flags).await;
    let users = chat.busy(stage, &["one", "two", "three"]).await;
    let pace = Duration::from_millis(25);
    for thread_id in ["one-more", "two-more", "three-more"] {
        stage.keep(chat.user(thread_id).await);
        stage.keep(Traffic::paced(chat.agent(), thread_id, pace, 4));
    }
    stage.keep(Traffic::paced(chat.agent(), "unread", pace, 4));
    let again = Run::whole("one", "again", 1);
    let _ = chat.agent().try_publish(&again).await;
    // Duplicates and events that are refused have no stage.
    let _ = chat.unseen_agent().try_publish(&again).await;
    let nameless = Run::whole("", "nameless", 1);
    let _ = chat.unseen_agent().try_publish(&nameless).await;
    pass(Duration::from_secs(5)).await;
    stage.keep((chat, users));
}
