//! The guard at a door: it knows who is known now, and is told when that changes.

use std::future::Future;
use std::sync::Arc;

use axum::http::{Extensions, HeaderMap};
use tokio::sync::watch;

use super::control::{Lapse, lapsed};
use super::{Access, Identity, Refusal, bearer, host};
use crate::accept::Peer;
use crate::clock::Clock;

/// The guard of one door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    /// `None`: the door stands open.
    access: Option<watch::Receiver<Arc<Access>>>,
    /// Whether this machine must be called by a name of its own while the door stands open.
    own_name: bool,
    clock: Clock,
}

impl Guard {
    /// A door through which whoever is known may come.
    #[must_use]
    pub fn new(access: watch::Receiver<Arc<Access>>, clock: Clock) -> Self {
        Self {
            access: Some(access),
            own_name: false,
            clock,
        }
    }

    /// A door that stands open: everybody may do everything.
    #[must_use]
    pub fn open(clock: Clock) -> Self {
        Self {
            access: None,
            own_name: false,
            clock,
        }
    }

    /// The same door; while it stands open, and where this is true, not for whoever calls this
    /// machine by a name that others can have.
    #[must_use]
    pub fn by_own_name(self, own_name: bool) -> Self {
        Self { own_name, ..self }
    }

    /// Whether a request may come in by the name that it calls this machine by. Of other names than
    /// the machine's own the `known` may be used too. Through a door that is closed a page of any
    /// name gets nowhere: it has nothing to show.
    ///
    /// # Errors
    /// The host, and what is allowed.
    pub fn check_host(
        &self,
        headers: &HeaderMap,
        known: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        if self.own_name && !self.is_closed() {
            host::check(headers, known)
        } else {
            Ok(())
        }
    }

    /// Whether somebody has to show who they are.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.access.is_some()
    }

    /// Who this request is of; `None` where nobody needs to be known.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn identify_request(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<Arc<Identity>>, Refusal> {
        if !self.is_closed() {
            return Ok(None);
        }
        let token = bearer(headers)?;
        self.identify(token, extensions.get::<Peer>())
    }

    /// Who shows this; `None` where nobody needs to be known.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn identify(
        &self,
        token: Option<&str>,
        peer: Option<&Peer>,
    ) -> Result<Option<Arc<Identity>>, Refusal> {
        let Some(access) = &self.access else {
            return Ok(None);
        };
        let certificate = peer.and_then(|peer| peer.certificate.as_deref());
        let access = access.borrow().clone();
        access
            .identify(token, certificate, self.clock.now().wall)
            .map(Some)
    }

    /// Ends when what this identity has shown holds no longer; `None`, who nobody needs to know,
    /// has shown nothing that could lapse.
    pub fn lapse(
        &self,
        identity: impl Into<Option<Arc<Identity>>>,
    ) -> impl Future<Output = Lapse> + Send + 'static {
        let (access, clock) = (self.access.clone(), self.clock);
        let identity = identity.into();
        async move {
            match access.zip(identity) {
                Some((access, identity)) => lapsed(access, clock, identity).await,
                None => std::future::pending().await,
            }
        }
    }
}
