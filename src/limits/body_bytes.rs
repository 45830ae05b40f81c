//! Layer 3, continued: bytes that an account sends in the bodies of its calls, which are all
//! that it can have the relay store. So many in a minute, and so many in a day: one entry
//! keeps both budgets, and a body takes of both or of none.

use std::time::Duration;

use super::bucket::{Budgets, Rate, Rates, Waits, enforced};
use super::{Blind, Decision, Inner, LimitError, Limits, Names, Rule, Settings, Tick};
use crate::types::Did;

impl Limits {
    /// Whether a body of so many bytes, which this account has announced, may come. Spends
    /// nothing: it may never arrive. Where a rule only counts, it counts what has come.
    pub fn check_body(&self, did: &Did, bytes: u64) -> Result<(), LimitError> {
        let inner = &*self.inner;
        let settings = inner.settings.load();
        let budgets = inner.body_budgets(did);
        inner.judge_body(&settings, did, |rates| {
            let mut tried = budgets;
            enforced(tried.spend(bytes, rates), rates)
        })
    }

    /// Counts a body of this account that has come.
    pub fn charge_body(&self, did: &Did, bytes: u64) -> Result<(), LimitError> {
        let inner = &*self.inner;
        let settings = inner.settings.load();
        let now = inner.clock.exact_tick();
        inner.judge_body(&settings, did, |rates| {
            let names = inner.body_names(did, now);
            inner.accounts.spend(names, now, bytes, rates)
        })
    }
}

impl Inner {
    /// What the account's entry is called, and was under the key before, for as long as it may
    /// still be in use.
    fn body_names(&self, did: &Did, now: Tick) -> Names<impl FnOnce() -> Blind> {
        self.account_names(DAY, Rule::BodyBytes as u8, did, now)
    }

    fn body_budgets(&self, did: &Did) -> Budgets {
        let now = self.clock.exact_tick();
        self.accounts.budgets(&self.body_names(did, now), now)
    }

    /// Judges a body by what its account may send: by a judge who knows how long it takes until
    /// there is enough of each budget.
    fn judge_body(
        &self,
        settings: &Settings,
        did: &Did,
        judge: impl Fn(Rates) -> Waits,
    ) -> Result<(), LimitError> {
        let waits = judge(rates(settings, self.bonus(settings, did)));
        let short = RULES.into_iter().zip(waits).filter(|(_, wait)| *wait > 0);
        if short.filter(|(rule, _)| settings.enforces(*rule)).count() == 0 {
            return Ok(());
        }
        self.lapse(did);
        // With this refusal its good standing is gone, so it waits for the plain budgets.
        let plain = rates(settings, 0);
        let (rule, retry_after) = longest(enforced(judge(plain), plain));
        let refused = LimitError::Reached { rule, retry_after };
        let decision = Decision::unlimited(rule, settings.quota(rule)).refused_by(refused);
        let subject = self.account_subject(did);
        self.strike(settings, subject, decision).admit()
    }

    /// Until the account may send a body of any size, if it sends none before: none is larger
    /// than what may be sent in a minute.
    pub(super) fn body_wait(&self, settings: &Settings, did: &Did) -> Duration {
        let rates = rates(settings, 0);
        let waits = self
            .body_budgets(did)
            .spend(settings.calls.body_bytes.into(), rates);
        longest(enforced(waits, rates)).1
    }
}

/// By what the two budgets are refused.
const RULES: [Rule; 2] = [Rule::BodyBytes, Rule::BodyBytesDay];

/// In which all that an account may send in a day comes back.
const DAY: Duration = Duration::from_secs(86_400);

/// What an account may send, and so many percent more.
fn rates(settings: &Settings, bonus: u16) -> Rates {
    let calls = &settings.calls;
    let (in_a_minute, in_a_day) = (u64::from(calls.body_bytes), calls.body_bytes_day);
    let [minute, day] = RULES.map(|rule| !settings.dry_run.contains(rule));
    [
        Rate::a_minute(in_a_minute).enforced_if(minute),
        Rate::a_day(in_a_day.max(in_a_minute)).enforced_if(day),
    ]
    .map(|rate| rate.percent(100 + u64::from(bonus)))
}

/// The longest of two waits, and by which rule it is.
fn longest([minute, day]: Waits) -> (Rule, Duration) {
    let (rule, wait_us) = match minute >= day {
        true => (RULES[0], minute),
        false => (RULES[1], day),
    };
    (rule, Duration::from_millis(wait_us.div_ceil(1_000)))
}

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

    fn by(refused: LimitError) -> Rule {
        match refused {
            LimitError::Reached { rule, .. } => rule,
            other => panic!("{other:?}"),
        }
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
    fn whoever_never_stops_has_a_day_at_once_and_then_waits_minutes_and_not_until_midnight() {
        let (limits, alice) = (limits(|_| {}), did("alice"));
        let mut sent = 0;
        let spent = loop {
            match limits.charge_body(&alice, 14 * MIB) {
                Ok(()) => sent += 14,
                Err(refused) if by(refused) == Rule::BodyBytesDay => break refused,
                Err(of_the_minute) => limits.clock().advance(of_the_minute.retry_after()),
            }
        };
        // And what came back in the quarter of an hour that it took.
        assert!((2_048..2_080).contains(&sent), "{sent} MiB");
        assert!(spent.retry_after() < 10 * MINUTE, "{spent:?}");
        assert_eq!(limits.check_body(&alice, 14 * MIB).unwrap_err(), spent);
        let words = limits.check_body(&alice, 1_024);
        assert!(words.is_ok(), "where albums do not pass");
        let almost = spent.retry_after() - Duration::from_millis(1);
        limits.clock().advance(almost);
        assert!(limits.check_body(&alice, 14 * MIB).is_err());
        limits.clock().advance(Duration::from_millis(1));
        assert!(limits.charge_body(&alice, 14 * MIB).is_ok());
        assert!(limits.charge_body(&did("bob"), 14 * MIB).is_ok());
    }

    #[test]
    fn a_day_is_remembered_while_it_is_owed_whatever_is_swept_and_under_a_new_key() {
        let gib = 1_024 * MIB;
        let limits = limits(|settings| {
            settings.calls.body_bytes = 1 << 30;
            settings.calls.body_bytes_day = gib;
        });
        let (alice, hour) = (did("alice"), 60 * MINUTE);
        let entries = || limits.inner.accounts.sweep(0, limits.clock().tick()).kept;
        limits.clock().advance(18 * hour);
        limits.charge_body(&alice, gib).unwrap();
        for passed in 1..24 {
            limits.clock().advance(hour);
            limits.sweep();
            let back = gib / 24 * passed;
            assert!(limits.check_body(&alice, back).is_ok(), "after {passed} h");
            let refused = limits.check_body(&alice, back + MIB).unwrap_err();
            assert_eq!(by(refused), Rule::BodyBytesDay);
        }
        assert_eq!(entries(), 1);
        limits.clock().advance(hour + MINUTE);
        assert!(limits.check_body(&alice, gib).is_ok());
        assert_eq!(entries(), 0, "it owes nothing");
    }

    #[test]
    fn what_may_come_in_a_minute_may_come_whatever_a_day_is_set_to() {
        let limits = limits(|settings| settings.calls.body_bytes_day = 1);
        assert_eq!(passed(&limits, &did("alice"), 64 * MIB), 2);
    }

    #[test]
    fn a_minute_that_is_only_counted_leaves_the_day_in_force() {
        let limits = limits(|settings| {
            (settings.calls.body_bytes, settings.calls.body_bytes_day) = (1 << 20, 4 * MIB);
            settings.dry_run = settings.dry_run.with(Rule::BodyBytes);
        });
        assert_eq!(passed(&limits, &did("alice"), MIB), 4);
        let refused = limits.check_body(&did("alice"), MIB).unwrap_err();
        assert_eq!(by(refused), Rule::BodyBytesDay);
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
            let limits = limits(|settings| settings.dry_run = RULES.into_iter().collect());
            assert_eq!(passed(&limits, &did("alice"), 64 * MIB), 1_000);
        });
        let shown = recorder.handle().render();
        for (rule, times) in [("body_bytes", 998), ("body_bytes_day", 968)] {
            let counted = format!("rule=\"{rule}\",outcome=\"dry_run\"}} {times}\n");
            assert!(shown.contains(&counted), "{shown}");
        }
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
        assert_eq!(by(boxed), Rule::PenaltyBox);
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
