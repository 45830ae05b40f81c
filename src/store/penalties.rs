//! Stays in the penalty box, as nodes tell each other of them. Keyed hashes only.

use std::time::Duration;

use tokio_postgres::Row;

use super::rows::{bytes, column, get};
use super::secrets::fresh;
use super::{Params, Store, StoreError};

/// One stay, as it is shared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SharedStay {
    /// The hash of an address or an account, under the limiter's key of the day.
    pub subject: [u8; 16],
    /// How many stays there were; the next is twice as long.
    pub level: u8,
    /// Milliseconds since 1970. In the past: lifted.
    pub until: i64,
}

impl Store {
    /// The keys that all nodes name offenders by: this day's, and the one's before if
    /// there is one. `day` counts from 1970.
    pub async fn penalty_keys(&self, day: i64) -> Result<Vec<[u8; 16]>, StoreError> {
        let sql = "SELECT penalty_keys_of($1, $2) AS key";
        let fresh = fresh::<16>()?;
        let read = |row: &Row| bytes(row, "key");
        self.calls()
            .all(sql, &[&day, &fresh.as_slice()], read)
            .await
    }

    /// Tells of stays, and hears of those that changed lately, on whatever node.
    pub async fn exchange_penalties(
        &self,
        told: &[SharedStay],
        within: Duration,
    ) -> Result<Vec<SharedStay>, StoreError> {
        let sql = "SELECT * FROM exchange_penalties($1, $2, $3, $4)";
        let params: Params<'_> = &[
            &column(told, |stay| stay.subject.as_slice()),
            &column(told, |stay| i16::from(stay.level)),
            &column(told, |stay| stay.until),
            &within.as_secs_f64(),
        ];
        let read = |row: &Row| {
            Ok(SharedStay {
                subject: bytes(row, "subject")?,
                level: u8::try_from(get::<i16>(row, "level")?).unwrap_or(u8::MAX),
                until: get(row, "until_ms")?,
            })
        };
        self.calls().all(sql, params, read).await
    }
}
