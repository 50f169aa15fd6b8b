//! `observer_blind`: the monitor itself cannot see.

use std::time::Duration;

use crate::chat::pass;
use crate::fake::Fake;
use crate::proxy::{Fault, Proxy};
use crate::scenario::{Scenario, Threshold};
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    rule: "observer_blind",
    fault: "the network to all of six components is cut in the same instant",
    twin: "one of six is cut off",
    threshold: Threshold::None,
    settings: &[],
    twin_may_show: &["unreachable"],
    inject: |stage| Box::pin(inject(stage)),
    act_twin: |stage| Box::pin(twin(stage)),
};

const COMPONENTS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

async fn inject(stage: &mut Stage) {
    let fleet = fleet(stage).await;
    stage.breaks_now();
    for (_, network) in &fleet {
        network.set(Fault::Reset);
    }
    stage.keep(fleet);
}

async fn twin(stage: &mut Stage) {
    let fleet = fleet(stage).await;
    fleet[0].1.set(Fault::Reset);
    stage.keep(fleet);
}

/// Components, each behind a network of its own.
async fn fleet(stage: &mut Stage) -> Vec<(Fake, Proxy)> {
    let mut fleet = Vec::new();
    for id in COMPONENTS {
        let fake = Fake::start(id).await;
        let network = Proxy::start(fake.address).await;
        stage.auditor().register(id, &network.uri()).await;
        fleet.push((fake, network));
    }
    for id in COMPONENTS {
        stage.until_well(id).await;
    }
    pass(Duration::from_secs(3)).await;
    fleet
}
