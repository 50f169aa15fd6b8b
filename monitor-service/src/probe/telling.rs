//! What the fleet is told of two calls: an audit, a look between two audits, or nothing.

use crate::domain::{Failing, ProbeEvent, Probed};

/// Remembers which calls failed the last time.
#[derive(Debug, Default)]
pub(super) struct Telling {
    before: Failing,
}

impl Telling {
    /// Calls are an audit where one was `asked` for, and where answers cease or come again. Where
    /// they stay away, the scheduled audits say so: an outage must not push a component's past out
    /// of its history.
    pub(super) fn of(&mut self, asked: bool, probed: Probed) -> Option<ProbeEvent> {
        let failing = probed.failing();
        let changed = failing != std::mem::replace(&mut self.before, failing);
        let probed = Box::new(probed);
        match asked || changed {
            true => Some(ProbeEvent::Probed(probed)),
            false if failing.health => None,
            false => Some(ProbeEvent::Glanced(probed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;
    use crate::audit::testing::{answer, health_claim, metrics_claim};
    use crate::domain::CallError;

    fn probed(health: bool, metrics: bool) -> Probed {
        let now = Clock::system().now();
        let away = || CallError::Own("nobody answers".to_owned());
        Probed {
            health: health
                .then(|| answer(health_claim(1, now), now))
                .ok_or_else(away),
            nonce_echoed: health,
            metrics: metrics
                .then(|| answer(metrics_claim(now), now))
                .ok_or_else(away),
        }
    }

    /// `A` for an audit, `l` for a look, `.` for nothing.
    fn told(looks: &[(bool, Probed)]) -> String {
        let mut telling = Telling::default();
        let told = looks
            .iter()
            .map(|(asked, probed)| telling.of(*asked, probed.clone()));
        told.map(|event| match event {
            Some(ProbeEvent::Probed(_)) => 'A',
            Some(_) => 'l',
            None => '.',
        })
        .collect()
    }

    #[test]
    fn an_outage_is_audited_where_it_begins_and_ends_and_when_asked() {
        let (up, away) = ((false, probed(true, true)), (false, probed(false, false)));
        let asked = (true, probed(false, false));
        let looks = [&up, &up, &away, &away, &away, &asked, &away, &up, &up].map(Clone::clone);
        assert_eq!(told(&looks), "llA..A.Al");
    }

    #[test]
    fn what_answers_one_call_of_two_is_still_looked_at() {
        let half = (false, probed(true, false));
        let looks = [(true, probed(true, true)), half.clone(), half];
        assert_eq!(told(&looks), "AAl");
    }
}
