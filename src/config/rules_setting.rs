//! Pure. A set of limiter rules, by their names.

use super::Config;
use super::setting::{At, NotAllowed, Raw, Setting};
use crate::limits::{Rule, RuleSet};

/// Which of the limiter's rules are meant.
pub(super) struct Rules(pub(super) At<RuleSet>);

impl Setting for Rules {
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        let names = raw.list()?;
        let rules = names
            .into_iter()
            .map(|name| Rule::parse(name).ok_or(NotAllowed));
        *(self.0)(config) = rules.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        let set = *(self.0)(config);
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
