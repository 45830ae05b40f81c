//! The way of a ticket: issued to a caller, checked without being used, redeemed once.

use std::time::Duration;

use chrono::Utc;

use super::authenticator::outcome_counter;
use super::nonces::NonceKey;
use super::{AuthError, Authenticator, Caller, Ticket, UnusedTicket};
use crate::types::{ConvoId, Jti};

impl Authenticator {
    /// A ticket with which this caller may open a stream, of all conversations
    /// or of one. Whether the caller is a member of it is checked elsewhere.
    pub fn issue_ticket(
        &self,
        caller: &Caller,
        convo: Option<&ConvoId>,
    ) -> Result<Ticket, AuthError> {
        self.issue(caller, convo, self.0.settings.load().ticket_ttl)
    }

    /// A ticket for a caller that a drain sends away from a stream of all its
    /// conversations or of one: good until a ticket's time after it should be back.
    pub fn issue_resume_ticket(
        &self,
        caller: &Caller,
        convo: Option<&ConvoId>,
        reconnect_after: Duration,
    ) -> Result<Ticket, AuthError> {
        let ttl = self.0.settings.load().ticket_ttl + reconnect_after;
        self.issue(caller, convo, ttl)
    }

    fn issue(
        &self,
        caller: &Caller,
        convo: Option<&ConvoId>,
        ttl: Duration,
    ) -> Result<Ticket, AuthError> {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let nonce = Jti::parse(&nonce).map_err(|_| AuthError::Signing)?;
        let now = Utc::now();
        let times = (now.timestamp(), (now + ttl).timestamp());
        self.0.tickets.issue(caller, convo, nonce, times)
    }

    /// Checks a ticket, which is still to be redeemed: whoever is refused for another reason
    /// may come back with it.
    pub fn check_ticket(&self, token: &str) -> Result<UnusedTicket, AuthError> {
        let ticket = self.unused(token);
        ticket.inspect_err(|error| outcome_counter("ticket", error.label()).increment(1))
    }

    /// Takes a ticket, once: whose it is.
    pub async fn redeem(&self, ticket: UnusedTicket) -> Result<Caller, AuthError> {
        let outcome = self.take(&ticket).await;
        let label = outcome
            .as_ref()
            .map_or_else(AuthError::label, |()| "proved");
        outcome_counter("ticket", label).increment(1);
        outcome.map(|()| ticket.caller)
    }

    fn unused(&self, token: &str) -> Result<UnusedTicket, AuthError> {
        let now = Utc::now().timestamp();
        let ticket = self.0.tickets.check(token, now)?;
        match self.0.nonces.is_used(self.nonce_of(&ticket), now) {
            true => Err(AuthError::TokenUsed),
            false => Ok(ticket),
        }
    }

    async fn take(&self, ticket: &UnusedTicket) -> Result<(), AuthError> {
        let (nonce, now) = (self.nonce_of(ticket), Utc::now().timestamp());
        let nonce = self.remembered(nonce, ticket.expires_at, now)?;
        if !self.0.nonces.claim(nonce).await? {
            return Err(AuthError::TokenUsed);
        }
        let (ledger, did) = (&self.0.nonces.ledger, ticket.caller.did());
        match ledger.is_revoked(did, ticket.issued_at).await? {
            true => Err(AuthError::TicketRevoked),
            false => Ok(()),
        }
    }

    fn nonce_of(&self, ticket: &UnusedTicket) -> NonceKey {
        NonceKey::of(self.0.tickets.service(), &ticket.nonce)
    }
}
