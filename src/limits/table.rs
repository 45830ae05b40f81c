//! Windows and budgets by key: one cache line a check, bounded, and never in anyone's way.
//!
//! Each key belongs to one line; an entry that finds its line full lives in one of
//! the next few, and the line counts those. The table is as large as it will ever be
//! from the start, so nothing is ever rehashed or moved.
//!
//! A full neighbourhood refuses nobody and forgets nobody who counts: entries whose
//! window is empty make room (they say nothing that a fresh entry would not), and
//! whoever finds no room shares a wide entry with the rest of its network. So whoever
//! cycles through addresses ends up sharing with itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::Tick;
use super::blind::Blind;
use super::bucket::{Budgets, Rates, Waits};
use super::line::{Found, Line, Rings, SLOTS, Slots};
use super::tick::millis;
use super::window::{Admissions, Log, Quota, SPAN_MS_MAX, Verdict};

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
    lines: Box<[Line]>,
    rings: Box<[Mutex<Rings>; RINGS]>,
    /// Shared entries of those who found no room.
    wide: Box<[Mutex<Log>; WIDE]>,
    wide_budgets: Box<[Mutex<Log>; WIDE]>,
    /// How long an entry must have been idle to make room for another.
    room_after_ms: AtomicU32,
}

/// What a sweep found and left.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Swept {
    pub(super) kept: usize,
    pub(super) dropped: usize,
}

impl Table {
    /// A table for this many keys. Lines are half full then: few entries live away
    /// from their own line, and next to none find no room.
    pub(super) fn new(keys: u32, room_after_ms: u32, now: Tick) -> Self {
        let lines = (keys as usize * 2).div_ceil(SLOTS).max(1);
        let lines: Box<[Line]> = (0..lines + REACH).map(|_| Line::new()).collect();
        // Empty lines are zeros, which the system gives out page by page at the first
        // touch: now, and not in the middle of a check.
        for line in lines.iter().step_by(LINES_A_PAGE) {
            drop(line.0.lock());
        }
        Self {
            lines,
            rings: Box::new(std::array::from_fn(|_| Mutex::default())),
            wide: Box::new(std::array::from_fn(|_| Mutex::new(Log::new(now)))),
            wide_budgets: Box::new(std::array::from_fn(|_| Mutex::new(Log::new(now)))),
            room_after_ms: AtomicU32::new(room_after_ms.max(u32::from(SPAN_MS_MAX))),
        }
    }

    /// Changes how long an entry must have been idle to make room for another.
    pub(super) fn set_room_after(&self, room_after_ms: u32) {
        let room_after_ms = room_after_ms.max(u32::from(SPAN_MS_MAX));
        self.room_after_ms.store(room_after_ms, Ordering::Relaxed);
    }

    /// Has the key's line come from memory, for a look soon. Where the processor's hint
    /// is not to be had, the look waits for it.
    #[inline]
    pub(super) fn send_for(&self, key: Blind) {
        let (home, _) = self.place_of(key);
        #[cfg(target_arch = "x86_64")]
        safe_arch::prefetch_et0(&self.lines[home]);
        #[cfg(not(target_arch = "x86_64"))]
        let _ = home;
    }

    /// Takes a place in the subject's window, if there is one.
    #[inline]
    pub(super) fn take<W>(&self, names: Names<W>, now: Tick, quota: Quota) -> (Verdict, Place)
    where
        W: FnOnce() -> Blind,
    {
        let key = names.current;
        if let Some(mut entry) = self.own(&names, now) {
            let verdict = entry.take(now, quota);
            // Where another core's clock was ahead, it was taken at that time.
            let (at, shared) = (entry.newest(), false);
            return (verdict, Place { key, at, shared });
        }
        let (key, shared) = ((names.wide)(), true);
        let mut log = wide_entry(&self.wide, key).lock();
        let verdict = log.take(now, quota.times(WIDE_SHARE));
        let at = log.newest();
        (verdict, Place { key, at, shared })
    }

    /// Spends so many bytes of the subject's budgets; for how long they have not enough.
    pub(super) fn spend<W>(&self, names: Names<W>, now: Tick, bytes: u64, rates: Rates) -> Waits
    where
        W: FnOnce() -> Blind,
    {
        let spend = |budgets: &mut Budgets, rates| budgets.spend(bytes, rates);
        self.change_budgets(names, now, rates, spend)
    }

    /// Takes so many bytes of the subject's budgets, whether or not they have enough.
    pub(super) fn charge<W>(&self, names: Names<W>, now: Tick, bytes: u64, rates: Rates)
    where
        W: FnOnce() -> Blind,
    {
        let charge = |budgets: &mut Budgets, rates| budgets.charge(bytes, rates);
        self.change_budgets(names, now, rates, charge);
    }

    /// Changes the subject's budgets, or those that all share who find no room.
    fn change_budgets<W, T>(
        &self,
        names: Names<W>,
        now: Tick,
        rates: Rates,
        change: impl FnOnce(&mut Budgets, Rates) -> T,
    ) -> T
    where
        W: FnOnce() -> Blind,
    {
        if let Some(mut entry) = self.own(&names, now) {
            let mut budgets = entry.budgets(now);
            let changed = change(&mut budgets, rates);
            entry.keep_budgets(budgets, now);
            return changed;
        }
        let mut log = wide_entry(&self.wide_budgets, (names.wide)()).lock();
        let mut budgets = Budgets::kept_in(&*log, now);
        let changed = change(&mut budgets, rates.map(|rate| rate.times(WIDE_SHARE)));
        budgets.keep_in(&mut *log, now);
        changed
    }

    /// For how long the subject's budgets have not so many bytes, if nothing more is spent. One
    /// that has no entry owes nothing, but for what those owe together who find no room.
    pub(super) fn waits<W>(&self, names: Names<W>, now: Tick, bytes: u64, rates: Rates) -> Waits
    where
        W: FnOnce() -> Blind,
    {
        let entry = self.find(names.current);
        let entry = entry.or_else(|| self.find(names.previous?));
        if let Some(entry) = entry {
            return entry.budgets(now).spend(bytes, rates);
        }
        let log = wide_entry(&self.wide_budgets, (names.wide)()).lock();
        let rates = rates.map(|rate| rate.times(WIDE_SHARE));
        Budgets::kept_in(&*log, now).spend(bytes, rates)
    }

    /// Until a subject of these names would be admitted, if nothing more is; no place is
    /// taken for it.
    pub(super) fn wait<W>(&self, names: &Names<W>, now: Tick, quota: Quota) -> Duration {
        let waits = std::iter::once(names.current)
            .chain(names.previous)
            .filter_map(|name| self.find(name)?.blocked_for(now, quota));
        waits.max().map(millis).unwrap_or_default()
    }

    pub(super) fn give_back(&self, place: Place) {
        if place.shared {
            wide_entry(&self.wide, place.key).lock().give_back(place.at);
        } else if let Some(mut entry) = self.find(place.key) {
            entry.give_back(place.at);
        }
    }

    /// Remembers that the subject was here, if there is room to.
    pub(super) fn note(&self, key: Blind, now: Tick) {
        if let Some(mut entry) = self.find_or_claim(key, now) {
            let newest = entry.newest().latest(now);
            entry.set_newest(newest);
        }
    }

    /// Whether the subject was noted less than this long ago.
    pub(super) fn noted_within(&self, key: Blind, millis: u32, now: Tick) -> bool {
        self.find(key)
            .is_some_and(|entry| now.since(entry.newest()) < millis)
    }

    /// Drops entries that had no admission for this long. A few lines at a time, so
    /// nobody waits for it.
    pub(super) fn sweep(&self, idle_ms: u32, now: Tick) -> Swept {
        let idle_ms = idle_ms.max(u32::from(SPAN_MS_MAX));
        let mut swept = Swept::default();
        for home in 0..self.homes() {
            swept.dropped += self.drop_idle_of(home, idle_ms, now);
        }
        for log in self.wide.iter().chain(self.wide_budgets.iter()) {
            log.lock().settle(now);
        }
        swept.kept = self.lines.iter().map(|line| line.0.lock().count()).sum();
        swept
    }

    /// The subject's own entry, if there is room for one.
    #[inline]
    fn own<W>(&self, names: &Names<W>, now: Tick) -> Option<Found<'_>> {
        if let Some(previous) = names.previous {
            self.rename(previous, names.current, now);
        }
        let own = self.find_or_claim(names.current, now);
        if own.is_none() {
            metrics::counter!("relay_limits_shared_entry_total").increment(1);
        }
        own
    }

    fn find(&self, key: Blind) -> Option<Found<'_>> {
        let (home, tag) = self.place_of(key);
        let first = self.lines[home].0.lock();
        if let Some(index) = first.find(tag, 0) {
            return Some(self.found(home, first, index));
        }
        self.find_away(home, &first, tag)
    }

    #[inline]
    fn find_or_claim(&self, key: Blind, now: Tick) -> Option<Found<'_>> {
        if let Some(entry) = self.find_or_claim_free(key, now) {
            return Some(entry);
        }
        let (home, _) = self.place_of(key);
        self.make_room(home, now);
        self.find_or_claim_free(key, now)
    }

    #[inline]
    fn find_or_claim_free(&self, key: Blind, now: Tick) -> Option<Found<'_>> {
        let (home, tag) = self.place_of(key);
        // Held until the entry is found or made: no one makes it twice.
        let mut first = self.lines[home].0.lock();
        if let Some(index) = first.find(tag, 0) {
            return Some(self.found(home, first, index));
        }
        if let Some(away) = self.find_away(home, &first, tag) {
            return Some(away);
        }
        match first.claim(tag, 0, now) {
            Some(index) => Some(self.found(home, first, index)),
            None => self.claim_away(home, &mut first, tag, now),
        }
    }

    /// An entry that belongs to a line but lives further on. Lines are locked in
    /// their order, so two of these cannot wait for each other.
    fn find_away(&self, home: usize, first: &Slots, tag: u32) -> Option<Found<'_>> {
        if first.away() == 0 {
            return None;
        }
        (1..=REACH).find_map(|displaced| {
            let line = self.lines[home + displaced].0.lock();
            let index = line.find(tag, displaced as u8)?;
            Some(self.found(home + displaced, line, index))
        })
    }

    fn claim_away(&self, home: usize, first: &mut Slots, tag: u32, now: Tick) -> Option<Found<'_>> {
        let claimed = (1..=REACH).find_map(|displaced| {
            let mut line = self.lines[home + displaced].0.lock();
            let index = line.claim(tag, displaced as u8, now)?;
            Some(self.found(home + displaced, line, index))
        });
        if claimed.is_some() {
            first.sent_away();
        }
        claimed
    }

    /// Frees what is idle in reach of a line, each entry from its own line's side.
    fn make_room(&self, home: usize, now: Tick) {
        let from = home.saturating_sub(REACH);
        let to = (home + REACH).min(self.homes() - 1);
        for home in from..=to {
            self.drop_idle_of(home, self.room_after_ms.load(Ordering::Relaxed), now);
        }
    }

    /// Drops a line's own idle entries, here and further on; how many.
    fn drop_idle_of(&self, home: usize, idle_ms: u32, now: Tick) -> usize {
        let mut first = self.lines[home].0.lock();
        let dropped = first.drop_idle(0, idle_ms, now, self.rings_of(home));
        let mut away = 0;
        if first.away() > 0 {
            for displaced in 1..=REACH {
                let line = home + displaced;
                let rings = self.rings_of(line);
                away += self.lines[line]
                    .0
                    .lock()
                    .drop_idle(displaced as u8, idle_ms, now, rings);
            }
            first.came_back(away);
        }
        usize::from(dropped) + usize::from(away)
    }

    /// Moves an entry to its name under a new blind key.
    fn rename(&self, previous: Blind, current: Blind, now: Tick) {
        let Some(log) = self.remove(previous) else {
            return;
        };
        if let Some(mut entry) = self.find_or_claim(current, now) {
            // Only a fresh entry takes over: one that has admissions knows more.
            if entry.is_empty() {
                entry.adopt(&log);
            }
        }
    }

    fn remove(&self, key: Blind) -> Option<Log> {
        let (home, tag) = self.place_of(key);
        let mut first = self.lines[home].0.lock();
        if let Some(index) = first.find(tag, 0) {
            return Some(self.found(home, first, index).remove());
        }
        let away = self.find_away(home, &first, tag)?;
        first.came_back(1);
        Some(away.remove())
    }

    fn found<'a>(&'a self, line: usize, guard: MutexGuard<'a, Slots>, index: usize) -> Found<'a> {
        Found {
            line: guard,
            index,
            rings: self.rings_of(line),
        }
    }

    fn homes(&self) -> usize {
        self.lines.len() - REACH
    }

    /// The key's own line, and its tag there (never 0, which means free).
    fn place_of(&self, key: Blind) -> (usize, u32) {
        let home = (u128::from(key.high()) * self.homes() as u128) >> 64;
        (home as usize, (key.low() as u32).max(1))
    }

    fn rings_of(&self, line: usize) -> &Mutex<Rings> {
        &self.rings[line % RINGS]
    }
}

fn wide_entry(wide: &[Mutex<Log>; WIDE], key: Blind) -> &Mutex<Log> {
    &wide[key.high() as usize % WIDE]
}

/// How many lines after its own an entry may live in.
const REACH: usize = 4;

/// Of 4 KiB, the smallest there are.
const LINES_A_PAGE: usize = 4096 / size_of::<Line>();

/// Enough that two cores rarely meet.
const RINGS: usize = 64;
const WIDE: usize = 1_024;

/// A wide entry stands for a network of 2^16 addresses: it gets more than one
/// address does, and far less than all of them would.
const WIDE_SHARE: u16 = 16;

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
