//! Components that come and go by themselves: found behind a name, or in EndpointSlices, and
//! registered and removed without a restart.

mod dns;
mod keeper;
pub(crate) mod settings;
#[cfg(feature = "kubernetes")]
mod slices;

use std::collections::{BTreeMap, BTreeSet};

use service_kit::clock::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::keeper::Keeper;
use self::settings::{Discovery, Place, Way};
use crate::fleet::api::FleetHandle;

/// Other sources, and who waits until those that are gone have taken their components with them.
pub(crate) type Change = (Vec<Discovery>, oneshot::Sender<()>);

/// Follows every source, and goes on with others when they change; never ends.
pub(crate) async fn follow(
    sources: Vec<Discovery>,
    mut changes: mpsc::Receiver<Change>,
    fleet: FleetHandle,
    clock: Clock,
) {
    let mut following = Following::default();
    following.become_these(sources, &fleet, clock).await;
    loop {
        tokio::select! {
            change = changes.recv() => {
                let Some((sources, done)) = change else {
                    // The service is going.
                    return std::future::pending().await;
                };
                following.become_these(sources, &fleet, clock).await;
                // Whoever no longer waits need not hear it.
                let _ = done.send(());
            }
            Some(ended) = following.tasks.join_next() => drop(following.note(ended)),
        }
    }
}

/// The sources that are followed, by name.
#[derive(Default)]
struct Following {
    sources: BTreeMap<String, (Discovery, CancellationToken)>,
    /// One for each; it gives its keeper back when it is stopped.
    tasks: JoinSet<Keeper>,
}

impl Following {
    /// Sources that stay as they are go on undisturbed; what one that changed has registered is
    /// kept until it is found no more.
    async fn become_these(&mut self, wanted: Vec<Discovery>, fleet: &FleetHandle, clock: Clock) {
        let mut stopped = self.stop_all_but(&wanted).await;
        for source in wanted {
            let name = &source.template.name;
            if !self.sources.contains_key(name) {
                let keeper = stopped.remove(name).map_or_else(
                    || Keeper::new(&source, fleet.clone(), clock),
                    |keeper| keeper.with(&source),
                );
                self.start(source, keeper);
            }
        }
        for (_, keeper) in stopped {
            keeper.leave().await;
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
