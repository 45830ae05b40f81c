//! Layer 3: an account's calls, after its token has been verified.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bytes::Traffic;
use super::domain::{CALLS, Domain};
use super::rule::needs_shared_state;
use super::{Decision, Inner, LimitError, Limits, Rule, Settings};
use crate::types::{Did, Kind, Nsid};

impl Limits {
    /// Whether this account may make this call now.
    pub fn check_did(&self, did: &Did, call: Nsid) -> Decision {
        let inner = &*self.inner;
        let settings = inner.settings.load();
        let rule = Rule::of_call(call);
        // Calls without a rule of their own are still counted apart.
        let domain = match rule {
            Rule::DidDefault => CALLS + call as u8,
            _ => rule as u8,
        };
        let plain = || Decision::unlimited(rule, settings.quota(rule));
        if let Some(stay) = inner.boxed(&settings, || inner.account_subject(did)) {
            // Whoever leaves the box shall not find the quota still spent.
            let mut retry_after = stay.max(inner.quota_wait(&settings, (rule, domain), did));
            let traffic = match call.kind() {
                Kind::Procedure => Traffic::Bodies,
                Kind::Query | Kind::Subscription => Traffic::Answers,
            };
            retry_after = retry_after.max(inner.bytes_wait(&settings, traffic, did));
            let rule = Rule::PenaltyBox;
            return plain().refused_by(LimitError::Reached { rule, retry_after });
        }
        if needs_shared_state(call) && inner.shared_state_away.load(Ordering::Relaxed) {
            let retry_after = settings.penalties.shared_every;
            return plain().refused_by(LimitError::SharedStateAway { retry_after });
        }
        inner.take_account(&settings, (rule, domain), did)
    }
}

impl Inner {
    /// Takes a place in the window that an account has under a rule, in a domain of
    /// its own (the call, for rules that count calls apart).
    pub(super) fn take_account(
        &self,
        settings: &Settings,
        (rule, domain): (Rule, Domain),
        did: &Did,
    ) -> Decision {
        let now = self.clock.tick();
        let names = || self.account_names(settings.tables.idle_after, domain, did, now);
        let quota = settings.quota(rule);
        let quota = quota.plus_percent(self.bonus(settings, did));
        let (verdict, _) = self.punctually(now, |now| self.accounts.take(names(), now, quota));
        let decision = self.settle(settings, Decision::of(rule, quota, verdict));
        if decision.refused.is_none() {
            return decision;
        }
        self.lapse(did);
        // What good standing had added is gone as well.
        let decision = decision.for_at_least(self.quota_wait(settings, (rule, domain), did));
        self.strike(settings, self.account_subject(did), decision)
    }

    /// Until the account's quota has a place, if nothing more takes one. Good standing is
    /// left out: an account that was refused has none here, and elsewhere waits no shorter for it.
    pub(super) fn quota_wait(
        &self,
        settings: &Settings,
        (rule, domain): (Rule, Domain),
        did: &Did,
    ) -> Duration {
        if settings.dry_run.contains(rule) {
            return Duration::ZERO;
        }
        let (now, quota) = (self.clock.tick(), settings.quota(rule));
        let names = self.account_names(settings.tables.idle_after, domain, did, now);
        self.accounts.wait(&names, now, quota)
    }

    /// The account's good standing starts over.
    pub(super) fn lapse(&self, did: &Did) {
        let now = self.clock.unix_ms() / 1_000;
        self.good_standing.lapse(did, &self.keys.load().keys, now);
    }
}
