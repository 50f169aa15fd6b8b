//! What a monitor found, as its own stream tells it.

use std::sync::Arc;
use std::time::Duration;

use monitorable::monitor::v1::finding::State;
use monitorable::monitor::v1::monitor_client::MonitorClient;
use monitorable::monitor::v1::{Finding, WatchFindingsRequest};
use service_kit::clock::{Clock, Now};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::process::channel;

/// Between two attempts to follow, as while the monitor is paused.
const RETRY: Duration = Duration::from_millis(100);

/// A finding, and when it was first told.
#[derive(Clone, Debug)]
pub struct Told {
    /// When the stream brought it.
    pub at: Now,
    /// As it was then.
    pub finding: Finding,
}

/// Every finding that opened, in the order in which they were told.
#[derive(Debug)]
pub struct Findings {
    told: watch::Receiver<Arc<Vec<Told>>>,
    task: JoinHandle<()>,
}

impl Findings {
    /// Follows a monitor's findings, all of them, until dropped.
    pub async fn follow(monitor: &str) -> Self {
        let (sender, mut told) = watch::channel(Arc::default());
        let (followed, following) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(follow(monitor.to_owned(), sender, followed));
        following.await.expect("the stream of findings opens");
        told.mark_unchanged();
        Self { told, task }
    }

    /// Those so far.
    #[must_use]
    pub fn so_far(&self) -> Arc<Vec<Told>> {
        self.told.borrow().clone()
    }

    /// Waits for one of a rule, told at this moment or later. `None`: none came in time.
    pub async fn of_rule(&self, rule: &str, since: Now, patience: Duration) -> Option<Told> {
        let wanted =
            |told: &Told| told.finding.rule_id == rule && told.at.monotonic >= since.monotonic;
        let mut receiver = self.told.clone();
        let found = receiver.wait_for(|all| all.iter().any(wanted));
        let found = tokio::time::timeout(patience, found).await.ok()?.ok()?;
        found.iter().find(|told| wanted(told)).cloned()
    }
}

impl Drop for Findings {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    monitor: String,
    sender: watch::Sender<Arc<Vec<Told>>>,
    followed: tokio::sync::oneshot::Sender<()>,
) {
    let mut followed = Some(followed);
    let client = MonitorClient::new(channel(&monitor));
    loop {
        let request = WatchFindingsRequest::default();
        if let Ok(stream) = client.clone().watch_findings(request).await {
            if let Some(followed) = followed.take() {
                let _ = followed.send(());
            }
            let mut stream = stream.into_inner();
            while let Ok(Some(message)) = stream.message().await {
                if let Some(finding) = message.finding {
                    note(&sender, finding);
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Notes a finding that is open; a suspicion is none, and one that resolved was noted before.
fn note(sender: &watch::Sender<Arc<Vec<Told>>>, finding: Finding) {
    if finding.state() != State::Open {
        return;
    }
    let at = Clock::system().now();
    sender.send_if_modified(|all| {
        let known = |told: &Told| told.finding.finding_id == finding.finding_id;
        if all.iter().any(known) {
            return false;
        }
        Arc::make_mut(all).push(Told { at, finding });
        true
    });
}
