//! Maintenance windows: trouble that somebody expects.

use std::time::{Duration, Instant, SystemTime};

use service_kit::clock::Now;

use super::api::FleetError;
use super::component::Component;
use super::state::FleetState;
use crate::incident::Changes;

/// An open window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Maintenance {
    until: Instant,
    /// The same on the wall clock, to show.
    pub(super) end_time: SystemTime,
}

impl FleetState {
    /// Opens a window, or replaces the one that is open; says when it ends.
    ///
    /// # Errors
    /// [`FleetError::NotRegistered`].
    pub(crate) fn start_maintenance(
        &mut self,
        component_id: &str,
        duration: Duration,
        now: Now,
    ) -> Result<SystemTime, FleetError> {
        let component = self.registered(component_id)?;
        let end = now.later(duration);
        component.maintenance = Some(Maintenance {
            until: end.monotonic,
            end_time: end.wall,
        });
        Ok(end.wall)
    }

    /// Ends a window early.
    ///
    /// # Errors
    /// [`FleetError::NotRegistered`] or [`FleetError::NoMaintenance`].
    pub(crate) fn end_maintenance(&mut self, component_id: &str) -> Result<(), FleetError> {
        let component = self.registered(component_id)?;
        if component.maintenance.is_none() {
            return Err(FleetError::NoMaintenance(component_id.to_owned()));
        }
        let changes = component.leave_maintenance();
        self.publish(changes);
        Ok(())
    }

    fn registered(&mut self, component_id: &str) -> Result<&mut Component, FleetError> {
        let component = self.components.get_mut(component_id);
        let component = component.map(|component| &mut **component);
        component.ok_or_else(|| FleetError::NotRegistered(component_id.to_owned()))
    }
}

impl Component {
    /// Whether the window's time is over.
    pub(super) fn maintenance_over(&self, now: Now) -> bool {
        let over = |window: Maintenance| window.until <= now.monotonic;
        self.maintenance.is_some_and(over)
    }

    /// Closes the window; what is still open was not the maintenance.
    pub(super) fn leave_maintenance(&mut self) -> Changes {
        self.maintenance = None;
        self.dirty = true;
        let mut changes = Changes::default();
        self.incidents.announce(&mut changes);
        changes
    }
}
