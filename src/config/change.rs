//! Pure. From the configuration in force to a new one, as far as a process can follow
//! while it runs.

use super::fault::{Fault, Faults, Place};
use super::key::{Effect, Key};
use super::{Config, keys, rules};

/// What a reload does.
#[derive(Clone, Debug)]
pub struct Change {
    /// The configuration that is in force after it: the new one, but with the old
    /// value of each key that needs a restart.
    pub config: Config,
    /// Keys that have another value from now on.
    pub applied: Vec<&'static Key>,
    /// Keys whose new value waits for a restart.
    pub waiting: Vec<&'static Key>,
}

impl Change {
    /// What it takes to go from the configuration in force to the one that is wanted.
    /// Faults, if what can be followed breaks a rule together with what cannot.
    pub fn between(in_force: &Config, wanted: &Config) -> Result<Self, Faults> {
        let mut config = wanted.clone();
        let (mut applied, mut waiting) = (Vec::new(), Vec::new());
        for key in keys().filter(|key| !key.is_same(in_force, wanted)) {
            if key.effect == Effect::Restart {
                key.setting.carry(in_force, &mut config);
                waiting.push(key);
            } else {
                applied.push(key);
            }
        }
        let broken = rules::broken(&config).into_iter().map(|(keys, problem)| {
            let key = keys.first().copied().unwrap_or_default();
            Fault::new(Place::Default, key, format!("until a restart: {problem}"))
        });
        Faults::found(broken.collect())?;
        Ok(Self {
            config,
            applied,
            waiting,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::TicketSecret;

    fn names(keys: &[&'static Key]) -> Vec<&'static str> {
        keys.iter().map(|key| key.name).collect()
    }

    #[test]
    fn what_needs_a_restart_keeps_its_value_and_is_listed_until_then() {
        let in_force = Config::default();
        let mut wanted = in_force.clone();
        wanted.edge.listen = ([127, 0, 0, 1], 1).into();
        wanted.limits.calls.send_message = 7;
        let change = Change::between(&in_force, &wanted).unwrap();
        assert_eq!(names(&change.applied), ["limits.send_message"]);
        assert_eq!(names(&change.waiting), ["edge.listen"]);
        assert_eq!(change.config.edge.listen, in_force.edge.listen);
        assert_eq!(change.config.limits.calls.send_message, 7);
        // The same file again: nothing new, and the same still waits.
        let again = Change::between(&change.config, &wanted).unwrap();
        assert!(again.applied.is_empty());
        assert_eq!(names(&again.waiting), ["edge.listen"]);
    }

    #[test]
    fn a_secret_that_changes_is_seen_although_it_is_shown_alike() {
        let mut in_force = Config::default();
        in_force.auth.ticket_secret = Some(TicketSecret::new([1; 32]));
        let mut wanted = in_force.clone();
        wanted.auth.ticket_secret = Some(TicketSecret::new([2; 32]));
        let change = Change::between(&in_force, &wanted).unwrap();
        assert_eq!(names(&change.waiting), ["auth.ticket_secret"]);
    }

    #[test]
    fn a_rule_that_only_a_restart_would_keep_is_a_fault() {
        let mut in_force = Config::default();
        in_force.edge.plain_listen = Some(([127, 0, 0, 1], 1).into());
        in_force.edge.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let faults = Change::between(&in_force, &Config::default()).unwrap_err();
        assert!(
            faults
                .to_string()
                .starts_with("edge.plain_listen: until a restart")
        );
    }
}
