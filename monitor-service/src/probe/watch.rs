//! One target's watch stream: opened, followed, and opened again with back-off when it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use monitorable::monitorable::v1::{WatchHealthRequest, WatchHealthResponse};
use tokio::sync::Notify;
use tonic::Streaming;

use super::Reporter;
use super::backoff::Backoff;
use super::calls::Caller;
use super::convert;
use super::error::is_goodbye;
use crate::domain::{CallError, ProbeEvent, WatchReason};

/// Messages that one stream may bring in [`FLOOD_WINDOW`]; more would crowd out other targets.
const FLOOD_MESSAGES: u32 = 100;
/// The window of [`FLOOD_MESSAGES`].
const FLOOD_WINDOW: Duration = Duration::from_secs(1);
/// What a promise may be late before the probe takes a look by calling.
const PROMISE_GRACE: Duration = Duration::from_millis(250);

/// How a stream ended.
enum Ended {
    InOrder,
    Failed(CallError),
}

/// A stream under way.
struct Followed<'a> {
    caller: &'a Caller,
    reporter: &'a Reporter,
    audit: &'a Notify,
    stream: Streaming<WatchHealthResponse>,
    window_start: Instant,
    window_messages: u32,
}

/// Follows the target's watch stream for ever. `audit` is notified whenever something changed.
pub(super) async fn run(caller: Caller, reporter: Reporter, audit: Arc<Notify>) {
    let settings = caller.settings;
    let mut backoff = Backoff::new(settings.reconnect_base, settings.reconnect_cap);
    let mut opened_before = false;
    loop {
        let mut opened = false;
        // Boxed, so that a stream that is open is small.
        let ended = match Box::pin(open(&caller)).await {
            Err(error) => Ended::Failed(error),
            Ok((stream, first)) => {
                opened = true;
                backoff.reset();
                if opened_before {
                    audit.notify_one();
                }
                opened_before = true;
                let followed = Followed {
                    caller: &caller,
                    reporter: &reporter,
                    audit: &audit,
                    stream,
                    window_start: caller.clock.now().monotonic,
                    window_messages: 0,
                };
                followed.run(first).await
            }
        };
        reporter
            .tell(match ended {
                Ended::InOrder => ProbeEvent::WatchEnded,
                Ended::Failed(error) => ProbeEvent::WatchFailed(error),
            })
            .await;
        if opened {
            audit.notify_one();
        }
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

/// Opens the stream and waits for its first message: some servers send no headers before it.
async fn open(
    caller: &Caller,
) -> Result<(Streaming<WatchHealthResponse>, WatchHealthResponse), CallError> {
    let settings = &caller.settings;
    let request = WatchHealthRequest {
        max_interval: prost_types::Duration::try_from(settings.beat_interval).ok(),
    };
    let mut client = caller.client.clone();
    let opening = async {
        let mut stream = client.watch_health(request).await?.into_inner();
        let first = stream.message().await?;
        Ok((stream, first))
    };
    let deadline = caller.call_deadline();
    match tokio::time::timeout(deadline, opening).await {
        Ok(Ok((stream, Some(first)))) => Ok((stream, first)),
        Ok(Ok((_, None))) => Err(CallError::Malformed(
            "the watch stream ended without a message".to_owned(),
        )),
        Ok(Err(status)) => Err(caller.failure(&status)),
        Err(_) => Err(caller.no_answer(deadline)),
    }
}

impl Followed<'_> {
    async fn run(mut self, first: WatchHealthResponse) -> Ended {
        let mut message = first;
        loop {
            if self.is_flood() {
                let why = format!("more than {FLOOD_MESSAGES} messages within {FLOOD_WINDOW:?}");
                return Ended::Failed(CallError::Malformed(why));
            }
            let Some(watched) = convert::watch_message(message) else {
                return Ended::Failed(CallError::Malformed("health is missing".to_owned()));
            };
            let promise = watched.next_within;
            let reason = watched.reason;
            self.reporter.tell(ProbeEvent::Watched(watched)).await;
            if matches!(reason, WatchReason::Changed | WatchReason::Draining) {
                self.audit.notify_one();
            }
            message = match self.next(promise).await {
                Ok(Some(message)) => message,
                Ok(None) => return Ended::InOrder,
                Err(ended) => return ended,
            };
        }
    }

    /// The next message. A promise that passes makes the probe look by calling; a silence at its
    /// limit gives the stream up.
    async fn next(
        &mut self,
        promise: Option<Duration>,
    ) -> Result<Option<WatchHealthResponse>, Ended> {
        let limit = self.caller.settings.silence_limit;
        let grace = self.caller.stretch.of(PROMISE_GRACE);
        let patience = promise.map_or(limit, |promise| promise.saturating_add(grace));
        let patience = patience.min(limit);
        let received = match tokio::time::timeout(patience, self.stream.message()).await {
            Ok(received) => received,
            Err(_) => {
                self.audit.notify_one();
                let rest = limit.saturating_sub(patience);
                match tokio::time::timeout(rest, self.stream.message()).await {
                    Ok(received) => received,
                    Err(_) => return Err(Ended::Failed(self.caller.no_answer(limit))),
                }
            }
        };
        received.map_err(|status| {
            if is_goodbye(&status) {
                Ended::InOrder
            } else {
                Ended::Failed(self.caller.failure(&status))
            }
        })
    }

    fn is_flood(&mut self) -> bool {
        let now = self.caller.clock.now();
        if now.since(self.window_start) >= FLOOD_WINDOW {
            self.window_start = now.monotonic;
            self.window_messages = 0;
        }
        self.window_messages += 1;
        self.window_messages > FLOOD_MESSAGES
    }
}
