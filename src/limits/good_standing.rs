//! Limits that grow with an account's time without a refusal. Known to this node
//! and in memory only: after a restart everyone starts at the plain limits.

use super::blind::{BlindKey, BlindKeys};
use super::domain::GOOD_STANDING;
use super::settings::{GoodStanding, Settings};
use super::shards::{Shards, part_of};
use crate::types::Did;

/// Since when each account has been in good standing.
pub(super) struct Record(Shards<Entry>);

struct Entry {
    /// Seconds since 1970.
    since: i64,
    seen: i64,
}

impl Record {
    pub(super) fn new() -> Self {
        Self(Shards::new())
    }

    /// What to add to the account's limits, in percent. Notes that it was seen.
    pub(super) fn bonus(&self, did: &Did, keys: &BlindKeys, now: i64, settings: &Settings) -> u16 {
        let name = |key: &BlindKey| key.account(GOOD_STANDING, did);
        let key = name(&keys.current);
        let moved = keys.previous.as_ref().map(name);
        let moved = moved.and_then(|previous| self.0.of(previous).remove(&previous));
        let mut shard = self.0.of(key);
        if let Some(entry) = shard.get_mut(&key) {
            entry.seen = now;
            return bonus_percent(now - entry.since, &settings.good_standing);
        }
        let since = moved.map_or(now, |entry| entry.since);
        if shard.len() < part_of(settings.tables.did_keys) {
            shard.insert(key, Entry { since, seen: now });
        }
        bonus_percent(now - since, &settings.good_standing)
    }

    /// The account was refused: its time starts over.
    pub(super) fn lapse(&self, did: &Did, keys: &BlindKeys, now: i64) {
        let key = keys.current.account(GOOD_STANDING, did);
        if let Some(entry) = self.0.of(key).get_mut(&key) {
            entry.since = now;
        }
    }

    /// Forgets accounts that were not seen for as long as it takes to grow once.
    pub(super) fn sweep(&self, now: i64, settings: &GoodStanding) {
        let most = seconds(settings).saturating_mul(2);
        for mut shard in self.0.each() {
            shard.retain(|_, entry| now - entry.seen < most);
        }
    }
}

/// One step for each stretch, up to the most.
fn bonus_percent(good_for: i64, settings: &GoodStanding) -> u16 {
    let steps = u16::try_from(good_for.max(0) / seconds(settings)).unwrap_or(u16::MAX);
    steps
        .saturating_mul(settings.step_percent)
        .min(settings.most_percent)
}

fn seconds(settings: &GoodStanding) -> i64 {
    i64::try_from(settings.step_after.as_secs())
        .unwrap_or(i64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::{Clock, Limits};
    use crate::runtime::Live;
    use crate::types::Nsid;

    const DAY: i64 = 24 * 3_600;

    #[test]
    fn limits_grow_step_by_step_up_to_a_bound_and_start_over_after_a_refusal() {
        let settings = Settings::default();
        let (record, keys) = (Record::new(), BlindKeys::random());
        let did = Did::parse("did:plc:abc").unwrap();
        let bonus = |day: i64| record.bonus(&did, &keys, day * DAY, &settings);
        assert_eq!(bonus(0), 0);
        assert_eq!(bonus(1), 10);
        assert_eq!(bonus(3), 30);
        assert_eq!(bonus(50), 100);
        record.lapse(&did, &keys, 50 * DAY);
        assert_eq!(bonus(50), 0);
        let keys = BlindKeys {
            current: BlindKey::random(),
            previous: Some(keys.current),
        };
        assert_eq!(
            record.bonus(&did, &keys, 52 * DAY, &settings),
            20,
            "survives a new key"
        );
    }

    #[test]
    fn whoever_is_not_seen_for_long_is_forgotten_and_begins_anew() {
        let settings = Settings::default();
        let (record, keys) = (Record::new(), BlindKeys::random());
        let did = Did::parse("did:plc:abc").unwrap();
        let bonus = |day: i64| record.bonus(&did, &keys, day * DAY, &settings);
        bonus(0);
        record.sweep(2 * DAY - 1, &settings.good_standing);
        assert_eq!(bonus(2), 20, "seen within two days");
        record.sweep(4 * DAY, &settings.good_standing);
        assert_eq!(record.0.each().map(|shard| shard.len()).sum::<usize>(), 0);
        assert_eq!(bonus(4), 0);
    }

    #[test]
    fn whoever_comes_day_by_day_is_not_forgotten() {
        let settings = Settings::default();
        let (record, keys) = (Record::new(), BlindKeys::random());
        let did = Did::parse("did:plc:abc").unwrap();
        for day in 0..10 {
            let bonus = record.bonus(&did, &keys, day * DAY, &settings);
            assert_eq!(i64::from(bonus), 10 * day);
            record.sweep(day * DAY, &settings.good_standing);
        }
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut settings = Settings::default();
        settings.tables.did_keys = 640;
        let (record, keys) = (Record::new(), BlindKeys::random());
        for number in 0..5_000 {
            let did = Did::parse(&format!("did:plc:{number}")).unwrap();
            assert_eq!(record.bonus(&did, &keys, 0, &settings), 0);
        }
        let kept = record.0.each().map(|shard| shard.len()).sum::<usize>();
        assert_eq!(kept, 640);
    }

    #[test]
    fn where_the_operator_says_so_a_call_has_what_good_standing_adds() {
        let mut settings = Settings::default();
        settings.good_standing.enabled = true;
        let plain = settings.calls.default;
        let limits = Limits::new(Live::new(settings), Clock::manual());
        let did = Did::parse("did:plc:abc").unwrap();
        for more in 0..=10 {
            let decision = limits.check_did(&did, Nsid::GetConvos);
            assert_eq!(decision.limit, plain + plain / 10 * more);
            limits.clock().advance(Duration::from_secs(DAY as u64));
        }
    }

    #[test]
    fn nobody_grows_unless_the_operator_says_so() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
        let did = Did::parse("did:plc:abc").unwrap();
        for _ in 0..100 {
            let decision = limits.check_did(&did, Nsid::GetConvos);
            assert_eq!(decision.limit, Settings::default().calls.default);
            limits.clock().advance(Duration::from_secs(DAY as u64));
        }
    }
}
