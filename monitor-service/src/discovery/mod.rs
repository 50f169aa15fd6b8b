//! Components that come and go by themselves: found behind a name, or in EndpointSlices, and
//! registered and removed without a restart.

mod dns;
mod keeper;
pub(crate) mod settings;
#[cfg(feature = "kubernetes")]
mod slices;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::keeper::{Keeper, Listed};
use self::settings::{Discovery, Place, Way};
use crate::domain::ComponentId;
use crate::fleet::api::{FleetHandle, Target};

/// Pause before what could not be removed is removed again.
const RETRY: Duration = Duration::from_secs(5);

/// What the settings say of components.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    sources: Vec<Discovery>,
    /// Whom no source may touch.
    listed: BTreeSet<ComponentId>,
}

impl Wanted {
    /// Components from these sources, beside those that are listed.
    pub(crate) fn new(sources: &[Discovery], listed: &[Target]) -> Self {
        let ids = listed.iter().map(|target| target.component_id.clone());
        Self {
            sources: sources.to_vec(),
            listed: ids.collect(),
        }
    }
}

/// What is wanted from now on, and who waits until sources that are gone have taken their components
/// with them, and no source touches what is listed.
pub(crate) type Change = (Wanted, oneshot::Sender<()>);

/// Follows every source, and goes on with others when they change; never ends.
pub(crate) async fn follow(
    wanted: Wanted,
    mut changes: mpsc::Receiver<Change>,
    fleet: FleetHandle,
    clock: Clock,
) {
    let mut following = Following::default();
    following.become_these(wanted, &fleet, clock).await;
    loop {
        tokio::select! {
            change = changes.recv() => {
                let Some((wanted, done)) = change else {
                    // The service is going.
                    return std::future::pending().await;
                };
                following.become_these(wanted, &fleet, clock).await;
                // Whoever no longer waits need not hear it.
                let _ = done.send(());
            }
            Some(ended) = following.tasks.join_next() => drop(following.note(ended)),
            () = tokio::time::sleep(RETRY), if !following.leaving.is_empty() => following.leave().await,
        }
    }
}

/// The sources that are followed, by name.
#[derive(Default)]
struct Following {
    sources: BTreeMap<String, (Discovery, CancellationToken)>,
    /// One for each; it gives its keeper back when it is stopped.
    tasks: JoinSet<Keeper>,
    listed: Listed,
    /// Their sources are gone, and not yet all that they have registered.
    leaving: BTreeMap<String, Keeper>,
}

impl Following {
    /// Sources that stay as they are go on undisturbed; what one that changed has registered is
    /// kept until it is found no more.
    async fn become_these(&mut self, wanted: Wanted, fleet: &FleetHandle, clock: Clock) {
        let Wanted { sources, listed } = wanted;
        // Another list concerns every source: each finishes its step and goes on with it.
        let staying: &[Discovery] = if listed == *self.listed {
            &sources
        } else {
            &[]
        };
        let stopped = self.stop_all_but(staying).await;
        self.listed = Arc::new(listed);
        self.leaving.extend(stopped);
        for keeper in self.leaving.values_mut() {
            keeper.let_go(self.listed.clone());
        }
        for source in sources {
            let name = &source.template.name;
            if !self.sources.contains_key(name) {
                let keeper = self.leaving.remove(name).map_or_else(
                    || Keeper::new(&source, self.listed.clone(), fleet.clone(), clock),
                    |keeper| keeper.with(&source),
                );
                self.start(source, keeper);
            }
        }
        self.leave().await;
    }

    /// Sources that are gone take their components with them.
    async fn leave(&mut self) {
        for (name, mut keeper) in std::mem::take(&mut self.leaving) {
            if !keeper.leave().await {
                self.leaving.insert(name, keeper);
            }
        }
    }

    fn start(&mut self, source: Discovery, keeper: Keeper) {
        let stop = CancellationToken::new();
        let following = follow_one(source.way.clone(), keeper, stop.clone());
        self.tasks.spawn(following);
        let name = source.template.name.clone();
        self.sources.insert(name, (source, stop));
    }

    /// Stops those that are not as they are wanted; returns what they had registered.
    async fn stop_all_but(&mut self, wanted: &[Discovery]) -> BTreeMap<String, Keeper> {
        let sources = self.sources.values();
        let changed = sources.filter(|(source, _)| !wanted.contains(source));
        let stopping = changed.map(|(_, stop)| stop.cancel()).count();
        let mut keepers = BTreeMap::new();
        while keepers.len() < stopping
            && let Some(ended) = self.tasks.join_next().await
        {
            let keeper = self.note(ended);
            keepers.insert(keeper.name().to_owned(), keeper);
        }
        keepers
    }

    /// A source that ended was told to, or panicked: whoever supervises this task hears of that.
    fn note(&mut self, ended: Result<Keeper, JoinError>) -> Keeper {
        match ended.map_err(JoinError::into_panic) {
            Ok(keeper) => {
                self.sources.remove(keeper.name());
                keeper
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Keeps the fleet in step with what one source finds, until it is told to stop. A step that is
/// under way is finished first.
async fn follow_one(way: Way, mut keeper: Keeper, stop: CancellationToken) -> Keeper {
    let (found, mut places) = mpsc::channel(1);
    let looking = look(way, keeper.name().to_owned(), found);
    tokio::pin!(looking);
    loop {
        tokio::select! {
            () = &mut looking => return keeper,
            Some(places) = places.recv() => keeper.keep(&places).await,
            () = stop.cancelled() => return keeper,
        }
    }
}

/// Says again and again who is there; ends with its listener.
async fn look(way: Way, name: String, found: mpsc::Sender<BTreeSet<Place>>) {
    match way {
        Way::Dns { host, interval } => dns::look(host, interval, &name, found).await,
        #[cfg(feature = "kubernetes")]
        Way::EndpointSlices(slices) => slices::look(slices, &name, found).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::load;
    use crate::fleet::api::Command;

    #[tokio::test(start_paused = true)]
    async fn what_a_busy_fleet_does_not_remove_is_removed_later() {
        let (mailbox, mut commands) = mpsc::channel(8);
        let fleet = FleetHandle::new(mailbox, Duration::from_secs(1));
        let text = "[[discovery]]\nname = 'a'\ndns = 'http://127.0.0.1:1'\n";
        let wanted = Wanted::new(&load(text).unwrap().discovery, &[]);
        let (change, changes) = mpsc::channel(1);
        let following = tokio::spawn(follow(wanted, changes, fleet, Clock::system()));
        let mut next = async || tokio::time::timeout(3 * RETRY, commands.recv()).await;
        let Ok(Some(Command::List { reply })) = next().await else {
            panic!("nobody asks who is registered");
        };
        reply.send(Vec::new()).unwrap();
        let Ok(Some(Command::Register { reply, .. })) = next().await else {
            panic!("nobody is registered");
        };
        reply.send(Ok(true)).unwrap();
        let (done, left) = oneshot::channel();
        change.send((Wanted::default(), done)).await.unwrap();
        let Ok(Some(Command::Remove { reply: _busy, .. })) = next().await else {
            panic!("nobody is removed");
        };
        left.await.unwrap();
        let Ok(Some(Command::Remove {
            component_id,
            reply,
        })) = next().await
        else {
            panic!("nobody tries again");
        };
        assert_eq!(component_id, "a-127.0.0.1");
        reply.send(Ok(())).unwrap();
        assert!(next().await.is_err(), "it is gone, and more is asked");
        following.abort();
    }
}
