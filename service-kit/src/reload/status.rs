//! How the last reading of the settings went.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::exposition::Page;

/// Shared by whoever reads the settings and whoever tells of it. Behind a lock because these are
/// different tasks; held for a copy only.
#[derive(Clone, Debug, Default)]
pub struct ReloadStatus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    succeeded: u64,
    failed: u64,
    /// Why the last one failed. `None`: it did not.
    error: Option<String>,
}

impl ReloadStatus {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, applied: Result<(), String>) {
        let mut state = self.state();
        match applied {
            Ok(()) => {
                state.succeeded += 1;
                state.error = None;
            }
            Err(error) => {
                state.failed += 1;
                state.error = Some(error);
            }
        }
    }

    /// Why the last reading was refused, for health answers. `None`: it was not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let state = self.state();
        let error = state.error.as_ref()?;
        Some(format!(
            "the settings were read again and are not valid, so those from before hold: {error}"
        ))
    }

    /// The counters; `service` begins their names.
    pub fn write(&self, page: &mut Page, service: &str) {
        let state = self.state();
        page.counter(
            &format!("{service}_config_reloads"),
            "Readings of the settings after the start, by how they went.",
        )
        .count(&[("outcome", "applied")], state.succeeded)
        .count(&[("outcome", "refused")], state.failed);
        page.gauge(
            &format!("{service}_config_last_reload_successful"),
            "0 where the last reading of the settings was refused, else 1.",
        )
        .count(&[], u64::from(state.error.is_none()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Exposition;

    #[test]
    fn a_refusal_stands_until_the_next_reading_is_good() {
        let status = ReloadStatus::default();
        assert_eq!(status.trouble(), None);
        status.note(Err("hub.threads: 0 is not allowed".to_owned()));
        assert!(
            status
                .trouble()
                .unwrap()
                .ends_with("hub.threads: 0 is not allowed")
        );
        let mut page = Page::new(Exposition::Prometheus);
        status.write(&mut page, "bridge");
        let page = page.finish();
        assert!(
            page.contains("bridge_config_reloads_total{outcome=\"refused\"} 1"),
            "{page}"
        );
        assert!(
            page.contains("bridge_config_last_reload_successful 0"),
            "{page}"
        );
        status.note(Ok(()));
        assert_eq!(status.trouble(), None);
    }
}
