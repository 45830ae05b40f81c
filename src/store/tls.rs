//! What nodes share to meet clients as one: the keys of session tickets, and what ACME
//! gave to any of them.

use std::time::Duration;

use tokio_postgres::Row;

use super::rows::{bytes, count, get, int};
use super::secrets::fresh;
use super::{Params, Store, StoreError};
use crate::types::unprintable;

/// What an ACME directory gave to the nodes of this database.
#[derive(Clone, Default)]
pub struct AcmeRecord {
    /// The account's credentials, as the client library writes them.
    pub account: Option<String>,
    /// Chain and key, PEM.
    pub certificate: Option<String>,
    /// Orders that failed since the last one that did not.
    pub failures: u32,
}

unprintable!(AcmeRecord);

impl Store {
    /// The keys of session tickets; those that encrypt now and next are made if nobody
    /// has yet. All are named by the second at which they begin. Those whose `life` is
    /// over are deleted, by Postgres' clock: a node whose own is wrong would take the
    /// keys of all others.
    pub async fn ticket_keys(
        &self,
        [current, next]: [u64; 2],
        life: Duration,
    ) -> Result<Vec<(u64, [u8; 32])>, StoreError> {
        let make = "INSERT INTO tls_ticket_keys (begins, value) VALUES ($1, $2), ($3, $4) \
                    ON CONFLICT DO NOTHING";
        let (one, other) = (fresh::<32>()?, fresh::<32>()?);
        let keys: Params<'_> = &[
            &int(current),
            &one.as_slice(),
            &int(next),
            &other.as_slice(),
        ];
        self.calls().execute(make, keys).await?;
        let forget = "DELETE FROM tls_ticket_keys \
                      WHERE to_timestamp(begins) <= now() - make_interval(secs => $1)";
        self.calls().execute(forget, &[&life.as_secs_f64()]).await?;
        let sql = "SELECT begins, value FROM tls_ticket_keys";
        let read = |row: &Row| Ok((count(row, "begins")?, bytes(row, "value")?));
        self.calls().all(sql, &[], read).await
    }

    /// What a directory has given.
    pub async fn acme_record(&self, directory: &str) -> Result<AcmeRecord, StoreError> {
        let sql = "SELECT account, certificate, failures FROM acme WHERE directory = $1";
        let read = |row: &Row| {
            Ok(AcmeRecord {
                account: get(row, "account")?,
                certificate: get(row, "certificate")?,
                failures: u32::try_from(get::<i32>(row, "failures")?).unwrap_or_default(),
            })
        };
        let record = self.calls().first(sql, &[&directory], read).await?;
        Ok(record.unwrap_or_default())
    }

    /// Takes the turn to order from a directory, for a while; false if another node has
    /// it, or if the last failure was too short a time ago. Nobody waits for longer than half a
    /// day: what is farther away was said by a clock that ran ahead, and is set right by now.
    pub async fn take_acme_turn(
        &self,
        directory: &str,
        length: Duration,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO acme AS a (directory, turn_until) \
                   VALUES ($1, coarse_now() + make_interval(secs => 2 * ceil($2::double precision / 2))) \
                   ON CONFLICT (directory) DO UPDATE SET turn_until = EXCLUDED.turn_until \
                   WHERE a.turn_until NOT BETWEEN now() AND now() + interval '1 day' \
                   RETURNING directory";
        let params: Params<'_> = &[&directory, &length.as_secs_f64()];
        Ok(!self.calls().query(sql, params).await?.is_empty())
    }

    /// Keeps the account of a directory for all nodes; None forgets it.
    pub async fn keep_acme_account(
        &self,
        directory: &str,
        account: Option<&str>,
    ) -> Result<(), StoreError> {
        let keep = "UPDATE acme SET account = $2 WHERE directory = $1";
        self.calls().execute(keep, &[&directory, &account]).await
    }

    /// Keeps a certificate with its key for all nodes, and ends the turn.
    pub async fn keep_acme_certificate(
        &self,
        directory: &str,
        certificate: &str,
    ) -> Result<(), StoreError> {
        let keep = "UPDATE acme SET certificate = $2, failures = 0, turn_until = coarse_now() \
                    WHERE directory = $1";
        self.calls()
            .execute(keep, &[&directory, &certificate])
            .await
    }

    /// Ends a turn that failed: nobody tries again before `wait` is over.
    pub async fn fail_acme_turn(&self, directory: &str, wait: Duration) -> Result<(), StoreError> {
        let end = "UPDATE acme SET failures = least(failures, 1000) + 1, \
             turn_until = coarse_now() + make_interval(secs => 2 * ceil($2::double precision / 2)) \
             WHERE directory = $1";
        let params: Params<'_> = &[&directory, &wait.as_secs_f64()];
        self.calls().execute(end, params).await
    }

    /// Tells all nodes how to prove a domain, until the turn is surely over.
    pub async fn put_acme_challenge(
        &self,
        domain: &str,
        digest: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let put = "INSERT INTO acme_challenges AS c (domain, digest, expires_at) \
                   VALUES ($1, $2, coarse_now() + make_interval(secs => $3)) ON CONFLICT (domain) \
                   DO UPDATE SET digest = EXCLUDED.digest, expires_at = EXCLUDED.expires_at";
        let params: Params<'_> = &[&domain, &digest, &ttl.as_secs_f64()];
        self.calls().execute(put, params).await
    }

    /// How to prove a domain, if it is to be proved now.
    pub async fn acme_challenge(&self, domain: &str) -> Result<Option<[u8; 32]>, StoreError> {
        let sql = "SELECT digest FROM acme_challenges WHERE domain = $1 AND expires_at > now()";
        let read = |row: &Row| bytes(row, "digest");
        self.calls().first(sql, &[&domain], read).await
    }

    /// Forgets the challenges of domains whose turn is over.
    pub async fn forget_acme_challenges(&self) -> Result<(), StoreError> {
        let forget = "DELETE FROM acme_challenges WHERE expires_at <= now()";
        self.calls().execute(forget, &[]).await
    }
}
