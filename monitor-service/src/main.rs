//! Audits Monitorable endpoints: what they claim beside what witnesses saw.

mod domain;
mod fleet;

fn main() {}
