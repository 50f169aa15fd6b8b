//! How the other components fare: what is the same everywhere is nobody's own fault.

use std::time::{Duration, Instant};

use crate::domain::ComponentId;

/// How another component answered lately.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Peer {
    pub(crate) component_id: ComponentId,
    /// How many times its usual latency its newest call took.
    pub(crate) slowdown: f64,
    /// How far its clock was outside of that call, in seconds. `None`: not known.
    pub(crate) skew: Option<f64>,
    /// When the call was sent.
    pub(crate) sent: Instant,
    /// The same of its newest slow call: how many times its usual latency, and when it was sent.
    pub(crate) slow: Option<(f64, Instant)>,
}

impl Peer {
    /// How slow it was at its slowest, as far as is known, in calls sent after `from`.
    fn slowdown_from(&self, from: Instant) -> f64 {
        let slow = self.slow.filter(|(_, sent)| *sent >= from);
        slow.map_or(self.slowdown, |(slow, _)| slow.max(self.slowdown))
    }
}

/// Some of the components that answer. Kept only while one is under suspicion.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Peers {
    pub(crate) asked: Vec<Peer>,
    /// Components that answer, the one under suspicion included.
    pub(crate) answering: usize,
    /// How late the monitor's own loop is.
    pub(crate) lateness: Duration,
}

impl Peers {
    /// The median slowdown of the others. Each must have been asked after `since`: one that has not
    /// answered since is taken for the slowest. One that was slow after `from`, and no longer is,
    /// still counts as slow. `Err`: too few have answered. `Ok(None)`: there are no others.
    pub(crate) fn slowdown(
        &self,
        own: &str,
        since: Instant,
        from: Instant,
    ) -> Result<Option<f64>, ()> {
        let others = self.answering.saturating_sub(1);
        if others == 0 {
            return Ok(None);
        }
        let slowdown = |peer: &Peer| {
            let answered = (peer.sent >= since).then(|| peer.slowdown_from(from));
            answered.unwrap_or(f64::INFINITY)
        };
        let mut slowdowns: Vec<_> = self.others(own).map(slowdown).collect();
        if slowdowns.len() < others.min(PEERS_MIN) {
            return Err(());
        }
        slowdowns.sort_unstable_by(f64::total_cmp);
        // Of two in the middle the higher one: a doubt is in the component's favour.
        let middle = slowdowns.get(slowdowns.len() / 2).copied();
        middle
            .filter(|middle| middle.is_finite())
            .map(Some)
            .ok_or(())
    }

    /// Whether the clocks of most others, of two at the least, are outside in the same direction,
    /// or the middle one of them is not further away than is tolerated.
    pub(crate) fn share_skew(&self, own: &str, skew: f64, tolerance: Duration) -> bool {
        let mut known: Vec<_> = self.others(own).filter_map(|peer| peer.skew).collect();
        known.sort_unstable_by(f64::total_cmp);
        let middle = known.get(known.len() / 2).copied().unwrap_or_default();
        if known.len() >= 2 && (skew - middle).abs() <= tolerance.as_secs_f64() {
            return true;
        }
        let outside = |other: &&f64| {
            other.abs() > tolerance.as_secs_f64() && other.is_sign_positive() == (skew > 0.0)
        };
        known.len() >= 2 && known.iter().filter(outside).count() * 2 > known.len()
    }

    fn others(&self, own: &str) -> impl Iterator<Item = &Peer> {
        self.asked
            .iter()
            .filter(move |peer| &*peer.component_id != own)
    }
}

/// Others that must be compared, where there are as many.
pub(crate) const PEERS_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;

    fn peers(slowdowns: &[f64], sent: Instant) -> Peers {
        let peer = |(index, slowdown): (usize, &f64)| Peer {
            component_id: format!("c{index}").as_str().into(),
            slowdown: *slowdown,
            skew: Some(if *slowdown > 2.0 { 3.0 } else { 0.0 }),
            sent,
            slow: None,
        };
        Peers {
            asked: slowdowns.iter().enumerate().map(peer).collect(),
            answering: slowdowns.len(),
            lateness: Duration::ZERO,
        }
    }

    #[test]
    fn one_other_is_enough_where_there_is_only_one() {
        let now = Clock::system().now().monotonic;
        assert_eq!(
            peers(&[90.0, 1.0], now).slowdown("c0", now, now),
            Ok(Some(1.0))
        );
        assert_eq!(peers(&[90.0], now).slowdown("c0", now, now), Ok(None));
        let later = now + Duration::from_secs(1);
        assert_eq!(
            peers(&[90.0, 1.0], now).slowdown("c0", later, later),
            Err(())
        );
    }

    #[test]
    fn the_median_leaves_the_component_itself_out() {
        let now = Clock::system().now().monotonic;
        let fleet = peers(&[90.0, 1.0, 1.5, 80.0], now);
        assert_eq!(fleet.slowdown("c0", now, now), Ok(Some(1.5)));
        assert_eq!(fleet.slowdown("c1", now, now), Ok(Some(80.0)));
    }

    #[test]
    fn the_first_to_answer_do_not_stand_for_the_others() {
        let now = Clock::system().now().monotonic;
        let before = now;
        let now = now + Duration::from_secs(1);
        let mut fleet = peers(&[90.0, 1.0, 1.5, 2.0, 40.0, 50.0, 60.0], now);
        for waiting in &mut fleet.asked[4..] {
            (waiting.slowdown, waiting.sent) = (1.0, before);
        }
        assert_eq!(fleet.slowdown("c0", now, now), Err(()));
        fleet.asked[4] = Peer {
            slowdown: 40.0,
            sent: now,
            ..fleet.asked[4].clone()
        };
        assert_eq!(fleet.slowdown("c0", now, now), Ok(Some(40.0)));
    }

    #[test]
    fn one_that_was_slow_in_the_same_time_still_counts_as_slow() {
        let start = Clock::system().now().monotonic;
        let [then, now] = [5, 9].map(|seconds| start + Duration::from_secs(seconds));
        let mut fleet = peers(&[90.0, 1.0, 1.0, 1.0], now);
        for peer in &mut fleet.asked {
            peer.slow = Some((70.0, then));
        }
        assert_eq!(fleet.slowdown("c0", start, then), Ok(Some(70.0)));
        let later = then + Duration::from_secs(1);
        assert_eq!(fleet.slowdown("c0", start, later), Ok(Some(1.0)));
    }

    #[test]
    fn a_skew_that_most_share_is_the_monitors_own() {
        let now = Clock::system().now().monotonic;
        let tolerance = Duration::from_secs(1);
        assert!(peers(&[9.0, 9.0, 9.0, 1.0], now).share_skew("c0", 4.0, tolerance));
        assert!(!peers(&[9.0, 9.0, 1.0, 1.0], now).share_skew("c0", 4.0, tolerance));
        assert!(!peers(&[9.0, 9.0, 9.0], now).share_skew("c0", -4.0, tolerance));
        assert!(!peers(&[9.0, 9.0], now).share_skew("c0", 4.0, tolerance));
    }
}
