//! The audit: rules over claims and evidence, and the conclusion. Pure: no I/O, no clock.

pub(crate) mod alert_path;
pub(crate) mod assess;
mod blame;
pub(crate) mod canary;
pub(crate) mod claims;
pub(crate) mod deliveries;
pub(crate) mod disabled;
pub(crate) mod fleet_rules;
pub(crate) mod format;
pub(crate) mod local_health;
pub(crate) mod peers;
pub(crate) mod rule;
pub(crate) mod rules;
pub(crate) mod settings;
pub(crate) mod track;
pub(crate) mod validation;

#[cfg(test)]
pub(crate) mod testing;

/// What a rule finds, in a few words. Empty: there is no such rule.
pub(crate) fn summary_of(rule_id: &str) -> &'static str {
    let components = rules::RULES.iter().map(|rule| (rule.id, rule.summary));
    let own = fleet_rules::FLEET_RULES.iter();
    let mut all = components.chain(own.map(|rule| (rule.id, rule.summary)));
    all.find(|(id, _)| *id == rule_id)
        .map_or("", |(_, summary)| summary)
}
