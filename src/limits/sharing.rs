//! Layer 5 across nodes: stays in the penalty box as nodes tell each other of them,
//! and as operators list, lift and add them. Blind: a subject is a keyed hash.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Limits;
use super::blind::{Blind, BlindKey, BlindKeys};
use super::penalty::Stay;
use super::penalty_box::Subject;
use crate::store::SharedStay;
use crate::types::{ClientIp, Did};

/// Whom an operator means.
#[derive(Clone, Copy, Debug)]
pub enum Offender<'a> {
    Address(ClientIp),
    Account(&'a Did),
}

impl Limits {
    /// Stays that this node decided since the last call.
    pub fn take_untold_stays(&self) -> Vec<SharedStay> {
        let untold = self.inner.penalties.take_untold();
        untold
            .into_iter()
            .map(|(key, stay)| shared(key, stay))
            .collect()
    }

    /// Takes over stays that other nodes decided, except of subjects that this node has
    /// decided about since [`Limits::take_untold_stays`].
    pub fn adopt_stays(&self, stays: &[SharedStay]) {
        let settings = self.inner.settings.load();
        let now = self.inner.clock.unix_ms();
        for stay in stays {
            let (level, until) = (stay.level, stay.until);
            let key = Blind::from_bytes(stay.subject);
            self.inner
                .penalties
                .hear(key, Stay { level, until }, now, &settings);
        }
    }

    /// Uses the keys that all nodes use for the penalty box.
    pub fn use_penalty_keys(&self, current: [u8; 16], previous: Option<[u8; 16]>) {
        self.inner.penalties.use_keys(BlindKeys {
            current: BlindKey::from_bytes(current),
            previous: previous.map(BlindKey::from_bytes),
        });
    }

    /// Whether the state that nodes share can be reached; set by the task that shares it.
    pub fn set_shared_state_away(&self, away: bool) {
        self.inner.shared_state_away.store(away, Ordering::Relaxed);
    }

    /// Whoever is in the box, and for how much longer.
    pub fn penalties(&self) -> Vec<SharedStay> {
        let settings = self.inner.settings.load();
        let inmates = self
            .inner
            .penalties
            .inmates(self.inner.clock.unix_ms(), &settings);
        inmates
            .into_iter()
            .map(|(key, stay)| shared(key, stay))
            .collect()
    }

    /// The longest stay that there is.
    pub fn longest_penalty(&self) -> Duration {
        self.inner.settings.load().penalties.most
    }

    /// Puts someone into the box, here at once and on the other nodes soon; for no longer
    /// than the longest stay.
    pub fn penalize(&self, offender: Offender<'_>, stay: Duration) {
        let stay = stay.min(self.longest_penalty());
        let stay_ms = i64::try_from(stay.as_millis()).unwrap_or(i64::MAX / 2);
        let until = self.inner.clock.unix_ms() + stay_ms;
        self.decide(self.subject(offender).current, Stay { level: 1, until });
    }

    /// Lets someone out of the box, here at once and on the other nodes soon.
    pub fn lift(&self, offender: Offender<'_>) {
        let subject = self.subject(offender);
        for name in std::iter::once(subject.current).chain(subject.previous) {
            self.decide(name, Stay { level: 0, until: 0 });
        }
    }

    fn decide(&self, key: Blind, stay: Stay) {
        let settings = self.inner.settings.load();
        let now = self.inner.clock.unix_ms();
        self.inner.penalties.decide(key, stay, now, &settings);
    }

    fn subject(&self, offender: Offender<'_>) -> Subject {
        match offender {
            Offender::Address(client) => self.inner.address_subject(client),
            Offender::Account(did) => self.inner.account_subject(did),
        }
    }
}

fn shared(key: Blind, stay: Stay) -> SharedStay {
    SharedStay {
        subject: key.to_bytes(),
        level: stay.level,
        until: stay.until,
    }
}
