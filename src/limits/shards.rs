//! A table of what has a blind key, in parts with a lock each, so that few wait for each
//! other.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};

use super::blind::Blind;

pub(super) struct Shards<V>(Box<[Mutex<Shard<V>>; SHARDS]>);

pub(super) type Shard<V> = HashMap<Blind, V, BuildHasherDefault<LastHalf>>;

impl<V> Shards<V> {
    pub(super) fn new() -> Self {
        Self(Box::new(std::array::from_fn(|_| Mutex::default())))
    }

    /// The part in which the key's entry is, if there is one.
    pub(super) fn of(&self, key: Blind) -> MutexGuard<'_, Shard<V>> {
        // The mask is below the length of the array.
        self.0[key.high() as usize & (SHARDS - 1)].lock()
    }

    /// Each part in turn, one locked at a time.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard<V>>> {
        self.0.iter().map(Mutex::lock)
    }
}

/// A blind key is a hash already, whose first half has chosen the part: the other half is left.
#[derive(Default)]
pub(super) struct LastHalf(u64);

impl Hasher for LastHalf {
    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }

    /// No part of a blind key.
    fn write(&mut self, _: &[u8]) {}
}

/// How many entries a part may have where all may have so many.
pub(super) fn part_of(most: u32) -> usize {
    (most as usize).div_ceil(SHARDS)
}

/// A power of two, to be a mask.
const SHARDS: usize = 64;
