//! Layer 5: what counts against an offender, and for how long it is refused for that.

use std::time::Duration;

use super::domain::PENALTY_BOX;
use super::penalty_box::Subject;
use super::{Decision, Inner, Rule, Settings};
use crate::types::{ClientIp, Did};

impl Inner {
    pub(super) fn address_subject(&self, client: ClientIp) -> Subject {
        self.penalties
            .subject(|key| key.address(PENALTY_BOX, client))
    }

    pub(super) fn account_subject(&self, did: &Did) -> Subject {
        self.penalties.subject(|key| key.account(PENALTY_BOX, did))
    }

    /// How long the subject stays in the penalty box and is refused for it, which counts.
    #[inline]
    pub(super) fn boxed(
        &self,
        settings: &Settings,
        subject: impl FnOnce() -> Subject,
    ) -> Option<Duration> {
        let left = self.stay(settings, subject)?;
        settings.enforces(Rule::PenaltyBox).then_some(left)
    }

    /// How long the subject stays in the penalty box, if it is there.
    #[inline]
    pub(super) fn stay(
        &self,
        settings: &Settings,
        subject: impl FnOnce() -> Subject,
    ) -> Option<Duration> {
        let now = || self.clock.unix_ms();
        if !self.penalties.is_in_use(now) {
            return None;
        }
        self.penalties.stays_for(subject(), now(), settings)
    }

    /// Counts an offence of the subject. How long it has to stay away, if it led to that.
    pub(super) fn blame(&self, settings: &Settings, subject: Subject) -> Option<Duration> {
        self.penalties
            .strike(subject, self.clock.unix_ms(), settings)
    }

    /// Counts a refusal against the subject. The wait, longer if it led to a stay.
    pub(super) fn strike(
        &self,
        settings: &Settings,
        subject: Subject,
        decision: Decision,
    ) -> Decision {
        match self.blame(settings, subject) {
            Some(stay) if !settings.dry_run.contains(Rule::PenaltyBox) => {
                decision.for_at_least(stay)
            }
            _ => decision,
        }
    }
}
