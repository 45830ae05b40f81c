//! A table of what has a blind key, in parts with a lock each, so that few wait for each
//! other.

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

use super::blind::Blind;

pub(super) struct Shards<T>(Box<[Mutex<HashTable<T>>; SHARDS]>);

impl<T> Shards<T> {
    pub(super) fn new() -> Self {
        Self(Box::new(std::array::from_fn(|_| Mutex::default())))
    }

    /// The part in which the key's entry is, if there is one.
    pub(super) fn of(&self, key: Blind) -> MutexGuard<'_, HashTable<T>> {
        // The mask is below the length of the array.
        self.0[key.high() as usize & (SHARDS - 1)].lock()
    }

    /// Each part in turn, one locked at a time.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, HashTable<T>>> {
        self.0.iter().map(Mutex::lock)
    }
}

/// How many entries a part may have where all may have so many.
pub(super) fn part_of(most: u32) -> usize {
    (most as usize).div_ceil(SHARDS)
}

/// A power of two, to be a mask.
const SHARDS: usize = 64;
