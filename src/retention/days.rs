//! Pure. Which daily tables may go, and when none may.

use std::collections::BTreeSet;

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

/// Whether the days behind `now` say that time made a leap a short while ago: each has a table
/// that stood ready days before, for as long as relays run and clocks go. Where some have none,
/// nobody ran, or all clocks were set ahead, as one machine's are with its own. What is older
/// waits for a few days of which the clocks can be told apart from the truth.
pub(super) fn is_after_leap(partitions: &[String], now: DateTime<Utc>) -> bool {
    let today = now.date_naive();
    let days = partitions.iter().filter_map(|name| day_of(name));
    let past: BTreeSet<NaiveDate> = days.filter(|day| *day < today).collect();
    // Yesterday's table is made beside today's, whether or not there was such a day.
    let made_at_once = 1;
    let lately = today
        .iter_days()
        .rev()
        .skip(1)
        .take(made_at_once + LEAP_DOUBTED_DAYS);
    let unbroken = lately.take_while(|day| past.contains(day)).count();
    unbroken < past.len() && unbroken < made_at_once + LEAP_DOUBTED_DAYS
}

/// Long enough for whoever set the clock to hear that nobody's token is good any more.
const LEAP_DOUBTED_DAYS: usize = 3;

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
    fn a_leap_is_doubted_for_three_days_and_a_young_or_steady_relay_never() {
        let noon = "2026-11-24T12:00:00Z".parse::<DateTime<Utc>>().unwrap();
        let day = |offset: i64| {
            let day = noon + chrono::TimeDelta::days(offset);
            format!("messages_{}", day.format("%Y%m%d"))
        };
        let is_doubted = |offsets: &mut dyn Iterator<Item = i64>, today: i64| {
            let partitions: Vec<String> = offsets.map(day).collect();
            is_after_leap(&partitions, noon + chrono::TimeDelta::days(today))
        };
        // Made at noon today, and on each day after.
        for today in 0..9 {
            assert!(!is_doubted(&mut (-1..today + 4), today), "{today}");
        }
        assert!(!is_doubted(&mut (-31..4), 0));
        // The clocks leap by forty days.
        let leapt = |today: i64| is_doubted(&mut (-31..4).chain(39..today + 4), today);
        assert!([40, 41, 42].into_iter().all(leapt));
        assert!(!leapt(43));
        // And are set right again.
        assert!(!is_doubted(&mut (-31..5).chain(39..44), 1));
        // They go back by as much.
        assert!(!is_doubted(&mut (-41..-36).chain(-31..4), -40));
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
