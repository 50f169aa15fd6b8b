//! What a rule is: one question to the claims and the evidence of one component.

use std::time::Instant;

use service_kit::clock::Now;

use super::canary::Canary;
use super::claims::Claims;
use super::peers::Peers;
use super::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::Evidence;
use crate::evidence::loss::Losses;

/// One class of failure, and how to see it.
pub(crate) struct Rule {
    /// Stable: it is public, and names the page in the docs.
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    /// What is wrong where it is broken, in a few words.
    pub(crate) summary: &'static str,
    pub(crate) part: Part,
    /// Whether it can say something while nobody answers. The others wait: an outage is one
    /// cause, and one finding.
    pub(crate) judges_outage: bool,
    /// Whether its own thresholds have let time pass, or several signs come, before it says
    /// anything: then a finding need not wait for more.
    pub(crate) has_waited: bool,
    pub(crate) check: fn(&View<'_>, &RuleSettings, Now) -> Outcome,
}

/// What a finding takes from the rule that found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) rule_id: &'static str,
    pub(crate) severity: Severity,
    pub(crate) part: Part,
    pub(crate) has_waited: bool,
}

impl Rule {
    pub(crate) const fn origin(&self) -> Origin {
        Origin {
            rule_id: self.id,
            severity: self.severity,
            part: self.part,
            has_waited: self.has_waited,
        }
    }
}

/// Which part of an audit a rule's findings belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Claims,
    Evidence,
    /// The monitor's own runs.
    Canary,
}

/// What the rules are shown of one component.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) claims: &'a Claims,
    pub(crate) evidence: &'a Evidence,
    pub(crate) losses: &'a Losses,
    /// Since when the monitor itself has been awake: what it slept through is nobody's silence.
    pub(crate) awake_since: Instant,
    /// The id that it has to claim. `None`: it is not registered.
    pub(crate) registered: Option<&'a str>,
    /// How the other components fare.
    pub(crate) peers: &'a Peers,
    /// The monitor's own runs through it. `None`: none is sent, or none has ended yet.
    pub(crate) canary: Option<&'a Canary>,
}

/// A rule's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every subject that breaks it; the others are fine.
    Decided(Vec<Violation>),
    /// It cannot tell, and why.
    Undecided(&'static str),
    /// The same as `Decided`, and no worse than a warning, whatever the rule's own severity.
    Mild(Vec<Violation>),
}

impl Outcome {
    /// Nothing breaks the rule.
    pub(crate) const fn clear() -> Self {
        Self::Decided(Vec::new())
    }

    /// How bad its violations are, by the rule's own severity.
    pub(crate) fn severity(&self, of_rule: Severity) -> Severity {
        match self {
            Self::Mild(_) => of_rule.min(Severity::Warning),
            Self::Decided(_) | Self::Undecided(_) => of_rule,
        }
    }

    /// The component as a whole breaks it.
    pub(crate) fn broken(violation: Violation) -> Self {
        Self::Decided(vec![violation])
    }
}

/// A subject that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Empty: the component as a whole.
    pub(crate) subject: String,
    /// One sentence with the observed and the allowed value.
    pub(crate) message: String,
    /// Newest first; at least one.
    pub(crate) evidence: Vec<EvidenceItem>,
    /// Whether it needs no second kind of evidence.
    pub(crate) conclusive: bool,
}

/// Subjects that one rule names at once: more than findings may be open.
pub(crate) const SUBJECTS_MAX: usize = 1_000;
