//! Pure. A set of limiter rules, by their names.

use super::setting::{At, Kind, NotAllowed, Raw};
use crate::limits::{Rule, RuleSet};

/// Which of the limiter's rules are meant.
pub(super) struct Rules(pub(super) At<RuleSet>);

impl Kind for Rules {
    type Value = RuleSet;

    fn at(&self) -> At<RuleSet> {
        self.0
    }

    fn parse(&self, raw: &Raw) -> Result<RuleSet, NotAllowed> {
        let names = raw.list()?.into_iter();
        names
            .map(|name| Rule::parse(name).ok_or(NotAllowed))
            .collect()
    }

    fn show(&self, set: &RuleSet) -> Option<String> {
        let names: Vec<_> = Rule::ALL
            .iter()
            .filter(|rule| set.contains(**rule))
            .map(|rule| format!("\"{}\"", rule.name()))
            .collect();
        Some(format!("[{}]", names.join(", ")))
    }

    fn allowed(&self) -> String {
        let names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        format!("any of {}", names.join(", "))
    }
}
