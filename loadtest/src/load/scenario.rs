//! Pure. A scenario: how many phones, in which conversations, doing what.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::raised_limits;

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
    /// Who disturbs the others.
    pub abuse: Option<Abuse>,
    /// What a relay that is started for this scenario does with its limits.
    #[serde(default)]
    pub limits: Limits,
    /// More settings of such a relay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// How long the relay's memory has to settle when everyone has come, and gone:
    /// allocators give memory back after a second or so.
    #[serde(default = "settle_seconds")]
    pub settle_seconds: f64,
}

/// Whether a load meets the relay's limits.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limits {
    /// Out of the way, since a load is few accounts that do much.
    #[default]
    Raised,
    /// As they are by default.
    Standing,
}

/// Hostile clients, each kind at an address and with an account of its own. Rates are
/// attempts a second; 0 leaves the kind out.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Abuse {
    /// For how long the honest are alone first, for comparison.
    pub calm_seconds: f64,
    /// Connections that never begin TLS.
    pub connections: f64,
    /// Calls with tokens signed by a key that is not the account's.
    pub bad_tokens: f64,
    /// Calls with bodies that say they are 64 MiB long.
    pub bodies: f64,
    /// Subscriptions of one account, which keeps what it gets.
    pub sockets: f64,
    /// Frames on one socket.
    pub frames: f64,
}

fn settle_seconds() -> f64 {
    3.0
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
    #[error(transparent)]
    Syntax(#[from] toml::de::Error),
    #[error("{field} is {value}: it may be {low} to {high}")]
    Range {
        field: &'static str,
        value: f64,
        low: f64,
        high: f64,
    },
    #[error("abuse.calm_seconds is {calm}: it must be less than seconds, which is {seconds}")]
    NoAttack { calm: f64, seconds: u64 },
}

impl Scenario {
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Refuses what cannot be run.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let own = [
            ("conversations", self.conversations as f64, 1.0, 1e5),
            ("accounts", self.accounts as f64, 2.0, 1000.0),
            ("sockets", self.sockets as f64, 1.0, 1e5),
            ("seconds", self.seconds as f64, 1.0, 86_400.0),
            ("rate", self.rate, 0.0, 1e5),
            ("rate * seconds", self.messages() as f64, 0.0, 1e8),
            ("connect_rate", self.connect_rate, 1.0, 1e5),
            ("slow", self.slow, 0.0, 1.0),
            ("settle_seconds", self.settle_seconds, 0.0, 600.0),
        ];
        let storm = self.storm.map(|storm| {
            [
                ("storm.every_seconds", storm.every_seconds, 0.1, 86_400.0),
                ("storm.share", storm.share, 0.0, 1.0),
            ]
        });
        let abuse = self.abuse.map(|abuse| {
            [
                ("abuse.calm_seconds", abuse.calm_seconds, 0.0, 86_400.0),
                ("abuse.connections", abuse.connections, 0.0, 1e5),
                ("abuse.bad_tokens", abuse.bad_tokens, 0.0, 1e5),
                ("abuse.bodies", abuse.bodies, 0.0, 1e5),
                ("abuse.sockets", abuse.sockets, 0.0, 1e5),
                ("abuse.frames", abuse.frames, 0.0, 1e5),
            ]
        });
        let nested = storm
            .into_iter()
            .flatten()
            .chain(abuse.into_iter().flatten());
        for (field, value, low, high) in own.into_iter().chain(nested) {
            if !(low..=high).contains(&value) {
                return Err(ScenarioError::Range {
                    field,
                    value,
                    low,
                    high,
                });
            }
        }
        let seconds = self.seconds;
        match self.abuse.map(|abuse| abuse.calm_seconds) {
            Some(calm) if calm >= seconds as f64 => Err(ScenarioError::NoAttack { calm, seconds }),
            _ => Ok(()),
        }
    }

    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub fn settle(&self) -> Duration {
        Duration::from_secs_f64(self.settle_seconds)
    }

    /// The settings of a relay that is started for this scenario.
    pub fn relay_environment(&self) -> Vec<(String, String)> {
        let mut environment = match self.limits {
            Limits::Raised => raised_limits(),
            Limits::Standing => Vec::new(),
        };
        environment.extend(self.environment.clone());
        environment
    }

    /// How many messages are due in all.
    pub fn messages(&self) -> usize {
        // In range by `check`, and a fraction of a message is none.
        (self.rate * self.duration().as_secs_f64()) as usize
    }

    pub fn total_sockets(&self) -> usize {
        self.conversations * self.accounts * self.sockets
    }

    /// How many hear each message.
    pub fn sockets_of_a_conversation(&self) -> u64 {
        (self.accounts * self.sockets) as u64
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
        abuse = { calm_seconds = 3, connections = 1, bad_tokens = 1, bodies = 1, sockets = 1, frames = 1 }
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
    fn limits_stand_where_a_scenario_says_so() {
        let raised = Scenario::parse(TEXT).unwrap().relay_environment();
        assert_eq!(raised, raised_limits());
        let text = format!("limits = \"standing\"\nenvironment = {{ A = \"1\" }}\n{TEXT}");
        let standing = Scenario::parse(&text).unwrap().relay_environment();
        assert_eq!(standing, [("A".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused() {
        assert!(Scenario::parse(&format!("{TEXT}\nspeed = 1")).is_err());
        for (from, to, said) in [
            ("accounts = 3", "accounts = 1", "accounts is 1: it may be 2"),
            (
                "share = 0.5",
                "share = 1.5",
                "storm.share is 1.5: it may be 0",
            ),
            (
                "rate = 2.5",
                "rate = -1",
                "rate is -1: it may be 0 to 100000",
            ),
            ("rate = 2.5", "rate = nan", "rate is NaN"),
            (
                "seconds = 10\n        rate = 2.5",
                "seconds = 86400\nrate = 1e5",
                "rate * seconds is 8640000000: it may be 0 to 100000000",
            ),
            ("bodies = 1", "bodies = -1", "abuse.bodies is -1"),
            ("calm_seconds = 3", "calm_seconds = 10", "less than seconds"),
        ] {
            let error = Scenario::parse(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
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
}
