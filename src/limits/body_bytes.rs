//! Layer 3, continued: bytes that an account sends in the bodies of its calls, which are all
//! that it can have the relay store.

use std::time::Duration;

use super::{Blind, Decision, Inner, LimitError, Limits, Names, Rule, Settings};
use crate::types::Did;

impl Limits {
    /// Whether a body of so many bytes, which this account has announced, may come. Spends
    /// nothing: it may never arrive.
    pub fn check_body(&self, did: &Did, bytes: u64) -> Result<(), LimitError> {
        let inner = &*self.inner;
        let settings = inner.settings.load();
        // Where the rule only counts, it counts what has come.
        if settings.dry_run.contains(RULE) {
            return Ok(());
        }
        let (names, now) = (inner.body_names(&settings, did), inner.clock.exact_tick());
        let budget = inner.accounts.budget(names, now);
        inner.judge_body(&settings, did, |per_minute| {
            let mut tried = budget;
            tried.spend(0, bytes, per_minute)
        })
    }

    /// Counts a body of this account that has come.
    pub fn charge_body(&self, did: &Did, bytes: u64) -> Result<(), LimitError> {
        let inner = &*self.inner;
        let settings = inner.settings.load();
        let (current, previous) = inner.body_names(&settings, did);
        let now = inner.clock.exact_tick();
        let names = || Names {
            current,
            previous,
            // Accounts have no networks: those without room share by chance.
            wide: || current,
        };
        let spend = |per_minute| inner.accounts.spend(names(), now, bytes, per_minute);
        inner.judge_body(&settings, did, spend)
    }
}

impl Inner {
    /// What the account's budget is called, and was under the key before.
    fn body_names(&self, settings: &Settings, did: &Did) -> (Blind, Option<Blind>) {
        self.account_names(settings, RULE as u8, did)
    }

    /// Judges a body by what its account may send in a minute: by a judge who knows how many
    /// microseconds it takes until there is enough.
    fn judge_body(
        &self,
        settings: &Settings,
        did: &Did,
        judge: impl Fn(u64) -> Result<(), u64>,
    ) -> Result<(), LimitError> {
        let plain = u64::from(settings.calls.body_bytes);
        let bonus = self.bonus(settings, &self.keys.load().keys, did);
        let Err(wait_us) = judge(plain * (100 + u64::from(bonus)) / 100) else {
            return Ok(());
        };
        if !settings.enforces(RULE) {
            return Ok(());
        }
        self.lapse(did);
        // With this refusal its good standing is gone, so it waits for the plain budget.
        let wait_us = judge(plain).err().unwrap_or(wait_us);
        let refused = LimitError::Reached {
            rule: RULE,
            retry_after: Duration::from_millis(wait_us.div_ceil(1_000)),
        };
        let decision = Decision::unlimited(RULE, settings.quota(RULE)).refused_by(refused);
        let subject = self.account_subject(did);
        self.strike(settings, subject, decision).admit()
    }

    /// Until the account may send a body of any size, if it sends none before.
    pub(super) fn body_wait(&self, settings: &Settings, did: &Did) -> Duration {
        if settings.dry_run.contains(RULE) {
            return Duration::ZERO;
        }
        let names = self.body_names(settings, did);
        let budget = self.accounts.budget(names, self.clock.exact_tick());
        let (_, whole_us) = budget.left(0, settings.calls.body_bytes.into());
        Duration::from_millis(whole_us.div_ceil(1_000))
    }
}

const RULE: Rule = Rule::BodyBytes;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Clock;
    use crate::runtime::Live;
    use crate::types::Nsid;

    const MIB: u64 = 1 << 20;
    const MINUTE: Duration = Duration::from_secs(60);

    fn limits(change: impl FnOnce(&mut Settings)) -> Limits {
        let mut settings = Settings::default();
        change(&mut settings);
        Limits::new(Live::new(settings), Clock::manual())
    }

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    /// How many bodies of this size pass at once.
    fn passed(limits: &Limits, did: &Did, bytes: u64) -> usize {
        let sends = |_: &usize| {
            limits.check_body(did, bytes).is_ok() && limits.charge_body(did, bytes).is_ok()
        };
        (0..1_000).take_while(sends).count()
    }

    #[test]
    fn nine_photographs_of_the_largest_size_pass_and_whoever_waits_as_told_gets_in() {
        let (limits, alice) = (limits(|_| {}), did("alice"));
        // Ten MiB in base64, and some room.
        let photograph = 14 * MIB;
        for _ in 0..3 {
            assert_eq!(passed(&limits, &alice, photograph), 9);
            let announced = limits.check_body(&alice, photograph).unwrap_err();
            let sent = limits.charge_body(&alice, photograph).unwrap_err();
            assert_eq!(announced, sent, "in the head or in pieces");
            limits
                .clock()
                .advance(sent.retry_after() - Duration::from_millis(1));
            assert!(limits.check_body(&alice, photograph).is_err());
            limits.clock().advance(Duration::from_millis(1));
            assert!(limits.check_body(&alice, photograph).is_ok());
            assert!(limits.charge_body(&alice, photograph).is_ok());
            assert!(limits.check_body(&did("bob"), photograph).is_ok());
            limits.clock().advance(MINUTE);
        }
    }

    #[test]
    fn what_was_announced_and_did_not_come_costs_nothing() {
        let (limits, alice) = (limits(|_| {}), did("alice"));
        for _ in 0..100 {
            assert!(limits.check_body(&alice, 14 * MIB).is_ok());
        }
        assert_eq!(passed(&limits, &alice, MIB), 128);
    }

    #[test]
    fn accounts_that_find_no_room_in_the_table_are_limited_together() {
        let limits = limits(|settings| settings.tables.did_keys = 0);
        for nth in 0..15 {
            limits.charge_body(&did(&nth.to_string()), 1).unwrap();
        }
        assert_eq!(passed(&limits, &did("alice"), 64 * MIB), 16 * 2);
    }

    #[test]
    fn a_dry_run_refuses_nothing_and_counts_each_body_once() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let limits = limits(|settings| settings.dry_run = settings.dry_run.with(RULE));
            assert_eq!(passed(&limits, &did("alice"), 64 * MIB), 1_000);
        });
        let shown = recorder.handle().render();
        let counted = "relay_limits_refused_total{rule=\"body_bytes\",outcome=\"dry_run\"} 998";
        assert!(shown.contains(counted), "{shown}");
    }

    #[test]
    fn good_standing_adds_to_it_and_a_refusal_tells_the_wait_without_it() {
        let (limits, alice) = (
            limits(|settings| settings.good_standing.enabled = true),
            did("alice"),
        );
        limits.check_body(&alice, 1).unwrap();
        limits.clock().advance(50 * 24 * 60 * MINUTE);
        assert_eq!(passed(&limits, &alice, 64 * MIB), 4);
        let refused = limits.check_body(&alice, 64 * MIB).unwrap_err();
        limits.clock().advance(refused.retry_after());
        assert!(limits.charge_body(&alice, 64 * MIB).is_ok());
        assert!(
            limits.charge_body(&alice, 64 * MIB).is_err(),
            "it has none any more"
        );
    }

    #[test]
    fn a_new_blind_key_forgets_no_bytes_and_a_changed_limit_counts_at_once() {
        let settings = Live::new(Settings::default());
        let (limits, alice) = (Limits::new(settings.clone(), Clock::manual()), did("alice"));
        limits.clock().advance(24 * 60 * MINUTE);
        assert_eq!(passed(&limits, &alice, 64 * MIB), 2);
        limits.sweep();
        assert!(limits.check_body(&alice, MIB).is_err());
        assert!(limits.charge_body(&alice, MIB).is_err());
        let mut raised = Settings::default();
        raised.calls.body_bytes *= 2;
        settings.replace(raised);
        limits.clock().advance(MINUTE / 2);
        assert_eq!(passed(&limits, &alice, 64 * MIB), 2);
    }

    #[test]
    fn whoever_keeps_sending_too_much_is_boxed_and_does_not_find_it_spent_afterwards() {
        let (limits, alice) = (limits(|_| {}), did("alice"));
        passed(&limits, &alice, 64 * MIB);
        let refused = (0..200).map(|_| limits.charge_body(&alice, 64 * MIB).unwrap_err());
        assert_eq!(
            refused.map(|error| error.retry_after()).max(),
            Some(MINUTE / 2)
        );
        let boxed = limits.check_did(&alice, Nsid::SendMessage).refused.unwrap();
        assert!(matches!(
            boxed,
            LimitError::Reached {
                rule: Rule::PenaltyBox,
                ..
            }
        ));
        assert_eq!(boxed.retry_after(), MINUTE, "until all of it is back");
        let reading = limits.check_did(&alice, Nsid::GetConvos).refused.unwrap();
        assert!(reading.retry_after() < MINUTE);
        limits.clock().advance(boxed.retry_after());
        assert!(
            limits
                .check_did(&alice, Nsid::SendMessage)
                .refused
                .is_none()
        );
        assert_eq!(passed(&limits, &alice, 64 * MIB), 2);
    }
}
