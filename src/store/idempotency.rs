//! Answers that are given twice: one asker runs, the others get its answer.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Store, StoreError, rows};

/// What the relay knows of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
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
        let mine = self
            .query(
                "INSERT INTO idempotency_keys AS i (key, request_hash, expires_at) \
                 VALUES ($1, $2, coarse_now() + make_interval(secs => $3)) ON CONFLICT (key) DO UPDATE \
                 SET request_hash = excluded.request_hash, expires_at = excluded.expires_at, \
                     answer = NULL \
                 WHERE i.expires_at < now() RETURNING expires_at",
                &[&key, &request, &lease.as_secs_f64()],
            )
            .await?;
        if let Some(row) = mine.first() {
            return Ok(Reservation::Run(Lease(rows::get(row, "expires_at")?)));
        }
        let found = self
            .query(
                "SELECT request_hash = $2 AS same, answer FROM idempotency_keys WHERE key = $1",
                &[&key, &request],
            )
            .await?;
        let Some(row) = found.first() else {
            // Released in between.
            return Ok(Reservation::UnderWay);
        };
        let answer: Option<Vec<u8>> = rows::get(row, "answer")?;
        Ok(match (rows::get(row, "same")?, answer) {
            (false, _) => Reservation::Conflict,
            (true, Some(answer)) => Reservation::Answered(answer),
            (true, None) => Reservation::UnderWay,
        })
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
        self.execute(
            "UPDATE idempotency_keys SET answer = $3, expires_at = coarse_now() + make_interval(secs => $4) \
             WHERE key = $1 AND expires_at = $2 AND answer IS NULL",
            &[&key.as_slice(), &lease.0, &answer, &keep.as_secs_f64()],
        )
        .await
    }

    /// Gives a reservation up: the request was refused, and may be asked again.
    pub async fn release(&self, key: &[u8; 32], lease: Lease) -> Result<(), StoreError> {
        self.execute(
            "DELETE FROM idempotency_keys WHERE key = $1 AND expires_at = $2 AND answer IS NULL",
            &[&key.as_slice(), &lease.0],
        )
        .await
    }
}
