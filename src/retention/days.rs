//! Pure. Which daily tables may go.

use chrono::{DateTime, Days, NaiveDate, Utc};

/// The day of a partition, from its name: `messages_20261124`.
fn day_of(partition: &str) -> Option<NaiveDate> {
    let (_, digits) = partition.rsplit_once('_')?;
    NaiveDate::parse_from_str(digits, "%Y%m%d").ok()
}

/// The partitions of which the last moment is older than `ttl_days`.
pub(super) fn expired(partitions: &[String], ttl_days: u16, now: DateTime<Utc>) -> Vec<&str> {
    let Some(oldest_kept) = now
        .date_naive()
        .checked_sub_days(Days::new(ttl_days.into()))
    else {
        return Vec::new();
    };
    // A day ends when the next begins: the day on which the oldest kept moment
    // falls still holds younger ones.
    partitions
        .iter()
        .map(String::as_str)
        .filter(|name| day_of(name).is_some_and(|day| day < oldest_kept))
        .collect()
}

/// The first moment of the oldest day that is kept.
pub(super) fn kept_since(ttl_days: u16, now: DateTime<Utc>) -> DateTime<Utc> {
    now.date_naive()
        .checked_sub_days(Days::new(ttl_days.into()))
        .unwrap_or(NaiveDate::MIN)
        .and_time(chrono::NaiveTime::MIN)
        .and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_goes_when_its_last_moment_is_older_than_the_ttl() {
        let names: Vec<String> = [
            "messages_20261115",
            "messages_20261116",
            "messages_20261117",
        ]
        .map(str::to_owned)
        .into();
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        // Seven days before noon of the 24th is noon of the 17th: the 16th is over.
        assert_eq!(
            expired(&names, 7, at("2026-11-24T12:00:00Z")),
            ["messages_20261115", "messages_20261116"]
        );
        assert_eq!(
            expired(&names, 7, at("2026-11-23T23:59:59Z")),
            ["messages_20261115"]
        );
        assert_eq!(
            kept_since(7, at("2026-11-24T12:00:00Z")),
            at("2026-11-17T00:00:00Z")
        );
    }

    #[test]
    fn a_table_without_a_day_is_never_dropped() {
        let names = [
            "messages".to_owned(),
            "messages_old".to_owned(),
            "x_2026".to_owned(),
        ];
        let now = "2026-11-24T12:00:00Z".parse::<DateTime<Utc>>().unwrap();
        assert!(expired(&names, 0, now).is_empty());
    }
}
