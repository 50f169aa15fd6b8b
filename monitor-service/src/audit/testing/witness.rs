//! Witnesses of a scene, word by word.

use std::time::Duration;

use super::{Scene, sighting};
use crate::audit::deliveries::Witnessed;
use crate::domain::{
    DeliveryClaim, MetricsClaim, Posting, Probed, ReportOutcome, Sighting, Vantage,
};
use crate::evidence::Part;

/// One report.
#[derive(Clone, Debug)]
pub(crate) struct Telling<'a> {
    pub(crate) who: &'a str,
    pub(crate) vantage: Vantage,
    pub(crate) reading: Option<&'a [&'a str]>,
    pub(crate) sign_off: bool,
    pub(crate) posting: Posting,
}

impl Default for Telling<'_> {
    fn default() -> Self {
        Self {
            who: "c",
            vantage: Vantage::Consumer,
            reading: None,
            sign_off: false,
            posting: Posting::default(),
        }
    }
}

/// An observer that numbers its reports and says when it sent them.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    pub(crate) name: &'static str,
    pub(crate) vantage: Vantage,
    /// How far its clock is ahead of the monitor's.
    pub(crate) ahead: Duration,
    pub(crate) round_trip: Duration,
    pub(crate) promise: Option<Duration>,
    number: u64,
}

impl Speaker {
    pub(crate) fn new(name: &'static str, vantage: Vantage) -> Self {
        Self {
            name,
            vantage,
            ahead: Duration::ZERO,
            round_trip: Duration::from_millis(2),
            promise: None,
            number: 0,
        }
    }

    fn posting(&mut self, scene: &Scene) -> Posting {
        self.number += 1;
        let sent = scene.now.wall + self.ahead;
        Posting {
            session_id: "session".into(),
            number: self.number,
            sent: Some(sent - self.round_trip / 2),
            round_trip: Some(self.round_trip),
            next_within: self.promise,
        }
    }

    /// A number that is used up and whose report does not come.
    pub(crate) fn loses_a_report(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Scene {
    /// Takes a report.
    pub(crate) fn tell(&mut self, sightings: &[Sighting], telling: Telling<'_>) -> ReportOutcome {
        let Telling {
            who,
            vantage,
            posting,
            ..
        } = telling;
        let standing = self.sessions.take(who, vantage, &posting, self.now);
        let reading: Option<Vec<String>> = telling
            .reading
            .map(|threads| threads.iter().map(|&thread| thread.to_owned()).collect());
        let part = Part {
            observer_id: who,
            vantage,
            sightings: sightings.iter().collect(),
            reading: reading.as_deref(),
            sign_off: telling.sign_off,
            posting: &posting,
            standing,
        };
        self.evidence.record(&part, self.now)
    }

    /// Takes a report of an observer that does not number them.
    pub(crate) fn tells(
        &mut self,
        who: &str,
        vantage: Vantage,
        sightings: &[Sighting],
        reading: &[&str],
    ) -> ReportOutcome {
        let telling = Telling {
            who,
            vantage,
            reading: (vantage == Vantage::Consumer).then_some(reading),
            ..Telling::default()
        };
        self.tell(sightings, telling)
    }

    /// Takes the next report of a speaker.
    pub(crate) fn speaks(
        &mut self,
        speaker: &mut Speaker,
        sightings: &[Sighting],
        reading: &[&str],
    ) -> ReportOutcome {
        let posting = speaker.posting(self);
        let consumer = speaker.vantage == Vantage::Consumer;
        let telling = Telling {
            who: speaker.name,
            vantage: speaker.vantage,
            reading: consumer.then_some(reading),
            sign_off: false,
            posting,
        };
        self.tell(sightings, telling)
    }

    /// A speaker sends its newest report once more, as it was.
    pub(crate) fn speaks_again(&mut self, speaker: &Speaker, reading: &[&str]) -> ReportOutcome {
        let mut same = speaker.clone();
        same.number -= 1;
        self.speaks(&mut same, &[], reading)
    }

    /// A speaker's last report.
    pub(crate) fn speaks_last(&mut self, speaker: &mut Speaker) {
        let posting = speaker.posting(self);
        let telling = Telling {
            who: speaker.name,
            vantage: speaker.vantage,
            sign_off: true,
            posting,
            ..Telling::default()
        };
        self.tell(&[], telling);
    }

    /// An event of a thread, as it is seen now.
    pub(crate) fn seen(&self, thread: &str, sequence: u64) -> Sighting {
        sighting(thread, sequence, &self.epoch, self.now)
    }

    /// Consumer `c` got these sequences of thread `t` on a connection, from an arrival on.
    pub(crate) fn arrives(
        &mut self,
        connection: &str,
        arrival: u64,
        sequences: &[u64],
        replayed: bool,
    ) -> ReportOutcome {
        let mut sightings = Vec::new();
        for (place, sequence) in sequences.iter().enumerate() {
            let mut seen = self.seen("t", *sequence);
            seen.connection_id = connection.to_owned();
            seen.arrival = arrival + place as u64;
            seen.replayed = replayed;
            sightings.push(seen);
        }
        let telling = Telling {
            reading: Some(&["t"]),
            ..Telling::default()
        };
        self.tell(&sightings, telling)
    }

    /// Puts an audit's counters beside what witnesses had told by then.
    pub(super) fn counted(&mut self, probed: &Probed) {
        let witnessed = Witnessed {
            consumed: self.evidence.counters().consumed,
            produced: self.evidence.counters().produced,
            connections: self.evidence.connections_witnessed(self.now),
            told_until: self.evidence.consumers_told_until(self.now),
        };
        if let Ok(answer) = &probed.metrics {
            self.claims.counted(answer, witnessed);
        }
    }

    /// The component's delivery counters, read now.
    pub(crate) fn counts(&mut self, change: impl Fn(&mut DeliveryClaim)) {
        self.counts_with(&|metrics| {
            if let Some(delivery) = &mut metrics.delivery {
                change(delivery);
            }
        });
    }

    /// The component's counters, read now.
    pub(crate) fn counts_with(&mut self, change: &dyn Fn(&mut MetricsClaim)) {
        self.probe_with(|_, metrics| {
            metrics.delivery = Some(DeliveryClaim::default());
            change(metrics);
        });
    }
}
