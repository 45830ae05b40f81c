//! Pure. Postgres values to the relay's types.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::StoreError;
use crate::types::{CipherSuite, CoarseTime, ConvoId, DeviceId, Did, Epoch, MessageId, Seq};

/// One column, of the type that the caller wants.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(|_| StoreError::Shape)
}

pub(super) fn did(row: &Row, column: &str) -> Result<Did, StoreError> {
    Did::parse(get(row, column)?).map_err(|_| StoreError::Shape)
}

pub(super) fn dids(row: &Row, column: &str) -> Result<Vec<Did>, StoreError> {
    let texts: Vec<&str> = get(row, column)?;
    let dids = texts.into_iter().map(Did::parse).collect::<Result<_, _>>();
    dids.map_err(|_| StoreError::Shape)
}

pub(super) fn convo(row: &Row, column: &str) -> Result<ConvoId, StoreError> {
    ConvoId::parse(get(row, column)?).map_err(|_| StoreError::Shape)
}

pub(super) fn message_id(row: &Row, column: &str) -> Result<MessageId, StoreError> {
    MessageId::parse(get(row, column)?).map_err(|_| StoreError::Shape)
}

pub(super) fn device(row: &Row, column: &str) -> Result<Option<DeviceId>, StoreError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| DeviceId::parse(text).map_err(|_| StoreError::Shape))
        .transpose()
}

pub(super) fn bytes<const N: usize>(row: &Row, column: &str) -> Result<[u8; N], StoreError> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map_err(|_| StoreError::Shape)
}

pub(super) fn count(row: &Row, column: &str) -> Result<u64, StoreError> {
    u64::try_from(get::<i64>(row, column)?).map_err(|_| StoreError::Shape)
}

pub(super) fn seq(row: &Row, column: &str) -> Result<Seq, StoreError> {
    Ok(Seq::new(count(row, column)?))
}

pub(super) fn epoch(row: &Row, column: &str) -> Result<Epoch, StoreError> {
    Epoch::try_from(count(row, column)?).map_err(|_| StoreError::Shape)
}

pub(super) fn time(row: &Row, column: &str) -> Result<CoarseTime, StoreError> {
    Ok(CoarseTime::floor(get::<DateTime<Utc>>(row, column)?))
}

pub(super) fn optional_time(row: &Row, column: &str) -> Result<Option<CoarseTime>, StoreError> {
    Ok(get::<Option<DateTime<Utc>>>(row, column)?.map(CoarseTime::floor))
}

pub(super) fn suite(row: &Row, column: &str) -> Result<CipherSuite, StoreError> {
    u16::try_from(get::<i16>(row, column)?)
        .ok()
        .and_then(CipherSuite::from_number)
        .ok_or(StoreError::Shape)
}

/// A sequence number as Postgres has it. Numbers stay below 2^53.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn suite_number(suite: CipherSuite) -> i16 {
    i16::try_from(suite.number()).unwrap_or_default()
}
