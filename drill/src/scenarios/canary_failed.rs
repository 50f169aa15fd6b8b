//! `canary_failed`: the whole path is broken, and no traffic shows it.

use std::time::Duration;

use crate::chat::{Chat, pass};
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "canary_failed",
    fault: "an idle bridge writes to no reader any more; its own checks are green",
    twin: "a bridge that drains and is replaced",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

async fn inject(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    pass(SEVERAL_CANARIES).await;
    stage.breaks_now();
    chat.fault("wedge all").await;
    stage.keep(chat);
}

async fn twin(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    pass(SEVERAL_CANARIES).await;
    chat.rolling_restart(stage).await;
    stage.keep(chat);
}

const SEVERAL_CANARIES: Duration = Duration::from_secs(8);
