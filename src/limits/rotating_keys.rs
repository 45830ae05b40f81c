//! The keys of the tables' names. Every check reads one, so reading takes no lock and
//! counts no reader: a key is two words, and they change once a day.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::blind::{BlindKey, BlindKeys};
use super::tick::millis;
use super::{Clock, Settings, Tick};

/// Two keys that take turns: the one in use and the one before it.
pub(super) struct RotatingKeys {
    /// How often the key was replaced: the one in use is that of this turn.
    turn: AtomicU32,
    keys: [Words; 2],
    /// Milliseconds of the limiter's clock.
    since_ms: AtomicU64,
}

type Words = [AtomicU64; 2];

/// The keys at one moment, and since when the current one is in use.
#[derive(Clone, Copy)]
pub(super) struct KeysNow {
    pub(super) keys: BlindKeys,
    since: Duration,
}

impl RotatingKeys {
    pub(super) fn random(clock: &Clock) -> Self {
        let keys = Self {
            turn: AtomicU32::new(0),
            keys: Default::default(),
            since_ms: AtomicU64::new(millis_of(clock.elapsed())),
        };
        write(&keys.keys[0], BlindKey::random());
        keys
    }

    #[inline]
    pub(super) fn load(&self) -> KeysNow {
        let turn = self.turn.load(Ordering::Acquire);
        let [current, previous] = match turn % 2 {
            0 => [&self.keys[0], &self.keys[1]],
            _ => [&self.keys[1], &self.keys[0]],
        };
        KeysNow {
            keys: BlindKeys {
                current: read(current),
                previous: (turn > 0).then(|| read(previous)),
            },
            since: Duration::from_millis(self.since_ms.load(Ordering::Relaxed)),
        }
    }

    /// Replaces the key in use where it is that old. Only one task may call this. Whoever
    /// reads meanwhile may find an empty entry under the key that goes for good, which is
    /// a day old; the one in use is never written to.
    pub(super) fn rotate_when_due(&self, every: Duration, now: Duration) {
        let turn = self.turn.load(Ordering::Relaxed);
        let since = Duration::from_millis(self.since_ms.load(Ordering::Relaxed));
        if now.saturating_sub(since) < every {
            return;
        }
        let next = turn.wrapping_add(1);
        write(&self.keys[next as usize % 2], BlindKey::random());
        self.since_ms.store(millis_of(now), Ordering::Relaxed);
        self.turn.store(next, Ordering::Release);
    }
}

impl KeysNow {
    /// Windows are a minute long and idle entries leave after ten, so the key before is
    /// only asked for soon after the change.
    pub(super) fn previous_at(&self, now: Tick, settings: &Settings) -> Option<&BlindKey> {
        self.previous_within(settings.tables.idle_after, now)
    }

    /// The key before, for so long after the change.
    pub(super) fn previous_within(&self, time: Duration, now: Tick) -> Option<&BlindKey> {
        let previous = self.keys.previous.as_ref()?;
        let since = now.since(Tick::at(self.since));
        (millis(since) < time).then_some(previous)
    }
}

#[inline]
fn read(words: &Words) -> BlindKey {
    let [first, second] = words;
    BlindKey(
        first.load(Ordering::Relaxed),
        second.load(Ordering::Relaxed),
    )
}

fn write(words: &Words, key: BlindKey) {
    let [first, second] = words;
    first.store(key.0, Ordering::Relaxed);
    second.store(key.1, Ordering::Relaxed);
}

fn millis_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClientIp;

    #[test]
    fn the_key_before_stays_for_one_turn() {
        let clock = Clock::manual();
        let day = Duration::from_secs(86_400);
        let client = ClientIp::new("192.0.2.1".parse().unwrap());
        let keys = RotatingKeys::random(&clock);
        let name = |key: BlindKey| key.address(1, client);
        let first = keys.load().keys;
        assert!(first.previous.is_none());
        keys.rotate_when_due(day, day / 2);
        assert_eq!(name(keys.load().keys.current), name(first.current));
        for turn in 1..4 {
            let before = keys.load().keys.current;
            keys.rotate_when_due(day, day * turn);
            let now = keys.load().keys;
            assert_ne!(name(now.current), name(before));
            assert_eq!(now.previous.map(name), Some(name(before)));
        }
    }
}
