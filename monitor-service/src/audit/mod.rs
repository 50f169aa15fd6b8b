//! The audit: rules over claims and evidence, and the conclusion. Pure: no I/O, no clock.

pub(crate) mod assess;
mod blame;
pub(crate) mod claims;
mod format;
pub(crate) mod peers;
pub(crate) mod rule;
pub(crate) mod rules;
pub(crate) mod settings;
pub(crate) mod track;
pub(crate) mod validation;

#[cfg(test)]
pub(crate) mod testing;
