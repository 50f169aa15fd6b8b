//! Waiting for a condition, never for a while.

use std::future::Future;
use std::time::Duration;

use service_kit::clock::Clock;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(25);

/// Looks again and again until `look` answers `Ok`, and returns its value. `Err` is what was seen
/// instead; the last one is shown where the deadline passes.
pub async fn eventually<T, F, L>(deadline: Duration, what: &str, mut look: F) -> T
where
    F: FnMut() -> L,
    L: Future<Output = Result<T, String>>,
{
    let mut last = "nothing: the first look did not come back".to_owned();
    let looking = async {
        loop {
            match look().await {
                Ok(value) => return value,
                Err(seen) => last = seen,
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    let found = tokio::time::timeout(deadline, looking).await;
    found.unwrap_or_else(|_| panic!("not within {deadline:?}: {what}; last seen: {last}"))
}

/// As [`eventually`], and says how long it took.
pub async fn time_until<T, F, L>(deadline: Duration, what: &str, look: F) -> (T, Duration)
where
    F: FnMut() -> L,
    L: Future<Output = Result<T, String>>,
{
    let begin = Clock::system().now();
    let value = eventually(deadline, what, look).await;
    (value, Clock::system().now().since(begin.monotonic))
}

/// `Ok` where the condition holds, and otherwise what was seen.
///
/// # Errors
/// The text of `seen`, where the condition does not hold.
pub fn holds(condition: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if condition {
        Ok(())
    } else {
        Err(format!("{seen:?}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn returns_as_soon_as_the_condition_holds() {
        let looks = AtomicU32::new(0);
        let value = eventually(Duration::from_secs(5), "three looks", || async {
            let look = looks.fetch_add(1, Ordering::Relaxed) + 1;
            holds(look == 3, look).map(|()| look)
        });
        assert_eq!(value.await, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 1s: a blue moon; last seen: \"grey\"")]
    async fn says_what_was_seen_last() {
        eventually(Duration::from_secs(1), "a blue moon", || async {
            holds(false, "grey")
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the first look did not come back")]
    async fn a_look_that_hangs_is_cut() {
        eventually(Duration::from_secs(1), "an answer", || async {
            std::future::pending::<Result<(), String>>().await
        })
        .await;
    }
}
