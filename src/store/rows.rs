//! Pure. The relay's types as Postgres has them. What is read is checked, as everywhere.

use std::convert::Infallible;
use std::error::Error;

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::StoreError;
use crate::types::{CipherSuite, CoarseTime, ConvoId, DeviceId, Did, Epoch, MessageId, Seq};
use crate::wire::Sha256Hex;
use crate::wire::calls::ReportStatus;

/// One column, of the type that the caller wants.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(|_| StoreError::Shape)
}

pub(super) fn bytes<const N: usize>(row: &Row, column: &str) -> Result<[u8; N], StoreError> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map_err(|_| StoreError::Shape)
}

pub(super) fn count(row: &Row, column: &str) -> Result<u64, StoreError> {
    u64::try_from(get::<i64>(row, column)?).map_err(|_| StoreError::Shape)
}

/// One value of each item, for a statement that takes them as columns.
pub(super) fn column<'a, I, T>(items: &'a [I], value: impl Fn(&'a I) -> T) -> Vec<T> {
    items.iter().map(value).collect()
}

/// A number as Postgres has it. Sequence numbers stay below 2^53.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A bound as Postgres has it: one that it cannot have is none.
pub(super) fn bound(most: u32) -> i32 {
    i32::try_from(most).unwrap_or(i32::MAX)
}

type Converted<T> = Result<T, Box<dyn Error + Sync + Send>>;

/// Types that Postgres has in another form: how they are written and read.
macro_rules! stored {
    ($($name:ty as $form:ty: $write:expr, $read:expr;)+) => {$(
        impl ToSql for $name {
            fn to_sql(&self, column: &Type, out: &mut BytesMut) -> Converted<IsNull> {
                $write(self).to_sql(column, out)
            }

            fn accepts(column: &Type) -> bool {
                <$form as ToSql>::accepts(column)
            }

            to_sql_checked!();
        }

        impl<'a> FromSql<'a> for $name {
            fn from_sql(column: &Type, raw: &'a [u8]) -> Converted<Self> {
                Ok($read(<$form>::from_sql(column, raw)?)?)
            }

            fn accepts(column: &Type) -> bool {
                <$form as FromSql>::accepts(column)
            }
        }
    )+};
}

stored! {
    CipherSuite as i16: suite_number, suite;
    CoarseTime as DateTime<Utc>: |time: &Self| time.to_utc(), |time| Ok::<_, Infallible>(Self::floor(time));
    ConvoId as &str: Self::expose, Self::parse;
    DeviceId as &str: Self::expose, Self::parse;
    Did as &str: Self::expose, Self::parse;
    Epoch as i64: |epoch: &Self| int(epoch.get()), |epoch| Self::try_from(unsigned(epoch)?);
    MessageId as &str: Self::expose, Self::parse;
    ReportStatus as &str: |status: &Self| status.name(), status;
    Seq as i64: |seq: &Self| int(seq.get()), |seq| unsigned(seq).map(Self::new);
    Sha256Hex as &[u8]: hash_bytes, |hash| <[u8; 32]>::try_from(hash).map(Self);
}

fn suite_number(suite: &CipherSuite) -> i16 {
    i16::try_from(suite.number()).unwrap_or_default()
}

fn suite(number: i16) -> Result<CipherSuite, &'static str> {
    let number = u16::try_from(number).ok();
    let suite = number.and_then(CipherSuite::from_number);
    suite.ok_or("is no cipher suite")
}

fn hash_bytes(hash: &Sha256Hex) -> &[u8] {
    &hash.0
}

fn status(name: &str) -> Result<ReportStatus, &'static str> {
    use ReportStatus::{Dismissed, Pending, Resolved};
    let mut all = [Pending, Resolved, Dismissed].into_iter();
    all.find(|status| status.name() == name)
        .ok_or("is no status")
}

fn unsigned(number: i64) -> Result<u64, &'static str> {
    u64::try_from(number).map_err(|_| "is below zero")
}

/// Declares what may become of a call, by the names that the functions of `sql/` have for it.
macro_rules! outcomes {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name {
            $($(#[$of])* $variant,)+
        }

        impl<'a> tokio_postgres::types::FromSql<'a> for $name {
            fn from_sql(
                column: &tokio_postgres::types::Type,
                raw: &'a [u8],
            ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
                match <&str>::from_sql(column, raw)? {
                    $($text => Ok(Self::$variant),)+
                    _ => Err("is no such outcome".into()),
                }
            }

            fn accepts(column: &tokio_postgres::types::Type) -> bool {
                <&str as tokio_postgres::types::FromSql>::accepts(column)
            }
        }
    };
}

pub(super) use outcomes;
