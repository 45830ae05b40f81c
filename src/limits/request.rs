//! Layer 2: requests, before their tokens are looked at.
//!
//! The window of an address counts what proved nothing: a request takes a place and
//! gets it back when its token verifies, so a thousand phones behind one carrier
//! address are not one user. An account that proved itself lately from an address
//! keeps a small reserve there, so a neighbour who spends the window cannot lock it
//! out; and what no neighbour can forge (`claim`) has a reserve apart from what anyone can
//! write in the account's name. How many tokens an address can make us check is bounded in
//! either case. While tokens are being checked, others of the address may wait for the
//! outcome (`waiting`).

use std::time::Duration;

use super::blind::{Blind, BlindKey};
use super::domain::{
    Domain, FAMILIAR_ACCOUNT, FAMILIAR_ADDRESS, PROVED_RESERVE, PROVED_VERIFICATIONS,
    RESERVED_VERIFICATIONS,
};
use super::table::Names;
use super::{Claim, Decision, Inner, LimitError, Limits, Rule, Settings, Tick, count_refusal};
use crate::types::{ClientIp, Did};

/// A request that will be checked: where its address is counted.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub(super) client: ClientIp,
    pub(super) current: Blind,
    pub(super) previous: Option<Blind>,
}

impl Limits {
    /// Names the place where the address is counted, and sends for it: from memory it
    /// takes longer to come than the check itself. So this comes first, and something
    /// else, such as reading the token, before the check.
    #[inline]
    pub fn arrival(&self, client: ClientIp) -> Arrival {
        let inner = &*self.inner;
        let arrival = inner.name(Rule::Ip as u8, client);
        inner.addresses.send_for(arrival.current);
        arrival
    }

    /// Whether a request that was announced may go on. `claims` is the account that a
    /// well-formed token names, not yet verified.
    #[inline]
    pub fn check(&self, arrival: Arrival, claims: Option<Claim<'_>>) -> Decision {
        let inner = &*self.inner;
        let settings = inner.settings.load();
        if settings.exempts(arrival.client) {
            return Decision::unlimited(Rule::Ip, settings.quota(Rule::Ip));
        }
        match inner.look(&settings, arrival, claims, inner.clock.tick()) {
            Checked::Decided(decision) => decision,
            Checked::Full(refused) => inner.refuse(&settings, arrival.client, refused),
        }
    }

    /// The token verified: the request gets its place back, and the account is known
    /// at this address for a while.
    pub fn proved(&self, decision: &Decision, client: ClientIp, did: &Did) {
        self.verified(decision);
        self.note_familiar(client, did);
    }

    /// The token verified, though it may have been used before: the request gets its place
    /// back.
    pub fn verified(&self, decision: &Decision) {
        if let Some(place) = decision.place {
            self.inner.addresses.give_back(place);
        }
        if let Some(under_way) = &decision.under_way {
            under_way.judged(true);
        }
    }

    /// The account is at this address: it is known there for a while.
    pub fn note_familiar(&self, client: ClientIp, did: &Did) {
        let inner = &*self.inner;
        if inner.settings.load().exempts(client) {
            return;
        }
        let (key, now) = (inner.keys.load().keys.current, inner.clock.tick());
        let account = key.account_at(FAMILIAR_ACCOUNT, client, did);
        inner.familiar.note(account, now);
        let address = key.address(FAMILIAR_ADDRESS, client);
        inner.familiar.note(address, now);
    }
}

/// What a look at an address's window came to.
pub(super) enum Checked {
    Decided(Decision),
    /// The window is full: a refusal that has not been counted yet.
    Full(Decision),
}

impl Inner {
    /// Looks whether a request may go on, and takes its place if so.
    #[inline(always)]
    pub(super) fn look(
        &self,
        settings: &Settings,
        arrival: Arrival,
        claims: Option<Claim<'_>>,
        now: Tick,
    ) -> Checked {
        let decision = match self.look_at_window(settings, arrival, claims, now) {
            Checked::Decided(decision) => decision,
            full => return full,
        };
        Checked::Decided(match claims {
            Some(_) if decision.refused.is_none() => {
                self.check_verifications(settings, arrival.client, decision, now)
            }
            _ => decision,
        })
    }

    /// Refuses by a full window, which is an offence.
    pub(super) fn refuse(
        &self,
        settings: &Settings,
        client: ClientIp,
        refused: Decision,
    ) -> Decision {
        count_refusal(refused.rule, false);
        self.strike(settings, self.address_subject(client), refused)
    }

    #[inline(always)]
    fn look_at_window(
        &self,
        settings: &Settings,
        arrival: Arrival,
        claims: Option<Claim<'_>>,
        now: Tick,
    ) -> Checked {
        let client = arrival.client;
        if let Some(stay) = self.stay(settings, || self.address_subject(client)) {
            let rule = Rule::PenaltyBox;
            if !settings.dry_run.contains(rule)
                && let Some(reserve) = self.use_reserve(settings, client, claims, now)
            {
                return Checked::Decided(reserve);
            }
            if settings.enforces(rule) {
                // Whoever leaves the box shall not find the window still full.
                let retry_after = stay.max(self.window_wait(settings, arrival, now));
                let refused = Decision::unlimited(Rule::Ip, settings.quota(Rule::Ip))
                    .refused_by(LimitError::Reached { rule, retry_after });
                return Checked::Decided(refused);
            }
        }
        let (decision, place) = self.take_named(settings, IP, arrival, now);
        if decision.refused.is_some() && !settings.dry_run.contains(Rule::Ip) {
            return match self.use_reserve(settings, client, claims, now) {
                Some(reserve) => Checked::Decided(reserve),
                None => Checked::Full(decision),
            };
        }
        let mut decision = self.settle(settings, decision);
        decision.place = Some(place);
        Checked::Decided(decision)
    }

    /// Until the address's window has a place, if nothing more takes one.
    fn window_wait(&self, settings: &Settings, arrival: Arrival, now: Tick) -> Duration {
        if settings.dry_run.contains(Rule::Ip) {
            return Duration::ZERO;
        }
        let names = self.address_names(IP.1, arrival);
        self.addresses.wait(&names, now, settings.quota(Rule::Ip))
    }

    /// The reserve of an account that proved itself lately from this address, for anyone who
    /// claims to be it, or of one that nobody else can be. Each is counted apart, so that what
    /// one bears against an account spends nothing of the other.
    fn use_reserve(
        &self,
        settings: &Settings,
        client: ClientIp,
        claims: Option<Claim<'_>>,
        now: Tick,
    ) -> Option<Decision> {
        let claim = claims.filter(|claim| claim.may_use_reserve)?;
        let keys = self.keys.load();
        let account = |key: &BlindKey| key.account_at(FAMILIAR_ACCOUNT, client, claim.did);
        let rule = Rule::Familiar;
        let (domain, verifications) = match claim.is_proved(&keys.keys) {
            true => (PROVED_RESERVE, PROVED_VERIFICATIONS),
            false if self.is_familiar(settings, account, now) => {
                (rule as Domain, RESERVED_VERIFICATIONS)
            }
            false => return None,
        };
        let previous = keys.previous_at(now, settings);
        let name = |key: &BlindKey| key.account_at(domain, client, claim.did);
        let names = || Names {
            current: name(&keys.keys.current),
            previous: previous.map(name),
            wide: || keys.keys.current.wide_network(domain, client),
        };
        let quota = settings.quota(rule);
        let (verdict, place) = self.punctually(now, |now| self.addresses.take(names(), now, quota));
        let mut decision = self.settle(settings, Decision::of(rule, quota, verdict));
        if decision.refused.is_none() {
            (decision.place, decision.verifications) = (Some(place), verifications);
        } else if verifications == RESERVED_VERIFICATIONS {
            // That there was a reserve is for its account alone to know.
            return None;
        }
        Some(decision)
    }

    /// A request whose token is about to be checked. Those that came in by a reserve have
    /// a bound of their own, which strangers cannot spend.
    fn check_verifications(
        &self,
        settings: &Settings,
        client: ClientIp,
        decision: Decision,
        now: Tick,
    ) -> Decision {
        let rule = (Rule::Verifications, decision.verifications);
        let checked = self.take_address(settings, rule, client, now);
        if checked.refused.is_none() {
            return decision;
        }
        // The place in the window is spent all the same.
        self.strike(settings, self.address_subject(client), checked)
    }

    /// Whether any account proved itself lately from this address.
    pub(super) fn has_familiar_accounts(&self, settings: &Settings, client: ClientIp) -> bool {
        let address = |key: &BlindKey| key.address(FAMILIAR_ADDRESS, client);
        self.is_familiar(settings, address, self.clock.tick())
    }

    /// Whether what has this name was noted lately, be it under the key before.
    fn is_familiar(
        &self,
        settings: &Settings,
        name: impl Fn(&BlindKey) -> Blind,
        now: Tick,
    ) -> bool {
        let (keys, requests) = (self.keys.load(), &settings.requests);
        let known_under = |key: &BlindKey| {
            let known_for = requests.familiar_ms();
            self.familiar.noted_within(name(key), known_for, now)
        };
        let previous = keys.previous_within(requests.familiar_for, now);
        known_under(&keys.keys.current) || previous.is_some_and(known_under)
    }
}

/// The window of requests, which has no domain but its rule's.
const IP: (Rule, Domain) = (Rule::Ip, Rule::Ip as u8);
