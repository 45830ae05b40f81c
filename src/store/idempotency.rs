//! Answers that are given twice: one asker runs, the others get its answer.

use std::time::Duration;

use chrono::{DateTime, Utc};

use tokio_postgres::Row;

use super::rows::get;
use super::{Params, Store, StoreError};
use crate::types::unprintable;

/// What the relay knows of a key.
#[derive(Clone, Eq, PartialEq)]
pub enum Reservation {
    /// The caller is the first: run, then `keep_answer` or `release`.
    Run(Lease),
    /// The first answer to the same request.
    Answered(Vec<u8>),
    /// The same key came with another request.
    Conflict,
    /// The first asker is still at it.
    UnderWay,
}

unprintable!(Reservation);

/// A reservation that is held, known by when it ends: whoever takes it over then has one
/// that ends later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lease(DateTime<Utc>);

impl Store {
    /// Reserves a key (a hash of caller, call and key) for a request (its hash). A
    /// reservation whose holder died is free again after `lease`.
    pub async fn reserve(
        &self,
        key: &[u8; 32],
        request: &[u8; 32],
        lease: Duration,
    ) -> Result<Reservation, StoreError> {
        let (key, request) = (key.as_slice(), request.as_slice());
        let sql = "INSERT INTO idempotency_keys AS i (key, request_hash, expires_at) \
                   VALUES ($1, $2, coarse_now() + make_interval(secs => $3)) ON CONFLICT (key) DO UPDATE \
                   SET request_hash = excluded.request_hash, expires_at = excluded.expires_at, \
                       answer = NULL \
                   WHERE i.expires_at < now() RETURNING expires_at";
        let params: Params<'_> = &[&key, &request, &lease.as_secs_f64()];
        let mine = |row: &Row| Ok(Reservation::Run(Lease(get(row, "expires_at")?)));
        if let Some(mine) = self.calls().first(sql, params, mine).await? {
            return Ok(mine);
        }
        let sql = "SELECT request_hash = $2 AS same, answer FROM idempotency_keys WHERE key = $1";
        let known = |row: &Row| {
            Ok(match (get(row, "same")?, get(row, "answer")?) {
                (false, _) => Reservation::Conflict,
                (true, Some(answer)) => Reservation::Answered(answer),
                (true, None) => Reservation::UnderWay,
            })
        };
        let known = self.calls().first(sql, &[&key, &request], known).await?;
        // Else it was released in between.
        Ok(known.unwrap_or(Reservation::UnderWay))
    }

    /// Keeps the answer of a reserved request for `keep`; nothing if another asker has
    /// taken the reservation over.
    pub async fn keep_answer(
        &self,
        key: &[u8; 32],
        lease: Lease,
        answer: &[u8],
        keep: Duration,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE idempotency_keys SET answer = $3, expires_at = coarse_now() + make_interval(secs => $4) \
                   WHERE key = $1 AND expires_at = $2 AND answer IS NULL";
        let params: Params<'_> = &[&key.as_slice(), &lease.0, &answer, &keep.as_secs_f64()];
        self.calls().execute(sql, params).await
    }

    /// Gives a reservation up: the request was refused, and may be asked again.
    pub async fn release(&self, key: &[u8; 32], lease: Lease) -> Result<(), StoreError> {
        let sql =
            "DELETE FROM idempotency_keys WHERE key = $1 AND expires_at = $2 AND answer IS NULL";
        self.calls()
            .execute(sql, &[&key.as_slice(), &lease.0])
            .await
    }
}
