//! What one source found, kept in step with what the fleet watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::{Clock, Now};

use super::settings::{Discovery, Place, Template, targets};
use crate::domain::ComponentId;
use crate::fleet::api::{Command, FleetError, FleetHandle, Target};

/// What one source has registered.
pub(super) struct Keeper {
    template: Template,
    fleet: FleetHandle,
    clock: Clock,
    roll: Roll,
}

impl Keeper {
    /// One that has registered nothing yet, and leaves alone what is `listed`.
    pub(super) fn new(
        source: &Discovery,
        listed: Listed,
        fleet: FleetHandle,
        clock: Clock,
    ) -> Self {
        Self {
            template: source.template.clone(),
            fleet,
            clock,
            roll: Roll::new(source.keep, listed),
        }
    }

    /// The same keeper for a source that changed: what is still found stays registered.
    pub(super) fn with(mut self, source: &Discovery) -> Self {
        self.template = source.template.clone();
        self.roll.keep = source.keep;
        self
    }

    /// From now on these are listed: what it had registered of them is no longer its own.
    pub(super) fn let_go(&mut self, listed: Listed) {
        self.roll.let_go(listed);
    }

    /// Removes everything that it has registered: its source is gone from the settings. Returns
    /// whether nothing is left; what fails is tried again next time.
    pub(super) async fn leave(&mut self) -> bool {
        self.roll.keep = Duration::ZERO;
        self.keep(&BTreeSet::new()).await;
        self.roll.known.is_empty()
    }

    /// The source's name.
    pub(super) fn name(&self) -> &str {
        &self.template.name
    }

    /// Brings the fleet in step with what is there now. What fails is tried again next time.
    pub(super) async fn keep(&mut self, places: &BTreeSet<Place>) {
        let steps = self
            .roll
            .compare(targets(&self.template, places), self.clock.now());
        for step in steps {
            let done = match &step {
                Step::Register(target) => self.register(target).await,
                Step::Remove(id) => self.remove(id).await,
            };
            match done {
                Ok(()) => self.roll.done(step),
                Err(error) => {
                    tracing::warn!(source = self.name(), %error, "discovery could not take a step");
                }
            }
        }
    }

    async fn register(&self, target: &Target) -> Result<(), String> {
        let id = &target.component_id;
        if !self.roll.has(id) {
            let list = self.fleet.ask(|reply| Command::List { reply }).await;
            let list = list.map_err(|error| error.to_string())?;
            if list.iter().any(|view| view.target.component_id == *id) {
                return Err(format!(
                    "component_id: {id:?} is registered already, by somebody else"
                ));
            }
        }
        let target = target.clone();
        let endpoint = target.endpoint.clone();
        let registered = self
            .fleet
            .ask(|reply| Command::Register { target, reply })
            .await;
        registered
            .and_then(|registered| registered)
            .map_err(|error| error.to_string())?;
        tracing::info!(source = self.name(), component_id = %id, endpoint, "found");
        Ok(())
    }

    async fn remove(&self, id: &ComponentId) -> Result<(), String> {
        let component_id = id.to_string();
        let removed = self
            .fleet
            .ask(|reply| Command::Remove {
                component_id,
                reply,
            })
            .await;
        match removed.and_then(|removed| removed) {
            // Somebody removed it by hand: it is gone all the same.
            Ok(()) | Err(FleetError::NotRegistered(_)) => {
                tracing::info!(source = self.name(), component_id = %id, "gone");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What is to be done at the fleet.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// New, or at another place.
    Register(Box<Target>),
    Remove(ComponentId),
}

/// The components that the settings list: theirs, whoever finds them.
pub(super) type Listed = Arc<BTreeSet<ComponentId>>;

/// Who is registered, and who of them is missing.
struct Roll {
    keep: Duration,
    listed: Listed,
    known: BTreeMap<ComponentId, Known>,
}

struct Known {
    target: Target,
    missing_since: Option<Instant>,
}

impl Roll {
    fn new(keep: Duration, listed: Listed) -> Self {
        Self {
            keep,
            listed,
            known: BTreeMap::new(),
        }
    }

    fn let_go(&mut self, listed: Listed) {
        self.known.retain(|id, _| !listed.contains(id));
        self.listed = listed;
    }

    fn has(&self, id: &ComponentId) -> bool {
        self.known.contains_key(id)
    }

    /// What to do so that the fleet watches what was found. Of two of one id the first counts.
    fn compare(&mut self, found: Vec<Target>, now: Now) -> Vec<Step> {
        let mut present = BTreeSet::new();
        let mut steps = Vec::new();
        for target in found {
            let id = target.component_id.clone();
            if self.listed.contains(&id) || !present.insert(id.clone()) {
                continue;
            }
            match self.known.get_mut(&id) {
                Some(known) if known.target == target => known.missing_since = None,
                _ => steps.push(Step::Register(Box::new(target))),
            }
        }
        let missing = self
            .known
            .iter_mut()
            .filter(|(id, _)| !present.contains(*id));
        for (id, known) in missing {
            let since = *known.missing_since.get_or_insert(now.monotonic);
            if now.since(since) >= self.keep {
                steps.push(Step::Remove(id.clone()));
            }
        }
        steps
    }

    /// A step was taken.
    fn done(&mut self, step: Step) {
        match step {
            Step::Register(target) => {
                let id = target.component_id.clone();
                let known = Known {
                    target: *target,
                    missing_since: None,
                };
                self.known.insert(id, known);
            }
            Step::Remove(id) => drop(self.known.remove(&id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::api::CanaryTarget;

    const KEEP: Duration = Duration::from_secs(5);

    fn target(id: &str, port: u16) -> Target {
        Target {
            component_id: id.into(),
            endpoint: format!("http://127.0.0.1:{port}"),
            labels: BTreeMap::new(),
            tls: None,
            metadata: BTreeMap::new(),
            canary: CanaryTarget::default(),
        }
    }

    fn roll() -> Roll {
        Roll::new(KEEP, Listed::default())
    }

    /// Takes every step at once; what was done, in short.
    fn take(roll: &mut Roll, found: &[Target], now: Now) -> Vec<String> {
        let steps = roll.compare(found.to_vec(), now);
        let shown = steps.iter().map(|step| match step {
            Step::Register(target) => format!("+{}", target.component_id),
            Step::Remove(id) => format!("-{id}"),
        });
        let shown = shown.collect();
        steps.into_iter().for_each(|step| roll.done(step));
        shown
    }

    #[test]
    fn components_come_and_go_and_one_that_blinks_stays() {
        let (mut roll, start) = (roll(), Clock::system().now());
        let (a, b) = (target("a", 1), target("b", 2));
        assert_eq!(
            take(&mut roll, &[a.clone(), b.clone()], start),
            ["+a", "+b"]
        );
        assert_eq!(take(&mut roll, &[b.clone(), a.clone()], start), [""; 0]);
        let later = start.later(Duration::from_secs(4));
        assert_eq!(take(&mut roll, std::slice::from_ref(&a), later), [""; 0]);
        let again = start.later(Duration::from_secs(8));
        assert_eq!(take(&mut roll, &[a.clone(), b], again), [""; 0]);
        assert_eq!(take(&mut roll, std::slice::from_ref(&a), again), [""; 0]);
        let gone = again.later(KEEP);
        assert_eq!(take(&mut roll, &[a], gone), ["-b"]);
    }

    #[test]
    fn a_pod_at_another_address_is_registered_anew_and_what_fails_is_tried_again() {
        let (mut roll, now) = (roll(), Clock::system().now());
        assert_eq!(take(&mut roll, &[target("a", 1)], now), ["+a"]);
        let moved = vec![target("a", 9)];
        assert_eq!(roll.compare(moved.clone(), now).len(), 1);
        assert_eq!(take(&mut roll, &moved, now), ["+a"]);
        assert_eq!(take(&mut roll, &moved, now), [""; 0]);
    }

    #[test]
    fn two_of_one_id_are_one() {
        let (mut roll, now) = (roll(), Clock::system().now());
        let two = [target("a", 1), target("a", 2)];
        assert_eq!(take(&mut roll, &two, now), ["+a"]);
        assert_eq!(take(&mut roll, &two, now), [""; 0]);
    }

    #[test]
    fn what_is_listed_is_left_alone_and_found_anew_when_it_no_longer_is() {
        let (mut roll, now) = (roll(), Clock::system().now());
        let both = [target("a", 1), target("b", 2)];
        assert_eq!(take(&mut roll, &both, now), ["+a", "+b"]);
        roll.let_go(Listed::new(["a".into()].into()));
        assert_eq!(take(&mut roll, &both, now), [""; 0]);
        assert_eq!(take(&mut roll, &[], now), [""; 0]);
        assert_eq!(take(&mut roll, &[], now.later(KEEP)), ["-b"]);
        roll.let_go(Listed::default());
        assert_eq!(take(&mut roll, &both, now), ["+a", "+b"]);
    }
}
