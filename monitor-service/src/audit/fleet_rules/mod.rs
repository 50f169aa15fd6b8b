//! The rules about the monitor itself, one file each: what no single component can show. A new
//! rule is a file and a line in this list. Their findings are on the monitor's own id.

use std::time::Instant;

use service_kit::clock::Now;

use super::alert_path::AlertPath;
use super::local_health::LocalHealth;
use super::rule::{Origin, Outcome, Part};
use super::settings::FleetRuleSettings;
use crate::domain::{ComponentId, Severity};

/// One way in which the monitor itself can fail.
pub(crate) struct FleetRule {
    /// Stable: it is public, and names the page in the docs.
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    /// What is wrong where it is broken, in a few words.
    pub(crate) summary: &'static str,
    pub(crate) check: fn(&FleetView<'_>, &FleetRuleSettings, Now) -> Outcome,
}

impl FleetRule {
    pub(crate) const fn origin(&self) -> Origin {
        Origin {
            has_waited: false,
            rule_id: self.id,
            severity: self.severity,
            part: Part::Claims,
        }
    }
}

/// A component in trouble, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) component_id: ComponentId,
    pub(crate) since: Instant,
}

/// What these rules are shown. Components that never answered, that drain, or that are in
/// maintenance are not counted at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FleetView<'a> {
    /// Components that answered and still do.
    pub(crate) fine: usize,
    /// Components that answered and do not now, oldest trouble first.
    pub(crate) troubles: &'a [Trouble],
    /// Whether the monitor doubts its own sight already.
    pub(crate) blind: bool,
    pub(crate) local_health: &'a LocalHealth,
    pub(crate) alert_path: &'a AlertPath,
    /// Since when the monitor has been awake.
    pub(crate) awake_since: Instant,
}

/// Declares the rules' files and gathers their `RULE`s.
macro_rules! rules {
    ($($file:ident,)*) => {
        $(pub(crate) mod $file;)*
        /// Every rule about the monitor, in the order in which they are asked.
        pub(crate) const FLEET_RULES: &[FleetRule] = &[$($file::RULE,)*];
    };
}

rules! {
    observer_blind,
    alert_path_dead,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::audit::rules::RULES;

    #[test]
    fn ids_are_unique_and_every_rule_says_what_it_is() {
        let own = FLEET_RULES.iter().map(|rule| rule.id);
        let ids: BTreeSet<_> = own.chain(RULES.iter().map(|rule| rule.id)).collect();
        assert_eq!(ids.len(), FLEET_RULES.len() + RULES.len());
        for rule in FLEET_RULES {
            assert!(!rule.summary.is_empty(), "{}", rule.id);
        }
    }
}
