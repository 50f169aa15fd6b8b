//! `reordering`: events arrive out of order.

use crate::chat::Chat;
use crate::publisher::Run;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "reordering",
    fault: "the bridge swaps two events of one thread",
    twin: "two threads, interleaved",
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
    chat.fault("swap chat 1").await;
    stage.keep((chat, users));
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let users = chat.busy(stage, &["one", "two"]).await;
    let first = Run::whole("one", "interleaved-1", 4);
    let second = Run::whole("two", "interleaved-2", 4);
    let interleaved: Vec<_> = first.into_iter().zip(second).collect();
    let interleaved: Vec<_> = interleaved.into_iter().flat_map(<[_; 2]>::from).collect();
    chat.agent().publish(&interleaved).await;
    stage.keep((chat, users));
}
