//! Layer 4: subscriptions, and the frames that come in on them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::counts::{Counts, Held};
use super::domain::Domain;
use super::frames::{FrameBudget, FrameKind, FrameVerdict, Meter, Moment};
use super::penalty_box::Subject;
use super::{Blind, Inner, LimitError, Limits, Rule, Settings, count_refusal};
use crate::types::{ClientIp, Did};

/// What the sockets of one account, or of one address, share.
pub(super) struct Shared {
    meter: Mutex<Meter>,
    /// One more was refused, because there are too many.
    place_wanted: Notify,
}

/// Tells a socket that its account wants a place, so that it can see whether its own is
/// still used.
pub struct PlaceWanted(Arc<Shared>);

/// One open subscription, with its budget; counted until dropped.
pub struct SocketPermit {
    limits: Limits,
    account: Held<Shared>,
    address: Option<Held<Shared>>,
    budget: FrameBudget,
    subject: Subject,
}

impl Limits {
    /// Whether there is a place for one more subscription of this account, from this
    /// address. Ask before the upgrade, and hold the permit as long as the session. May be
    /// asked before the account's token is used up: if there is none, its sockets are asked
    /// whether they are there, and that is all.
    pub fn admit_socket(&self, client: ClientIp, did: &Did) -> Result<SocketPermit, LimitError> {
        let inner = &*self.inner;
        let settings = inner.settings.load();
        let exempt = settings.exempts(client);
        if !exempt {
            let (rule, now) = (Rule::UpgradesIp, inner.clock.tick());
            let upgrades = (rule, rule as Domain);
            inner
                .take_address(&settings, upgrades, client, now)
                .admit()?;
        }
        if let Some(stay) = inner.boxed(&settings, || inner.account_subject(did)) {
            // Whoever leaves the box shall not find its upgrades still spent.
            let retry_after = stay.max(inner.quota_wait(&settings, UPGRADES, did));
            let rule = Rule::PenaltyBox;
            return Err(LimitError::Reached { rule, retry_after });
        }
        let now = Moment::at(inner.clock.elapsed());
        let account = inner.hold(
            &settings,
            (Rule::SocketsDid, settings.sockets.per_did),
            &inner.sockets_did,
            inner.holders.account(Rule::SocketsDid as Domain, did),
        )?;
        let address = match exempt {
            true => None,
            false => Some(inner.hold(
                &settings,
                (Rule::SocketsIp, settings.sockets.per_ip),
                &inner.sockets_ip,
                inner.holders.address(Rule::SocketsIp as Domain, client),
            )?),
        };
        Ok(SocketPermit {
            limits: self.clone(),
            account,
            address,
            budget: FrameBudget::new(now),
            subject: inner.account_subject(did),
        })
    }

    /// Whether this account, which has just proved itself, may open one more subscription so
    /// soon.
    pub fn admit_upgrade(&self, did: &Did) -> Result<(), LimitError> {
        let settings = self.inner.settings.load();
        let decision = self.inner.take_account(&settings, UPGRADES, did);
        decision.admit()
    }
}

const UPGRADES: (Rule, Domain) = (Rule::UpgradesDid, Rule::UpgradesDid as Domain);

impl PlaceWanted {
    /// Resolves when the account is refused one more socket after this call.
    pub fn wait(&self) -> impl Future<Output = ()> + use<'_> {
        self.0.place_wanted.notified()
    }
}

impl SocketPermit {
    /// Whether its account wants one more.
    pub fn place_wanted(&self) -> PlaceWanted {
        PlaceWanted(Arc::clone(&self.account.shared))
    }

    /// When a client that is refused a socket may come back.
    pub fn full_retry_after(&self) -> Duration {
        self.limits.inner.settings.load().sockets.full_retry_after
    }

    /// Counts what its account was given with its events, as an answer; whether it may have more.
    pub fn charge_answer(&self, did: &Did, bytes: u64) -> Result<(), LimitError> {
        self.limits.charge_answer(did, bytes);
        self.limits.check_answer(did)
    }

    /// Judges one inbound frame of `len` bytes.
    pub fn frame(&mut self, kind: FrameKind, len: usize) -> FrameVerdict {
        let inner = &*self.limits.inner;
        let settings = inner.settings.load();
        let now = Moment::at(inner.clock.elapsed());
        let account = (&self.account.shared.meter, settings.sockets.did_share);
        let address = self.address.as_ref();
        let address = address.map(|held| (&held.shared.meter, settings.sockets.ip_share));
        let shared = [account].into_iter().chain(address);
        let (verdict, refuses) = self.budget.judge((kind, len), shared, &settings, now);
        if let Some(rule) = refuses {
            count_refusal(rule, settings.dry_run.contains(rule));
        }
        if let FrameVerdict::Close { .. } = verdict {
            inner.blame(&settings, self.subject);
        }
        verdict
    }
}

impl Inner {
    /// Counts one more open socket under a name, unless there are too many.
    fn hold(
        &self,
        settings: &Settings,
        (rule, most): (Rule, u32),
        counts: &Arc<Counts<Shared>>,
        name: Blind,
    ) -> Result<Held<Shared>, LimitError> {
        let fresh = || Shared {
            meter: Mutex::new(Meter::new(Moment::at(self.clock.elapsed()))),
            place_wanted: Notify::new(),
        };
        if let Some(held) = counts.enter(name, most, fresh) {
            return Ok(held);
        }
        if !settings.enforces(rule) {
            return Ok(counts.hold(name, fresh));
        }
        // A phone that lost its network left sockets behind: let its account's be found out.
        if let Some(shared) = counts.shared(name) {
            shared.place_wanted.notify_waiters();
        }
        let retry_after = settings.sockets.full_retry_after;
        Err(LimitError::AllOpen {
            rule,
            open: most,
            retry_after,
        })
    }
}
