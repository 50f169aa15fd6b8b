//! `backpressure_growth`: a queue grows towards collapse.

use std::time::Duration;

use crate::chat::{Chat, Traffic, pass};
use crate::publisher::Run;
use crate::reader::Options;
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "backpressure_growth",
    fault: "the bridge accepts on, and writes to no user any more; nobody reports",
    twin: "a burst that drains",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &[],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const THREADS: [&str; 3] = ["one", "two", "three"];
/// Runs of the burst on each thread.
const BURST: usize = 60;

async fn inject(stage: &mut Stage) {
    let mut chat = Chat::open(stage).await;
    for thread_id in THREADS {
        stage.keep(chat.user_with(Options::thread(thread_id)).await);
        stage.keep(Traffic::start(chat.unseen_agent(), thread_id));
    }
    pass(Duration::from_secs(3)).await;
    stage.breaks_now();
    chat.fault("wedge users").await;
    stage.keep(chat);
}

async fn twin(stage: &mut Stage) {
    let chat = Chat::open(stage).await;
    let mut bursts = Vec::new();
    for thread_id in THREADS {
        stage.keep(chat.user_with(Options::thread(thread_id)).await);
        bursts.extend((0..BURST).flat_map(|number| {
            let run_id = format!("{thread_id}-burst-{number}");
            Run::whole(thread_id, &run_id, 4)
        }));
    }
    chat.unseen_agent().publish(&bursts).await;
    stage.keep(chat);
}
