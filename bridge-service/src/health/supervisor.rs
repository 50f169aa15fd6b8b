//! Initializes the service, checks it at its interval, and recovers it where checks keep failing.

use std::time::Duration;

use service_kit::clock::Clock;
use service_kit::reload::ReloadStatus;

use super::checks;
use super::report::{CheckRound, LifecycleStep};
use super::settings::HealthSettings;
use crate::hub::api::{Command, HubHandle};

/// Runs for as long as the process does.
pub(crate) async fn supervise(
    hub: HubHandle,
    settings: HealthSettings,
    reloads: ReloadStatus,
    clock: Clock,
) {
    Supervisor {
        hub,
        settings,
        reloads,
        clock,
    }
    .run()
    .await;
}

struct Supervisor {
    hub: HubHandle,
    settings: HealthSettings,
    reloads: ReloadStatus,
    clock: Clock,
}

impl Supervisor {
    async fn run(self) {
        self.initialize_until_it_succeeds().await;
        let mut failures = 0;
        loop {
            tokio::time::sleep(self.settings.check_interval).await;
            failures = if self.check().await.is_ok() {
                0
            } else {
                failures + 1
            };
            if failures >= self.settings.failures_before_recovery {
                self.recover().await;
                failures = 0;
            }
        }
    }

    /// Initializing again what is initialized already would change nothing: it only proves that
    /// the whole path works, and says so.
    async fn initialize_until_it_succeeds(&self) {
        for attempt in 0_u32.. {
            let check_interval = self.settings.check_interval;
            self.step(LifecycleStep::InitializationBegan { check_interval })
                .await;
            let timeout = self.settings.initialization_timeout;
            let error = match tokio::time::timeout(timeout, self.check()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("initialization failed: {error}")),
                Err(_) => Some(format!("initialization did not end within {timeout:?}")),
            };
            let initialized = error.is_none();
            if let Some(error) = &error {
                tracing::error!(%error, attempt, "not initialized");
            }
            self.step(LifecycleStep::InitializationEnded { error })
                .await;
            if initialized {
                tracing::info!("initialized: every check passed");
                return;
            }
            tokio::time::sleep(self.backoff(attempt)).await;
        }
    }

    /// One round of checks, reported to the hub.
    async fn check(&self) -> Result<(), String> {
        let timeout = self.settings.verification_timeout;
        let round = checks::run_all(&self.hub, &self.reloads, timeout, self.clock).await;
        let error = first_failure(&round);
        self.hub.tell(Command::Checked(round)).await;
        match error {
            None => Ok(()),
            Some(error) => {
                tracing::warn!(%error, "a health check failed");
                Err(error)
            }
        }
    }

    async fn recover(&self) {
        let mut last_error = String::new();
        for attempt in 0..self.settings.recovery_attempts {
            tokio::time::sleep(self.backoff(attempt)).await;
            self.step(LifecycleStep::RecoveryBegan).await;
            let rebuilt = self.hub.rebuild().await.map_err(|error| error.to_string());
            let error = match rebuilt {
                Ok(()) => self.check().await.err(),
                Err(error) => Some(error),
            };
            self.step(LifecycleStep::RecoveryEnded {
                error: error.clone(),
            })
            .await;
            match error {
                None => {
                    tracing::info!(attempt, "recovered");
                    return;
                }
                Some(error) => {
                    tracing::warn!(%error, attempt, "recovery failed");
                    last_error = error;
                }
            }
        }
        let attempts = self.settings.recovery_attempts;
        let error = format!("{attempts} attempts at recovery failed: {last_error}");
        tracing::error!(%error, "gave up");
        self.step(LifecycleStep::GaveUp { error }).await;
    }

    async fn step(&self, step: LifecycleStep) {
        self.hub.tell(Command::Lifecycle(step)).await;
    }

    /// Doubles with each attempt, up to the cap.
    fn backoff(&self, attempt: u32) -> Duration {
        let HealthSettings {
            recovery_backoff_base,
            recovery_backoff_cap,
            ..
        } = self.settings;
        recovery_backoff_base
            .saturating_mul(2_u32.saturating_pow(attempt))
            .min(recovery_backoff_cap)
    }
}

fn first_failure(round: &CheckRound) -> Option<String> {
    let failed = round.results.iter().find(|check| !check.healthy)?;
    Some(format!("{}: {}", failed.name, failed.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::report::State;
    use crate::hub::api::Identity;
    use crate::hub::event::Outcome;
    use crate::hub::limits::HubLimits;
    use crate::hub::testing::event;

    fn start_hub(limits: HubLimits) -> (HubHandle, Clock) {
        let identity = Identity {
            component_id: "bridge".into(),
            instance_id: "one".into(),
        };
        let clock = Clock::simulated();
        let (hub, actor) = crate::hub::start(limits, &identity, clock);
        tokio::spawn(actor);
        (hub, clock)
    }

    fn start(limits: HubLimits, settings: HealthSettings) -> HubHandle {
        let (hub, clock) = start_hub(limits);
        let reloads = ReloadStatus::default();
        tokio::spawn(supervise(hub.clone(), settings, reloads, clock));
        hub
    }

    /// Waits on the health stream for a state.
    async fn reach(hub: &HubHandle, state: State) -> crate::health::report::HealthReport {
        let mut stream = hub.watch(Duration::from_secs(3_600)).await.unwrap();
        while let Some(update) = stream.recv().await {
            if update.health.state == state {
                return update.health;
            }
        }
        panic!("the stream ended before {state:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_service_becomes_active_by_proving_it() {
        let hub = start(HubLimits::default(), HealthSettings::default());
        let report = reach(&hub, State::Active).await;
        let names: Vec<_> = report
            .checks
            .iter()
            .map(|check| (check.name, check.healthy))
            .collect();
        assert_eq!(names, [("websocket_manager", true), ("registry", true)]);
        let (counters, lifecycle, _) = hub.metrics().await.unwrap();
        assert_eq!(lifecycle.successful_initializations, 1);
        assert_eq!(
            counters.stages.accepted, 0,
            "a self-check is in no statistics"
        );
        assert_eq!(counters.connections_opened, 0);
        assert!(counters.synthetic.accepted > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn checks_go_on_at_their_interval() {
        let hub = start(HubLimits::default(), HealthSettings::default());
        reach(&hub, State::Active).await;
        tokio::time::sleep(Duration::from_secs(185)).await;
        let (_, lifecycle, report) = hub.metrics().await.unwrap();
        assert_eq!(lifecycle.health_checks_performed, 4);
        assert_eq!(report.state, State::Active);
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_cannot_work_is_never_called_active() {
        // No check may take any time.
        let settings = HealthSettings {
            verification_timeout: Duration::ZERO,
            ..HealthSettings::default()
        };
        let hub = start(HubLimits::default(), settings);
        let report = reach(&hub, State::Failed).await;
        let error = &report.error_message;
        assert!(
            error.contains("websocket_manager: did not end within 0ns"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_initialization_that_takes_too_long_has_failed() {
        let settings = HealthSettings {
            initialization_timeout: Duration::ZERO,
            ..HealthSettings::default()
        };
        let hub = start(HubLimits::default(), settings);
        let report = reach(&hub, State::Failed).await;
        let error = &report.error_message;
        assert!(error.contains("did not end within 0ns"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn threads_and_runs_of_strangers_leave_room_for_the_checks() {
        for (threads, runs) in [(1, 100), (100, 1)] {
            let (hub, clock) = start_hub(HubLimits {
                threads,
                runs,
                ..HubLimits::default()
            });
            // Somebody else is there first, and ends nothing.
            let taken = hub.publish(vec![event("t", "r", "1")], 0).await.unwrap();
            assert!(matches!(taken[0], Outcome::Accepted(_)), "{taken:?}");
            let (settings, reloads) = (HealthSettings::default(), ReloadStatus::default());
            tokio::spawn(supervise(hub.clone(), settings, reloads, clock));
            let active = tokio::time::timeout(Duration::from_secs(10), reach(&hub, State::Active));
            active.await.expect("no check finds room");
        }
    }

    #[test]
    fn the_backoff_doubles_up_to_its_cap() {
        let identity = Identity {
            component_id: "bridge".into(),
            instance_id: "one".into(),
        };
        let clock = Clock::system();
        let (hub, _actor) = crate::hub::start(HubLimits::default(), &identity, clock);
        let supervisor = Supervisor {
            hub,
            settings: HealthSettings::default(),
            reloads: ReloadStatus::default(),
            clock,
        };
        let seconds: Vec<_> = (0..7).map(|n| supervisor.backoff(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    }
}
