//! What witnesses report, and where it goes.

use std::collections::HashMap;

use service_kit::clock::Now;

use super::state::FleetState;
use crate::domain::{ReportOutcome, Vantage, WitnessReport};
use crate::evidence::Part;

impl FleetState {
    /// Takes a witness's report, each event to the component that it is about.
    pub(crate) fn report(&mut self, report: &WitnessReport, now: Now) -> ReportOutcome {
        let (observer_id, vantage, posting) =
            (&report.observer_id, report.vantage, &report.posting);
        let standing = self.sessions.take(observer_id, vantage, posting, now);
        let mut parts: HashMap<&str, Vec<_>> = HashMap::new();
        if !report.component_id.is_empty() {
            parts.entry(&report.component_id).or_default();
        }
        for sighting in &report.sightings {
            parts
                .entry(&sighting.component_id)
                .or_default()
                .push(sighting);
        }
        let mut outcome = ReportOutcome::default();
        for (component_id, sightings) in parts {
            let about = component_id == report.component_id;
            let part = Part {
                observer_id: &report.observer_id,
                vantage: report.vantage,
                sightings,
                reading: about.then_some(report.reading.as_slice()),
                sign_off: report.sign_off && about,
                posting,
                standing,
            };
            let of_part = self.record(component_id, &part, now);
            outcome.recorded += of_part.recorded;
            outcome.repeated += of_part.repeated;
        }
        let signs_off = report.sign_off && standing.newest && !standing.repeated;
        if signs_off && report.component_id.is_empty() {
            self.sign_off_everywhere(&report.observer_id, report.vantage, now);
        }
        self.totals.events_witnessed += u64::from(outcome.recorded);
        self.totals.events_repeated += u64::from(outcome.repeated);
        outcome
    }

    fn record(&mut self, component_id: &str, part: &Part<'_>, now: Now) -> ReportOutcome {
        let Some(component) = self.components.get_mut(component_id) else {
            return self.record_unregistered(component_id, part, now);
        };
        let before = component.evidence.events_held();
        let outcome = component.evidence.record(part, now);
        component.dirty = true;
        self.events_held += component.evidence.events_held();
        self.events_held = self.events_held.saturating_sub(before);
        while self.events_held > self.settings.evidence.events_total_max
            && component.evidence.give_way()
        {
            self.events_held = self.events_held.saturating_sub(1);
        }
        let id = component.target.component_id.clone();
        self.evaluate_soon(&id, now);
        outcome
    }

    fn record_unregistered(&mut self, id: &str, part: &Part<'_>, now: Now) -> ReportOutcome {
        let before = self.unregistered.held();
        let outcome = self.unregistered.record(id, part, now);
        self.events_held = (self.events_held + self.unregistered.held()).saturating_sub(before);
        outcome
    }

    fn sign_off_everywhere(&mut self, observer_id: &str, vantage: Vantage, now: Now) {
        let known = self
            .components
            .values_mut()
            .map(|known| &mut known.evidence);
        for evidence in known.chain(self.unregistered.all()) {
            evidence.sign_off(observer_id, vantage, now);
        }
    }
}
