//! Pure. `[limits]`, continued: penalties, good standing, and the limiter itself.

use super::{Effect, Flag, Key, List, NETWORKS, Number, Rules, Span, Unit};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "limits.penalty_strikes",
        env: "PENALTY_STRIKES",
        effect: Effect::Live,
        doc: "Refusals within limits.penalty_window_seconds that lead into the penalty box.",
        setting: &Number {
            at: |c| &mut c.limits.penalties.strikes,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.penalty_window_seconds",
        env: "PENALTY_WINDOW_SECONDS",
        effect: Effect::Live,
        doc: "The time within which those refusals count together.",
        setting: &Span {
            at: |c| &mut c.limits.penalties.strikes_within,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "limits.penalty_first_seconds",
        env: "PENALTY_FIRST_SECONDS",
        effect: Effect::Live,
        doc: "The first stay in the penalty box; each further one is twice as long.",
        setting: &Span {
            at: |c| &mut c.limits.penalties.first,
            unit: Unit::Seconds,
            least: 1,
            most: 86400,
        },
    },
    Key {
        name: "limits.penalty_most_seconds",
        env: "PENALTY_MOST_SECONDS",
        effect: Effect::Live,
        doc: "The longest stay in the penalty box. A day at most: who stays is known by a hash \
              under the key of the day, and only today's and yesterday's are kept.",
        setting: &Span {
            at: |c| &mut c.limits.penalties.most,
            unit: Unit::Seconds,
            least: 1,
            most: 86400,
        },
    },
    Key {
        name: "limits.penalty_forgiven_seconds",
        env: "PENALTY_FORGIVEN_SECONDS",
        effect: Effect::Live,
        doc: "Good conduct after which the next stay is one step shorter. With the key of the day, \
              at midnight UTC, steps are forgotten anyway.",
        setting: &Span {
            at: |c| &mut c.limits.penalties.forgiven_after,
            unit: Unit::Seconds,
            least: 1,
            most: 86400,
        },
    },
    Key {
        name: "limits.penalty_shared_ms",
        env: "PENALTY_SHARED_MS",
        effect: Effect::Live,
        doc: "How often the nodes tell each other who is in the box.",
        setting: &Span {
            at: |c| &mut c.limits.penalties.shared_every,
            unit: Unit::Millis,
            least: 100,
            most: 600000,
        },
    },
    Key {
        name: "limits.shared_state_away_seconds",
        env: "SHARED_STATE_AWAY_SECONDS",
        effect: Effect::Live,
        doc: "Shared state older than this counts as away.",
        setting: &Span {
            at: |c| &mut c.limits.penalties.away_after,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "limits.good_standing",
        env: "GOOD_STANDING",
        effect: Effect::Live,
        doc: "Whether an account's limits grow with its time without a refusal.",
        setting: &Flag(|c| &mut c.limits.good_standing.enabled),
    },
    Key {
        name: "limits.good_standing_step_hours",
        env: "GOOD_STANDING_STEP_HOURS",
        effect: Effect::Live,
        doc: "Time without a refusal for one step.",
        setting: &Span {
            at: |c| &mut c.limits.good_standing.step_after,
            unit: Unit::Hours,
            least: 1,
            most: 8760,
        },
    },
    Key {
        name: "limits.good_standing_step_percent",
        env: "GOOD_STANDING_STEP_PERCENT",
        effect: Effect::Live,
        doc: "How much one step adds, in percent of the limit.",
        setting: &Number {
            at: |c| &mut c.limits.good_standing.step_percent,
            least: 1,
            most: 1000,
        },
    },
    Key {
        name: "limits.good_standing_most_percent",
        env: "GOOD_STANDING_MOST_PERCENT",
        effect: Effect::Live,
        doc: "The most that all steps add, in percent of the limit.",
        setting: &Number {
            at: |c| &mut c.limits.good_standing.most_percent,
            least: 1,
            most: 10000,
        },
    },
    Key {
        name: "limits.ip_keys_max",
        env: "LIMIT_IP_KEYS_MAX",
        effect: Effect::Restart,
        doc: "Addresses that the limiter remembers, one entry for each rule they met; about 43 bytes each, from the start.",
        setting: &Number {
            at: |c| &mut c.limits.tables.ip_keys,
            least: 1000,
            most: 100000000,
        },
    },
    Key {
        name: "limits.did_keys_max",
        env: "LIMIT_DID_KEYS_MAX",
        effect: Effect::Restart,
        doc: "Accounts, one for each rule they met, that the limiter remembers.",
        setting: &Number {
            at: |c| &mut c.limits.tables.did_keys,
            least: 1000,
            most: 100000000,
        },
    },
    Key {
        name: "limits.penalties_max",
        env: "LIMIT_PENALTIES_MAX",
        effect: Effect::Live,
        doc: "Offenders that are remembered; and a tenth as many that the other nodes have yet to \
              hear of.",
        setting: &Number {
            at: |c| &mut c.limits.tables.penalties,
            least: 100,
            most: 10000000,
        },
    },
    Key {
        name: "limits.idle_seconds",
        env: "LIMIT_IDLE_SECONDS",
        effect: Effect::Live,
        doc: "An entry of the limiter leaves after this long without an admission.",
        setting: &Span {
            at: |c| &mut c.limits.tables.idle_after,
            unit: Unit::Seconds,
            least: 60,
            most: 86400,
        },
    },
    Key {
        name: "limits.sweep_seconds",
        env: "LIMIT_SWEEP_SECONDS",
        effect: Effect::Live,
        doc: "How often idle entries are looked for.",
        setting: &Span {
            at: |c| &mut c.limits.tables.sweep_every,
            unit: Unit::Seconds,
            least: 1,
            most: 86400,
        },
    },
    Key {
        name: "limits.blind_key_hours",
        env: "BLIND_KEY_HOURS",
        effect: Effect::Live,
        doc: "How long the key that hides addresses and accounts in the limiter's tables is used.",
        setting: &Span {
            at: |c| &mut c.limits.tables.blind_key_for,
            unit: Unit::Hours,
            least: 1,
            most: 8760,
        },
    },
    Key {
        name: "limits.dry_run",
        env: "LIMITS_DRY_RUN",
        effect: Effect::Live,
        doc: "Rules that only count what they would have refused; docs/rate-limiting.md names \
              them.",
        setting: &Rules(|c| &mut c.limits.dry_run),
    },
    Key {
        name: "limits.exempt",
        env: "LIMITS_EXEMPT",
        effect: Effect::Live,
        doc: "Networks that no rule by address applies to, such as a monitor's.",
        setting: &List {
            at: |c| &mut c.limits.exempt,
            allowed: NETWORKS,
        },
    },
];

#[cfg(test)]
mod tests {
    use crate::config::{Config, Source};

    #[test]
    fn no_stay_may_be_longer_than_its_subject_is_surely_known() {
        for name in ["PENALTY_MOST_SECONDS", "PENALTY_FORGIVEN_SECONDS"] {
            let with = |seconds: &str| {
                Config::load(&Source {
                    environment: [(name.to_owned(), seconds.to_owned())].into(),
                    ..Source::default()
                })
            };
            assert!(with("86400").is_ok(), "{name}");
            assert!(with("86401").is_err(), "{name}");
        }
    }
}
