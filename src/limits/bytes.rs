//! Layer 3, continued: bytes of an account's calls. Those of bodies are all that it can have the
//! relay store; those of answers are what a line and a bill are for. So many in a minute, and so
//! many in a day: one entry keeps both budgets.
//!
//! A body takes of both budgets or of none. An answer is as long as it is: whoever has taken more
//! than there was waits until that has come back.

use std::time::Duration;

use super::bucket::{Rate, Rates, Waits, enforced};
use super::{Blind, Decision, Inner, LimitError, Limits, Names, Rule, Settings, Tick};
use crate::types::Did;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Traffic {
    Bodies,
    Answers,
}

impl Limits {
    /// Whether a body of so many bytes, which this account has announced, may come. Spends
    /// nothing: it may never arrive. Where a rule only counts, it counts what has come.
    pub fn check_body(&self, did: &Did, bytes: u64) -> Result<(), LimitError> {
        let inner = &*self.inner;
        inner.judge_bytes(Traffic::Bodies, did, |rates| {
            enforced(inner.byte_waits(Traffic::Bodies, did, bytes, rates), rates)
        })
    }

    /// Counts a body of this account that has come.
    pub fn charge_body(&self, did: &Did, bytes: u64) -> Result<(), LimitError> {
        let inner = &*self.inner;
        let now = inner.clock.exact_tick();
        inner.judge_bytes(Traffic::Bodies, did, |rates| {
            let names = inner.byte_names(Traffic::Bodies, did, now);
            inner.accounts.spend(names, now, bytes, rates)
        })
    }

    /// Whether this account may be answered at length, or has had too much already.
    pub fn check_answer(&self, did: &Did) -> Result<(), LimitError> {
        let inner = &*self.inner;
        inner.judge_bytes(Traffic::Answers, did, |rates| {
            inner.byte_waits(Traffic::Answers, did, 1, rates)
        })
    }

    /// Counts what this account is given, however much that is.
    pub fn charge_answer(&self, did: &Did, bytes: u64) {
        let inner = &*self.inner;
        let (settings, now) = (inner.settings.load(), inner.clock.exact_tick());
        let rates = Traffic::Answers.rates(&settings, inner.bonus(&settings, did));
        let names = inner.byte_names(Traffic::Answers, did, now);
        inner.accounts.charge(names, now, bytes, rates);
    }
}

impl Inner {
    /// What the account's entry is called, and was under the key before, for as long as it may
    /// still be in use.
    fn byte_names(&self, traffic: Traffic, did: &Did, now: Tick) -> Names<impl FnOnce() -> Blind> {
        let [minute, _] = traffic.rules();
        self.account_names(DAY, minute as u8, did, now)
    }

    fn byte_waits(&self, traffic: Traffic, did: &Did, bytes: u64, rates: Rates) -> Waits {
        let now = self.clock.exact_tick();
        let names = self.byte_names(traffic, did, now);
        self.accounts.waits(names, now, bytes, rates)
    }

    /// Judges by what the account may have: by a judge who knows how long it takes until there is
    /// enough of each budget.
    fn judge_bytes(
        &self,
        traffic: Traffic,
        did: &Did,
        judge: impl Fn(Rates) -> Waits,
    ) -> Result<(), LimitError> {
        let settings = &*self.settings.load();
        let waits = judge(traffic.rates(settings, self.bonus(settings, did)));
        let short = traffic.rules().into_iter().zip(waits);
        let short = short.filter(|(_, wait)| *wait > 0);
        if short.filter(|(rule, _)| settings.enforces(*rule)).count() == 0 {
            return Ok(());
        }
        self.lapse(did);
        // With this refusal its good standing is gone, so it waits for the plain budgets.
        let plain = traffic.rates(settings, 0);
        let (rule, retry_after) = traffic.longest(enforced(judge(plain), plain));
        let refused = LimitError::Reached { rule, retry_after };
        let decision = Decision::unlimited(rule, settings.quota(rule)).refused_by(refused);
        let subject = self.account_subject(did);
        self.strike(settings, subject, decision).admit()
    }

    /// Until the account may send a body of any size, of which none is larger than what may be
    /// sent in a minute; or be answered. If it does nothing before.
    pub(super) fn bytes_wait(&self, settings: &Settings, traffic: Traffic, did: &Did) -> Duration {
        let rates = traffic.rates(settings, 0);
        let bytes = match traffic {
            Traffic::Bodies => settings.calls.body_bytes.into(),
            Traffic::Answers => 1,
        };
        let waits = self.byte_waits(traffic, did, bytes, rates);
        traffic.longest(enforced(waits, rates)).1
    }
}

impl Traffic {
    /// By what the two budgets are refused.
    const fn rules(self) -> [Rule; 2] {
        match self {
            Self::Bodies => [Rule::BodyBytes, Rule::BodyBytesDay],
            Self::Answers => [Rule::AnswerBytes, Rule::AnswerBytesDay],
        }
    }

    /// What an account may have, and so many percent more.
    fn rates(self, settings: &Settings, bonus: u16) -> Rates {
        let calls = &settings.calls;
        let (in_a_minute, in_a_day) = match self {
            Self::Bodies => (calls.body_bytes, calls.body_bytes_day),
            Self::Answers => (calls.answer_bytes, calls.answer_bytes_day),
        };
        let in_a_minute = u64::from(in_a_minute);
        let [minute, day] = self.rules().map(|rule| !settings.dry_run.contains(rule));
        [
            Rate::a_minute(in_a_minute).enforced_if(minute),
            Rate::a_day(in_a_day.max(in_a_minute)).enforced_if(day),
        ]
        .map(|rate| rate.percent(100 + u64::from(bonus)))
    }

    /// The longest of two waits, and by which rule it is.
    fn longest(self, [minute, day]: Waits) -> (Rule, Duration) {
        let [by_minute, by_day] = self.rules();
        let (rule, wait_us) = match minute >= day {
            true => (by_minute, minute),
            false => (by_day, day),
        };
        (rule, Duration::from_millis(wait_us.div_ceil(1_000)))
    }
}

/// In which all that an account may have in a day comes back.
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
#[path = "bytes_tests.rs"]
mod tests;
