//! Windows by key: sharded, bounded, and never in anyone's way.
//!
//! A full table refuses nobody and forgets nobody who counts: entries whose window
//! is empty make room (they say nothing that a fresh entry would not), and whoever
//! finds no room shares a wide entry with the rest of its network. So whoever
//! cycles through addresses ends up sharing with itself.

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::Tick;
use super::blind::Blind;
use super::window::{Log, Quota, SPAN_MS_MAX, Verdict};

/// A place that was taken, to be given back. Never refers to who took it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    key: Blind,
    at: Tick,
    shared: bool,
}

/// A subject's names: now, before the key was replaced, and when there is no room.
pub(super) struct Names<W> {
    pub(super) current: Blind,
    pub(super) previous: Option<Blind>,
    pub(super) wide: W,
}

pub(super) struct Table {
    shards: Box<[Mutex<Shard>; SHARDS]>,
    /// Shared entries of those who found no room.
    wide: Box<[Mutex<Log>; WIDE]>,
}

/// Aligned so that two cores at neighbouring shards do not share a cache line.
#[repr(align(64))]
#[derive(Default)]
struct Shard {
    entries: HashTable<Entry>,
    /// When room was last looked for, so that a full shard does not search itself
    /// for each newcomer.
    made_room: Option<Tick>,
}

struct Entry {
    low: u64,
    log: Log,
}

/// What a sweep found and left.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Swept {
    pub(super) kept: usize,
    pub(super) dropped: usize,
}

impl Table {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            shards: Box::new(std::array::from_fn(|_| Mutex::default())),
            wide: Box::new(std::array::from_fn(|_| Mutex::new(Log::new(now)))),
        }
    }

    /// Takes a place in the subject's window, if there is one.
    pub(super) fn take<W>(
        &self,
        names: Names<W>,
        keys_max: u32,
        now: Tick,
        quota: Quota,
    ) -> (Verdict, Place)
    where
        W: FnOnce() -> Blind,
    {
        let key = names.current;
        let moved = names.previous.and_then(|previous| self.remove(previous));
        let mut shard = self.shard(key).lock();
        let place = |key, shared| Place {
            key,
            at: now,
            shared,
        };
        if let Some(entry) = shard
            .entries
            .find_mut(key.low(), |entry| entry.low == key.low())
        {
            return (entry.log.take(now, quota), place(key, false));
        }
        if shard.has_room(keys_max, now) {
            let mut log = moved.unwrap_or_else(|| Log::new(now));
            let verdict = log.take(now, quota);
            shard.insert(key, log);
            return (verdict, place(key, false));
        }
        drop(shard);
        metrics::counter!("relay_limits_shared_entry_total").increment(1);
        let wide = (names.wide)();
        let verdict = self
            .wide_entry(wide)
            .lock()
            .take(now, quota.times(WIDE_SHARE));
        (verdict, place(wide, true))
    }

    pub(super) fn give_back(&self, place: Place) {
        if place.shared {
            self.wide_entry(place.key).lock().give_back(place.at);
            return;
        }
        let mut shard = self.shard(place.key).lock();
        let low = place.key.low();
        if let Some(entry) = shard.entries.find_mut(low, |entry| entry.low == low) {
            entry.log.give_back(place.at);
        }
    }

    /// Remembers that the subject was here, if there is room to.
    pub(super) fn note(&self, key: Blind, keys_max: u32, now: Tick) {
        let mut shard = self.shard(key).lock();
        if let Some(entry) = shard
            .entries
            .find_mut(key.low(), |entry| entry.low == key.low())
        {
            entry.log.restart(now);
        } else if shard.has_room(keys_max, now) {
            shard.insert(key, Log::new(now));
        }
    }

    /// Whether the subject was noted less than this long ago.
    pub(super) fn noted_within(&self, key: Blind, millis: u32, now: Tick) -> bool {
        let shard = self.shard(key).lock();
        let found = shard
            .entries
            .find(key.low(), |entry| entry.low == key.low());
        found.is_some_and(|entry| entry.log.idle_ms(now) < millis)
    }

    /// Drops entries that had no admission for this long. One shard at a time, so
    /// nobody waits for more than a few thousand entries.
    pub(super) fn sweep(&self, idle_ms: u32, now: Tick) -> Swept {
        let idle_ms = idle_ms.max(u32::from(SPAN_MS_MAX));
        let mut swept = Swept::default();
        for shard in self.shards.iter() {
            let mut shard = shard.lock();
            swept.dropped += shard.drop_idle(idle_ms, now);
            swept.kept += shard.entries.len();
            if shard.entries.len() < shard.entries.capacity() / 4 {
                shard.entries.shrink_to(0, |entry| entry.low);
            }
        }
        swept
    }

    fn remove(&self, key: Blind) -> Option<Log> {
        let mut shard = self.shard(key).lock();
        let found = shard
            .entries
            .find_entry(key.low(), |entry| entry.low == key.low());
        found.ok().map(|entry| entry.remove().0.log)
    }

    fn shard(&self, key: Blind) -> &Mutex<Shard> {
        // The mask is below the length of the array.
        &self.shards[key.high() as usize & (SHARDS - 1)]
    }

    fn wide_entry(&self, key: Blind) -> &Mutex<Log> {
        &self.wide[key.high() as usize & (WIDE - 1)]
    }
}

impl Shard {
    /// Whether one more entry fits, after looking for room if need be.
    fn has_room(&mut self, keys_max: u32, now: Tick) -> bool {
        let most = (keys_max as usize).div_ceil(SHARDS);
        if self.entries.len() < most {
            return true;
        }
        let looked = self
            .made_room
            .is_some_and(|at| now.since(at) < ROOM_EVERY_MS);
        if !looked {
            self.made_room = Some(now);
            self.drop_idle(u32::from(SPAN_MS_MAX), now);
        }
        self.entries.len() < most
    }

    fn insert(&mut self, key: Blind, log: Log) {
        let low = key.low();
        self.entries
            .insert_unique(low, Entry { low, log }, |entry| entry.low);
    }

    fn drop_idle(&mut self, idle_ms: u32, now: Tick) -> usize {
        let before = self.entries.len();
        self.entries
            .retain(|entry| entry.log.idle_ms(now) < idle_ms);
        before - self.entries.len()
    }
}

/// Enough that two cores rarely meet, few enough that a shard's growth or sweep
/// takes microseconds. Powers of two, to be masks.
const SHARDS: usize = 512;
const WIDE: usize = 1_024;

/// A wide entry stands for a network of 2^16 addresses: it gets more than one
/// address does, and far less than all of them would.
const WIDE_SHARE: u16 = 16;

/// A full shard looks for room this often at most: once a second over a million
/// entries is below one percent of a core.
const ROOM_EVERY_MS: u32 = 1_000;

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
