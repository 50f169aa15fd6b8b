//! Rules that are not asked, because whoever runs the monitor said so.

use super::rules::RULES;

/// A set of rules, by their place in [`RULES`]; there are at most 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disabled(u64);

impl Disabled {
    /// Reads rule ids that are separated by commas; empty: none.
    ///
    /// # Errors
    /// One sentence, where there is no rule of that id.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
        ids.try_fold(Self::default(), |set, id| match place(id) {
            Some(place) => Ok(Self(set.0 | 1 << place)),
            None => {
                let known: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
                let known = known.join(", ");
                Err(format!("{id:?} is no rule; allowed are {known}"))
            }
        })
    }

    /// Whether a rule is not asked.
    pub(crate) fn contains(self, id: &str) -> bool {
        place(id).is_some_and(|place| self.0 & 1 << place != 0)
    }
}

fn place(id: &str) -> Option<usize> {
    RULES.iter().position(|rule| rule.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_named_by_their_ids() {
        let set = Disabled::parse("black_hole, tool_stuck").unwrap();
        assert!(set.contains("black_hole") && set.contains("tool_stuck"));
        assert!(!set.contains("event_loss"));
        assert_eq!(Disabled::parse(""), Ok(Disabled::default()));
    }

    #[test]
    fn what_is_no_rule_is_refused_and_says_what_is() {
        let error = Disabled::parse("black_hole,nonsense").unwrap_err();
        assert!(
            error.contains("\"nonsense\"") && error.contains("event_loss"),
            "{error}"
        );
    }

    #[test]
    fn every_rule_has_its_bit() {
        assert!(RULES.len() <= 64);
        let all: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
        let all = Disabled::parse(&all.join(",")).unwrap();
        assert!(RULES.iter().all(|rule| all.contains(rule.id)));
    }
}
