//! One cache line of the table: three entries and their lock. A check that finds its
//! entry at home touches this line and no other memory.

use parking_lot::{Mutex, MutexGuard};

use super::Tick;
use super::window::{Admissions, Log, Quota, Verdict};

/// Three slots behind their lock, in 64 bytes.
#[repr(align(64))]
pub(super) struct Line(pub(super) Mutex<Slots>);

/// The slots of one line, and how many entries that belong here live further on.
#[derive(Default)]
pub(super) struct Slots([Slot; SLOTS]);

/// An entry: whose, and its admissions. Twenty bytes; the order of the fields and the
/// spare byte matter, see the test.
#[derive(Clone, Copy, Default)]
pub(super) struct Slot {
    /// Which key, among those that belong to a line. 0: the slot is free.
    tag: u32,
    newest: Tick,
    /// Admissions, or the number of the ring that holds them.
    times: [u16; INLINE],
    len: u8,
    /// How many lines after its own the entry lives.
    displaced: u8,
    /// Of the first slot: how many entries of this line live further on.
    away: u8,
}

pub(super) const SLOTS: usize = 3;
const INLINE: usize = 4;

/// The length of an entry whose admissions are in a ring.
const IN_RING: u8 = u8::MAX;

impl Line {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }
}

impl Slots {
    #[inline]
    pub(super) fn find(&self, tag: u32, displaced: u8) -> Option<usize> {
        self.0
            .iter()
            .position(|slot| slot.tag == tag && slot.displaced == displaced)
    }

    /// Takes a free slot for an entry, if there is one.
    pub(super) fn claim(&mut self, tag: u32, displaced: u8, now: Tick) -> Option<usize> {
        let index = self.0.iter().position(|slot| slot.tag == 0)?;
        if let Some(slot) = self.0.get_mut(index) {
            let away = slot.away;
            *slot = Slot {
                tag,
                newest: now,
                displaced,
                away,
                ..Slot::default()
            };
        }
        Some(index)
    }

    /// Frees the slots of entries that are idle and whose own line is `displaced`
    /// lines before this one; how many.
    pub(super) fn drop_idle(
        &mut self,
        displaced: u8,
        idle_ms: u32,
        now: Tick,
        rings: &Mutex<Rings>,
    ) -> u8 {
        let mut dropped = 0;
        for slot in &mut self.0 {
            let ours = slot.tag != 0 && slot.displaced == displaced;
            if ours && now.since(slot.newest) >= idle_ms {
                slot.free(rings);
                dropped += 1;
            }
        }
        dropped
    }

    /// How many entries live here.
    pub(super) fn count(&self) -> usize {
        self.0.iter().filter(|slot| slot.tag != 0).count()
    }

    pub(super) fn away(&self) -> u8 {
        self.0.first().map_or(0, |slot| slot.away)
    }

    /// One more entry of this line lives further on.
    pub(super) fn sent_away(&mut self) {
        self.set_away(self.away().saturating_add(1));
    }

    /// So many of them are gone.
    pub(super) fn came_back(&mut self, count: u8) {
        self.set_away(self.away().saturating_sub(count));
    }

    fn set_away(&mut self, away: u8) {
        if let Some(slot) = self.0.first_mut() {
            slot.away = away;
        }
    }
}

impl Slot {
    fn free(&mut self, rings: &Mutex<Rings>) {
        if let Some(ring) = self.ring() {
            rings.lock().release(ring);
        }
        *self = Self {
            away: self.away,
            ..Self::default()
        };
    }

    fn ring(&self) -> Option<u32> {
        let [high, low, ..] = self.times;
        (self.len == IN_RING).then_some(u32::from(high) << 16 | u32::from(low))
    }
}

/// An entry that was found, with its line locked.
pub(super) struct Found<'a> {
    pub(super) line: MutexGuard<'a, Slots>,
    pub(super) index: usize,
    pub(super) rings: &'a Mutex<Rings>,
}

impl Found<'_> {
    fn slot(&self) -> &Slot {
        &self.line.0[self.index]
    }

    fn slot_mut(&mut self) -> &mut Slot {
        &mut self.line.0[self.index]
    }

    pub(super) fn newest(&self) -> Tick {
        self.slot().newest
    }

    pub(super) fn set_newest(&mut self, newest: Tick) {
        self.slot_mut().newest = newest;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slot().len == 0
    }

    /// Takes a place, in line as long as there is one.
    #[inline]
    pub(super) fn take(&mut self, now: Tick, quota: Quota) -> Verdict {
        let rings = self.rings;
        let slot = self.slot_mut();
        if slot.ring().is_none() {
            slot.expire(slot.newest.latest(now), quota);
            if usize::from(slot.len) < INLINE {
                return slot.take(now, quota);
            }
        }
        slot.in_ring(rings, |ring| ring.take(now, quota))
    }

    pub(super) fn give_back(&mut self, taken: Tick) {
        let rings = self.rings;
        let slot = self.slot_mut();
        match slot.ring() {
            Some(_) => slot.in_ring(rings, |ring| ring.give_back(taken)),
            None => slot.give_back(taken),
        }
    }

    /// Takes over what an entry held under another name.
    pub(super) fn adopt(&mut self, log: &Log) {
        let rings = self.rings;
        self.slot_mut().in_ring(rings, |ring| ring.clone_from(log));
    }

    /// Removes the entry; what it held.
    pub(super) fn remove(mut self) -> Log {
        let rings = self.rings;
        let slot = self.slot_mut();
        let log = slot.in_ring(rings, |ring| ring.clone());
        slot.free(rings);
        log
    }
}

impl Slot {
    /// Works on the admissions in a ring, and brings them back in line when few are
    /// left (not as soon as they fit: the next ones would lead here again).
    fn in_ring<R>(&mut self, rings: &Mutex<Rings>, work: impl FnOnce(&mut Log) -> R) -> R {
        let mut rings = rings.lock();
        let number = match self.ring() {
            Some(number) => number,
            None => {
                let held = self.times.iter().copied().take(usize::from(self.len));
                let number = rings.keep(Log::of(self.newest, held));
                self.times = [(number >> 16) as u16, number as u16, 0, 0];
                self.len = IN_RING;
                number
            }
        };
        let ring = rings.of(number);
        let outcome = work(ring);
        self.newest = ring.newest();
        if ring.len() <= INLINE / 2 {
            self.len = 0;
            (0..ring.len())
                .filter_map(|index| ring.get(index))
                .for_each(|time| self.push(time));
            rings.release(number);
        }
        outcome
    }
}

/// In line: only while the slot has no ring.
impl Admissions for Slot {
    fn newest(&self) -> Tick {
        self.newest
    }

    fn set_newest(&mut self, newest: Tick) {
        self.newest = newest;
    }

    fn len(&self) -> usize {
        usize::from(self.len).min(INLINE)
    }

    fn get(&self, index: usize) -> Option<u16> {
        self.times.get(..self.len())?.get(index).copied()
    }

    fn push(&mut self, time: u16) {
        if let Some(free) = self.times.get_mut(usize::from(self.len)) {
            *free = time;
            self.len += 1;
        }
    }

    fn drop_oldest(&mut self, count: usize) {
        let count = count.min(self.len());
        self.times.copy_within(count.., 0);
        self.len -= count as u8;
    }

    fn remove(&mut self, index: usize) {
        if index < self.len() {
            self.times.copy_within(index + 1.., index);
            self.len -= 1;
        }
    }
}

/// The admissions of entries with more than fit in line.
#[derive(Default)]
pub(super) struct Rings {
    rings: Vec<Log>,
    free: Vec<u32>,
}

impl Rings {
    fn keep(&mut self, log: Log) -> u32 {
        if let Some(number) = self.free.pop() {
            self.rings[number as usize] = log;
            return number;
        }
        self.rings.push(log);
        (self.rings.len() - 1) as u32
    }

    fn of(&mut self, number: u32) -> &mut Log {
        &mut self.rings[number as usize]
    }

    fn release(&mut self, number: u32) {
        let ring = self.of(number);
        *ring = Log::new(ring.newest());
        self.free.push(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_entries_and_their_lock_are_one_cache_line() {
        assert_eq!(size_of::<Line>(), 64);
    }
}
