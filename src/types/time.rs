//! Pure. Times that leave the relay or rest in it: whole multiples of 2 s.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

/// How coarse every stored or shown time is, so that timing does not name a sender.
const GRAIN_SECONDS: i64 = 2;

/// A UTC time floored to whole multiples of 2 s.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CoarseTime(i64);

impl CoarseTime {
    /// Floors a time to the grain.
    pub fn floor(time: DateTime<Utc>) -> Self {
        Self::from_unix_seconds(time.timestamp())
    }

    /// Floors seconds since 1970 to the grain.
    pub fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.div_euclid(GRAIN_SECONDS) * GRAIN_SECONDS)
    }

    /// Seconds since 1970.
    pub fn unix_seconds(self) -> i64 {
        self.0
    }

    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0, 0).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// RFC 3339 with milliseconds, as ATProto writes a `datetime`.
    pub fn to_rfc3339(self) -> String {
        self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

impl Serialize for CoarseTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_floored_to_two_seconds() {
        assert_eq!(CoarseTime::from_unix_seconds(1_001).unix_seconds(), 1_000);
        assert_eq!(CoarseTime::from_unix_seconds(-1).unix_seconds(), -2);
        assert_eq!(
            CoarseTime::from_unix_seconds(1_001).to_rfc3339(),
            "1970-01-01T00:16:40.000Z"
        );
    }
}
