//! Pure. A scenario: how many phones, in which conversations, doing what.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A file under `scenarios/`. Unknown keys are refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What one learns from it, in a sentence.
    pub about: String,
    pub conversations: usize,
    /// Accounts in each conversation; the first of them writes.
    pub accounts: usize,
    /// Subscriptions that each account holds.
    pub sockets: usize,
    /// How long it lasts once everyone is subscribed.
    pub seconds: u64,
    /// Messages a second, over all conversations; none when 0.
    pub rate: f64,
    /// New subscriptions a second while everyone connects.
    pub connect_rate: f64,
    /// Sockets that lose their connection together, and resume.
    pub storm: Option<Storm>,
    /// The share of the sockets that stop reading until the end.
    #[serde(default)]
    pub slow: f64,
    /// Settings of a relay that is started for this scenario.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    pub every_seconds: f64,
    /// The share of the sockets that it hits.
    pub share: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("the scenario is not what it should be: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("{0}")]
    Range(&'static str),
}

impl Scenario {
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Refuses what cannot be run.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let counts = 1..=100_000;
        let share = 0.0..=1.0;
        let storm = self.storm.unwrap_or(Storm {
            every_seconds: 1.0,
            share: 0.0,
        });
        let rules = [
            (
                counts.contains(&self.conversations) && counts.contains(&self.sockets),
                "conversations and sockets are 1 to 100000",
            ),
            (
                (2..=1000).contains(&self.accounts),
                "accounts of a conversation are 2 to 1000",
            ),
            (
                (1..=86_400).contains(&self.seconds),
                "seconds are 1 to 86400",
            ),
            (
                (0.0..=100_000.0).contains(&self.rate),
                "rate is 0 to 100000 a second",
            ),
            (
                (1.0..=100_000.0).contains(&self.connect_rate),
                "connect_rate is 1 to 100000 a second",
            ),
            (
                share.contains(&self.slow) && share.contains(&storm.share),
                "slow and storm.share are 0 to 1",
            ),
            (
                (0.1..=86_400.0).contains(&storm.every_seconds),
                "storm.every_seconds is 0.1 to 86400",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ScenarioError::Range(rule)),
            None => Ok(()),
        }
    }

    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How many messages are due in all.
    pub fn messages(&self) -> usize {
        // In range by `check`, and a fraction of a message is none.
        (self.rate * self.duration().as_secs_f64()) as usize
    }

    pub fn total_sockets(&self) -> usize {
        self.conversations * self.accounts * self.sockets
    }

    /// When the `number`-th message is due, from the start.
    pub fn due(&self, number: usize) -> Duration {
        if self.rate > 0.0 {
            Duration::from_secs_f64(number as f64 / self.rate)
        } else {
            Duration::MAX
        }
    }

    /// Whether the `number`-th socket belongs to this share of all. The members of
    /// a share are spread evenly over the sockets.
    pub fn is_in_share(number: usize, share: f64) -> bool {
        let before = (number as f64 * share).floor();
        let after = ((number + 1) as f64 * share).floor();
        after > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        about = "a test"
        conversations = 2
        accounts = 3
        sockets = 4
        seconds = 10
        rate = 2.5
        connect_rate = 100
        storm = { every_seconds = 2, share = 0.5 }
    "#;

    #[test]
    fn a_scenario_says_how_much_there_is_to_do() {
        let scenario = Scenario::parse(TEXT).unwrap();
        assert_eq!(scenario.messages(), 25);
        assert_eq!(scenario.total_sockets(), 24);
        assert_eq!(scenario.due(5), Duration::from_secs(2));
        assert_eq!(scenario.slow, 0.0);
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused() {
        assert!(Scenario::parse(&format!("{TEXT}\nspeed = 1")).is_err());
        for (from, to) in [
            ("accounts = 3", "accounts = 1"),
            ("share = 0.5", "share = 1.5"),
            ("rate = 2.5", "rate = -1"),
        ] {
            assert!(Scenario::parse(&TEXT.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_share_is_spread_over_all_sockets() {
        let hit: Vec<_> = (0..100)
            .filter(|number| Scenario::is_in_share(*number, 0.25))
            .collect();
        assert_eq!(hit.len(), 25);
        assert!(hit.windows(2).all(|pair| pair[1] - pair[0] == 4));
    }

    #[test]
    fn every_scenario_of_ours_can_be_run() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut found = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            Scenario::parse(&text).unwrap();
            found += 1;
        }
        assert!(found >= 5);
    }
}
