//! How long a reader that has shown who it is may go on, and how it shows that anew.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use service_kit::access::{Guard, Identity, Lapse};

use crate::edge::access::may_read;
use crate::edge::sse::close_reason;
use crate::hub::event::CloseReason;

/// One reader's session. Boxed, and only there where a door is closed.
pub(super) struct Session {
    guard: Guard,
    thread_id: String,
    lapse: Pin<Box<dyn Future<Output = Lapse> + Send>>,
}

impl Session {
    pub(super) fn begin(guard: &Guard, identity: Arc<Identity>, thread_id: &str) -> Self {
        Self {
            guard: guard.clone(),
            thread_id: thread_id.to_owned(),
            lapse: Box::pin(guard.lapse(identity)),
        }
    }

    /// Ends when what was shown last holds no longer.
    pub(super) async fn lapsed(&mut self) -> CloseReason {
        close_reason(self.lapse.as_mut().await)
    }

    /// Goes on with another token.
    ///
    /// # Errors
    /// Why the reader must go: the token is not known, or not for this thread.
    pub(super) fn renew(&mut self, token: &str) -> Result<(), CloseReason> {
        let identity = self.guard.identify(Some(token), None).map_err(|refusal| {
            tracing::info!(%refusal, "a reader is not known any more");
            CloseReason::Unauthenticated
        })?;
        let Some(identity) = identity else {
            return Ok(());
        };
        may_read(&identity, &self.thread_id).map_err(|denied| {
            tracing::info!(%denied, "a reader was refused");
            CloseReason::Forbidden
        })?;
        self.lapse = Box::pin(self.guard.lapse(identity));
        Ok(())
    }
}
