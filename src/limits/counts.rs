//! How many things each subject holds open at once. A count lives as long as the
//! permits that make it up, so the map is as large as what is open and no larger; and
//! its key is never replaced, so that what stays open for weeks still counts.

use std::sync::Arc;

use hashbrown::hash_map::Entry;

use super::blind::Blind;
use super::shards::{Shard, Shards};

/// Open things by subject, with a value that a subject's holders share.
pub(super) struct Counts<V>(Shards<Count<V>>);

struct Count<V> {
    open: u32,
    shared: Arc<V>,
}

/// One open thing; counted until dropped.
pub(super) struct Held<V> {
    counts: Arc<Counts<V>>,
    key: Blind,
    pub(super) shared: Arc<V>,
}

impl<V> Counts<V> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Shards::new()))
    }

    /// Counts one more, unless the subject then holds more than `most`.
    pub(super) fn enter(
        self: &Arc<Self>,
        key: Blind,
        most: u32,
        fresh: impl FnOnce() -> V,
    ) -> Option<Held<V>> {
        let mut shard = self.0.of(key);
        let open = shard.get(&key).map_or(0, |count| count.open);
        (open < most).then(|| self.hold_in(&mut shard, key, fresh))
    }

    /// Counts one more, however many there are.
    pub(super) fn hold(self: &Arc<Self>, key: Blind, fresh: impl FnOnce() -> V) -> Held<V> {
        self.hold_in(&mut self.0.of(key), key, fresh)
    }

    fn hold_in(
        self: &Arc<Self>,
        shard: &mut Shard<Count<V>>,
        key: Blind,
        fresh: impl FnOnce() -> V,
    ) -> Held<V> {
        let count = shard.entry(key).or_insert_with(|| Count {
            open: 0,
            shared: Arc::new(fresh()),
        });
        count.open += 1;
        Held {
            counts: Arc::clone(self),
            key,
            shared: Arc::clone(&count.shared),
        }
    }

    /// What a subject's holders share, if there are any.
    pub(super) fn shared(&self, key: Blind) -> Option<Arc<V>> {
        let shard = self.0.of(key);
        shard.get(&key).map(|count| Arc::clone(&count.shared))
    }
}

impl<V> Drop for Held<V> {
    fn drop(&mut self) {
        let mut shard = self.counts.0.of(self.key);
        if let Entry::Occupied(mut found) = shard.entry(self.key) {
            let count = found.get_mut();
            count.open -= 1;
            if count.open == 0 {
                found.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::blind::BlindKey;
    use crate::types::Did;

    fn subject() -> Blind {
        BlindKey::random().account(0, &Did::parse("did:plc:abc").unwrap())
    }

    fn entries(counts: &Counts<()>) -> usize {
        counts.0.each().map(|shard| shard.len()).sum()
    }

    fn open(counts: &Counts<()>, key: Blind) -> u32 {
        counts.0.of(key).get(&key).map_or(0, |count| count.open)
    }

    #[test]
    fn the_most_may_be_open_and_closing_one_lets_the_next_in() {
        let (counts, key) = (Counts::<()>::new(), subject());
        let first = counts.enter(key, 2, || ()).unwrap();
        let second = counts.enter(key, 2, || ()).unwrap();
        assert!(counts.enter(key, 2, || ()).is_none());
        drop(first);
        let third = counts.enter(key, 2, || ()).unwrap();
        assert!(counts.enter(key, 2, || ()).is_none(), "the second is open");
        drop((second, third));
        assert_eq!(entries(&counts), 0, "nothing open, nothing kept");
    }

    #[test]
    fn many_at_once_never_exceed_the_most() {
        let (counts, key) = (Counts::<()>::new(), subject());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let held = counts.enter(key, 3, || ());
                        assert!(open(&counts, key) <= 3);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(entries(&counts), 0);
    }
}
