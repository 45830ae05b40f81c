//! Stays in the penalty box, as nodes tell each other of them. Keyed hashes only.

use std::time::Duration;

use super::secrets::fresh;
use super::{Store, StoreError, rows};

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
        let found = self
            .query(
                "SELECT penalty_keys_of($1, $2) AS key",
                &[&day, &fresh::<16>()?.as_slice()],
            )
            .await?;
        found.iter().map(|row| rows::bytes(row, "key")).collect()
    }

    /// Tells of stays, and hears of those that changed lately, on whatever node.
    pub async fn exchange_penalties(
        &self,
        told: &[SharedStay],
        within: Duration,
    ) -> Result<Vec<SharedStay>, StoreError> {
        let subjects: Vec<&[u8]> = told.iter().map(|row| row.subject.as_slice()).collect();
        let levels: Vec<i16> = told.iter().map(|row| i16::from(row.level)).collect();
        let untils: Vec<i64> = told.iter().map(|row| row.until).collect();
        let found = self
            .query(
                "SELECT * FROM exchange_penalties($1, $2, $3, $4)",
                &[&subjects, &levels, &untils, &within.as_secs_f64()],
            )
            .await?;
        found
            .iter()
            .map(|row| {
                Ok(SharedStay {
                    subject: rows::bytes(row, "subject")?,
                    level: u8::try_from(rows::get::<i16>(row, "level")?).unwrap_or(u8::MAX),
                    until: rows::get(row, "until_ms")?,
                })
            })
            .collect()
    }
}
