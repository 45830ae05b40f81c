//! One cache line of the table: three entries and their lock. A check that finds its
//! entry at home touches this line and no other memory.

use parking_lot::{Mutex, MutexGuard};

use super::Tick;
use super::bucket::Budgets;
use super::window::{Admissions, Log, Quota, Verdict};

/// Three slots behind their lock, in 64 bytes.
#[repr(align(64))]
pub(super) struct Line(pub(super) Mutex<Slots>);

/// The slots of one line, and how many entries that belong here live further on: in two
/// bits of each of the first two slots, for there is room for twelve.
#[derive(Default)]
pub(super) struct Slots([Slot; SLOTS]);

/// An entry: whose, and its admissions. Bytes, because three of them and the lock fill a
/// cache line exactly, which alignment would not allow; a processor reads a number from
/// them as it reads any other.
#[derive(Clone, Copy, Default)]
pub(super) struct Slot {
    /// Which key, among those that belong to a line. 0: the slot is free.
    tag: [u8; 4],
    newest: [u8; 4],
    /// Admissions, or the number of the ring that holds them.
    times: [[u8; 2]; INLINE],
    /// From the lowest bit: the length (three bits), how many lines after its own the
    /// entry lives (three), and the slot's part of its line's count (two).
    state: u8,
}

pub(super) const SLOTS: usize = 3;
const INLINE: usize = 6;

/// The length of an entry whose admissions are in a ring.
const IN_RING: u8 = LEN;

const LEN: u8 = 0b0000_0111;
const DISPLACED: u8 = 0b0011_1000;
const AWAY: u8 = 0b1100_0000;

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
            .position(|slot| slot.tag() == tag && slot.displaced() == displaced)
    }

    /// Takes a free slot for an entry, if there is one.
    pub(super) fn claim(&mut self, tag: u32, displaced: u8, now: Tick) -> Option<usize> {
        let index = self.0.iter().position(|slot| slot.tag() == 0)?;
        if let Some(slot) = self.0.get_mut(index) {
            *slot = Slot {
                tag: tag.to_le_bytes(),
                newest: now.to_bytes(),
                state: (slot.state & AWAY) | (displaced << DISPLACED.trailing_zeros()),
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
            let ours = slot.tag() != 0 && slot.displaced() == displaced;
            if ours && now.since(slot.newest()) >= idle_ms {
                slot.free(rings);
                dropped += 1;
            }
        }
        dropped
    }

    /// How many entries live here.
    pub(super) fn count(&self) -> usize {
        self.0.iter().filter(|slot| slot.tag() != 0).count()
    }

    #[inline]
    pub(super) fn away(&self) -> u8 {
        let [first, second, _] = &self.0;
        (first.state >> 6) | (second.state & AWAY) >> 4
    }

    /// One more entry of this line lives further on.
    pub(super) fn sent_away(&mut self) {
        self.set_away(self.away() + 1);
    }

    /// So many of them are gone.
    pub(super) fn came_back(&mut self, count: u8) {
        self.set_away(self.away().saturating_sub(count));
    }

    fn set_away(&mut self, away: u8) {
        let [first, second, _] = &mut self.0;
        first.state = (first.state & !AWAY) | (away << 6);
        second.state = (second.state & !AWAY) | ((away << 4) & AWAY);
    }
}

impl Slot {
    fn tag(&self) -> u32 {
        u32::from_le_bytes(self.tag)
    }

    fn displaced(&self) -> u8 {
        (self.state & DISPLACED) >> DISPLACED.trailing_zeros()
    }

    /// The length, or `IN_RING`.
    fn count(&self) -> u8 {
        self.state & LEN
    }

    fn set_count(&mut self, count: u8) {
        self.state = (self.state & !LEN) | count;
    }

    fn free(&mut self, rings: &Mutex<Rings>) {
        if let Some(ring) = self.ring() {
            rings.lock().release(ring);
        }
        *self = Self {
            state: self.state & AWAY,
            ..Self::default()
        };
    }

    fn ring(&self) -> Option<u32> {
        let [[a, b], [c, d], ..] = self.times;
        (self.count() == IN_RING).then_some(u32::from_le_bytes([a, b, c, d]))
    }

    fn set_ring(&mut self, ring: u32) {
        let [a, b, c, d] = ring.to_le_bytes();
        let [first, second, ..] = &mut self.times;
        (*first, *second) = ([a, b], [c, d]);
        self.set_count(IN_RING);
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
        self.slot().newest()
    }

    pub(super) fn set_newest(&mut self, newest: Tick) {
        self.slot_mut().set_newest(newest);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slot().count() == 0
    }

    /// Takes a place, in line as long as there is one.
    #[inline]
    pub(super) fn take(&mut self, now: Tick, quota: Quota) -> Verdict {
        let rings = self.rings;
        let slot = self.slot_mut();
        if slot.ring().is_none() {
            slot.expire(slot.newest().latest(now), quota);
            if slot.len() < INLINE {
                return slot.take(now, quota);
            }
        }
        slot.in_ring(rings, |ring| ring.take(now, quota))
    }

    /// Until a place comes back, if there is none; takes none.
    pub(super) fn blocked_for(&mut self, now: Tick, quota: Quota) -> Option<u32> {
        let rings = self.rings;
        let slot = self.slot_mut();
        let now = slot.newest().latest(now);
        match slot.ring() {
            Some(_) => slot.in_ring(rings, |ring| ring.blocked_for(now, quota)),
            None => slot.blocked_for(now, quota),
        }
    }

    /// The budgets of an entry that keeps them. It never needs a ring.
    pub(super) fn budgets(&self, now: Tick) -> Budgets {
        Budgets::kept_in(self.slot(), now)
    }

    pub(super) fn keep_budgets(&mut self, budgets: Budgets, now: Tick) {
        budgets.keep_in(self.slot_mut(), now);
    }

    pub(super) fn give_back(&mut self, taken: Tick) {
        let rings = self.rings;
        let slot = self.slot_mut();
        match slot.ring() {
            Some(_) => slot.in_ring(rings, |ring| ring.give_back(taken)),
            None => slot.give_back(taken),
        }
    }

    /// Takes over what an entry held under another name, into one that is empty.
    pub(super) fn adopt(&mut self, log: &Log) {
        let rings = self.rings;
        let slot = self.slot_mut();
        match log.len() {
            ..=INLINE => slot.put_in_line(log),
            _ => slot.in_ring(rings, |ring| ring.clone_from(log)),
        }
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
                let held = (0..self.len()).filter_map(|index| self.get(index));
                let number = rings.keep(Log::of(self.newest(), held));
                self.set_ring(number);
                number
            }
        };
        let ring = rings.of(number);
        let outcome = work(ring);
        self.set_newest(ring.newest());
        if ring.len() <= INLINE / 2 {
            self.put_in_line(ring);
            rings.release(number);
        }
        outcome
    }

    fn put_in_line(&mut self, log: &Log) {
        self.set_newest(log.newest());
        self.set_count(0);
        (0..log.len())
            .filter_map(|index| log.get(index))
            .for_each(|time| self.push(time));
    }
}

/// In line: only while the slot has no ring.
impl Admissions for Slot {
    #[inline]
    fn newest(&self) -> Tick {
        Tick::from_bytes(self.newest)
    }

    #[inline]
    fn set_newest(&mut self, newest: Tick) {
        self.newest = newest.to_bytes();
    }

    #[inline]
    fn len(&self) -> usize {
        usize::from(self.count()).min(INLINE)
    }

    #[inline]
    fn get(&self, index: usize) -> Option<u16> {
        let time = self.times.get(index)?;
        (index < self.len()).then_some(u16::from_le_bytes(*time))
    }

    #[inline]
    fn push(&mut self, time: u16) {
        let count = self.count();
        if let Some(free) = self.times.get_mut(usize::from(count)) {
            *free = time.to_le_bytes();
            self.set_count(count + 1);
        }
    }

    #[inline]
    fn drop_oldest(&mut self, count: usize) {
        let len = self.len();
        self.times.copy_within(count.., 0);
        self.set_count((len - count) as u8);
    }

    fn remove(&mut self, index: usize) {
        let len = self.len();
        if index < len {
            self.times.copy_within(index + 1.., index);
            self.set_count((len - 1) as u8);
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

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.rings.len()
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

    #[test]
    fn what_a_slot_packs_together_does_not_disturb_its_neighbours() {
        let now = Tick::at(std::time::Duration::from_secs(1));
        let mut slots = Slots::default();
        for index in 0..SLOTS {
            assert_eq!(slots.claim(7, index as u8, now), Some(index));
        }
        // As many as the lines in reach could hold.
        for away in 0..=12 {
            slots.set_away(away);
            assert_eq!(slots.away(), away);
            for index in 0..SLOTS {
                assert_eq!(slots.find(7, index as u8), Some(index));
            }
        }
        for count in 0..INLINE {
            assert_eq!(slots.0[0].len(), count);
            slots.0[0].push(count as u16);
            assert_eq!(slots.0[0].get(count), Some(count as u16));
            assert_eq!((slots.0[0].displaced(), slots.away()), (0, 12));
        }
    }
}
