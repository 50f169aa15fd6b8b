//! `watch_silence`: a half-open stream.

use std::time::Duration;

use crate::chat::{BRIDGE, Chat};
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "watch_silence",
    fault: "the health stream stays open and says nothing more; calls are answered",
    twin: "a drain, and a cut connection that is opened again",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

/// What the component promises: a beat each half second, and at the latest after a whole one.
const PROMISE: Duration = Duration::from_secs(1);

async fn inject(stage: &mut Stage) {
    let fake = stage.fake("half-open").await;
    stage.breaks_in(PROMISE);
    fake.slip(|answers| answers.silent_watch = true);
    stage.keep(fake);
}

async fn twin(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    chat.rolling_restart(stage).await;
    stage.until_well(BRIDGE).await;
    chat.cut_calls().await;
    stage.keep(chat);
}
