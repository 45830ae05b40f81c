//! Nonces are used once, on all nodes together. The database decides; this node
//! remembers what it has seen used, so that most replays end here.
//!
//! A nonce is used up by a question of its own, or by the write that its call leads
//! to, which costs no further round trip: see [`Proof`](super::Proof).

use chrono::DateTime;
use futures_util::future::BoxFuture;
use metrics::counter;
use quick_cache::sync::Cache;

use crate::store::{Nonce, Store, StoreError};
use crate::types::{Did, Jti, sha256};

/// Where all nodes meet. The store is the one; unit tests have their own.
pub(crate) trait Ledger: Send + Sync {
    /// Uses a nonce; false if it was used before and that is still remembered.
    fn claim(&self, nonce: Nonce) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Whether the account's tickets of that second were revoked since.
    fn is_revoked<'a>(
        &'a self,
        account: &'a Did,
        issued_at: i64,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;
}

impl Ledger for Store {
    fn claim(&self, nonce: Nonce) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.use_up(nonce))
    }

    fn is_revoked<'a>(
        &'a self,
        account: &'a Did,
        issued_at: i64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.are_tickets_revoked(account, issued_at))
    }
}

/// A nonce as the ledger knows it: a hash, which tells nobody whose it was.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct NonceKey(pub(crate) [u8; 32]);

impl NonceKey {
    /// Nonces are unique by issuer only. No DID holds a zero byte, so no two
    /// pairs give one text.
    pub(crate) fn of(issuer: &Did, nonce: &Jti) -> Self {
        let text = [issuer.expose(), "\0", nonce.expose()].concat();
        Self(sha256(text.as_bytes()))
    }

    /// The nonce, used until then (seconds since 1970). None where no such time exists.
    pub(crate) fn until(self, seconds: i64) -> Option<Nonce> {
        let until = DateTime::from_timestamp(seconds, 0)?;
        Some(Nonce { key: self.0, until })
    }
}

pub(crate) struct Nonces {
    pub(crate) ledger: Box<dyn Ledger>,
    /// Keys known to be used, and until when that matters.
    used: Cache<NonceKey, i64>,
}

impl Nonces {
    pub(crate) fn new(ledger: Box<dyn Ledger>, remembered_max: usize) -> Self {
        Self {
            ledger,
            used: Cache::new(remembered_max),
        }
    }

    /// Whether this node knows the nonce as used. Asked before the proof, which
    /// costs more; a stranger learns nothing from it that matters.
    pub(crate) fn is_used(&self, key: NonceKey, now: i64) -> bool {
        let used = self.used.get(&key).is_some_and(|until| now <= until);
        if used {
            counter!("relay_auth_nonces_total", "outcome" => "used_here").increment(1);
        }
        used
    }

    /// Uses a nonce until then, or says that it was used. Only after the proof:
    /// otherwise anyone could use up the nonces of others.
    pub(crate) async fn claim(&self, nonce: Nonce) -> Result<bool, StoreError> {
        let new = self.ledger.claim(nonce).await?;
        self.note(nonce, new);
        Ok(new)
    }

    /// Remembers what the ledger said of a nonce.
    pub(crate) fn note(&self, nonce: Nonce, new: bool) {
        self.used
            .insert(NonceKey(nonce.key), nonce.until.timestamp());
        let outcome = if new { "new" } else { "used_elsewhere" };
        counter!("relay_auth_nonces_total", "outcome" => outcome).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::MemoryLedger;

    fn key(issuer: &str, nonce: &str) -> NonceKey {
        NonceKey::of(&Did::parse(issuer).unwrap(), &Jti::parse(nonce).unwrap())
    }

    fn until(key: NonceKey, seconds: i64) -> Nonce {
        key.until(seconds).unwrap()
    }

    #[test]
    fn a_nonce_belongs_to_its_issuer() {
        assert_eq!(key("did:plc:a", "bc"), key("did:plc:a", "bc"));
        assert_ne!(key("did:plc:a", "bc"), key("did:plc:ab", "c"));
        assert_ne!(key("did:plc:a", "bc"), key("did:plc:b", "bc"));
    }

    #[tokio::test]
    async fn a_replay_at_the_same_node_costs_no_question_to_the_ledger() {
        let ledger = MemoryLedger::default();
        let nonces = Nonces::new(Box::new(ledger.clone()), 10);
        let nonce = key("did:plc:a", "once");
        assert!(!nonces.is_used(nonce, 100));
        assert!(nonces.claim(until(nonce, 160)).await.unwrap());
        assert!(nonces.is_used(nonce, 160));
        assert!(!nonces.is_used(nonce, 161));
        assert_eq!(ledger.questions(), 1);
    }

    #[tokio::test]
    async fn a_replay_at_another_node_is_caught_by_the_ledger() {
        let ledger = MemoryLedger::default();
        let here = Nonces::new(Box::new(ledger.clone()), 10);
        let there = Nonces::new(Box::new(ledger), 10);
        let nonce = key("did:plc:a", "once");
        assert!(here.claim(until(nonce, 160)).await.unwrap());
        assert!(!there.claim(until(nonce, 160)).await.unwrap());
        assert!(there.is_used(nonce, 160));
    }

    #[tokio::test]
    async fn a_silent_ledger_uses_nothing_up() {
        let ledger = MemoryLedger::default();
        let nonces = Nonces::new(Box::new(ledger.clone()), 10);
        let nonce = key("did:plc:a", "once");
        ledger.fail(true);
        assert!(nonces.claim(until(nonce, 160)).await.is_err());
        ledger.fail(false);
        assert!(nonces.claim(until(nonce, 160)).await.unwrap());
    }
}
