//! So many permits for each of those who have or want one: nobody has all that there is.

use std::hash::Hash;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) struct Shares<K> {
    permits: usize,
    shares: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Eq + Hash> Shares<K> {
    /// One at least: there is nothing less.
    pub(crate) fn of(permits: usize) -> Self {
        Self {
            permits: permits.max(1),
            shares: Mutex::default(),
        }
    }

    /// Waits for one of whose permits. Nothing, where `pending_max` of them are had or wanted
    /// already.
    pub(crate) async fn take(&self, whose: K, pending_max: usize) -> Option<OwnedSemaphorePermit> {
        let share = self.share(whose);
        // Whoever has or wants a permit holds the share, this one included.
        if Arc::strong_count(&share) > pending_max.max(self.permits) {
            return None;
        }
        share.acquire_owned().await.ok()
    }

    fn share(&self, whose: K) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(&whose).and_then(Weak::upgrade) {
            return share;
        }
        // Those who have gone leave when there is no room, so that each newcomer looks at a
        // few of them.
        if shares.len() == shares.capacity() {
            shares.retain(|_, share| share.strong_count() > 0);
            // As much room as those have who stay, or the next newcomer would look at all of
            // them again.
            let staying = shares.len();
            shares.reserve(staying);
        }
        let share = Arc::new(Semaphore::new(self.permits));
        shares.insert(whose, Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_has_as_many_as_any_other() {
        let shares = Shares::of(2);
        let mut held = Vec::new();
        for whose in ["a", "b", "a", "b"] {
            held.push(shares.take(whose, 2).await.unwrap());
        }
        assert!(shares.take("a", 2).await.is_none());
        held.clear();
        assert!(shares.take("a", 2).await.is_some());
    }

    #[tokio::test]
    async fn whoever_has_gone_is_forgotten() {
        let shares = Shares::of(1);
        for whose in 0..10_000 {
            drop(shares.take(whose, 1).await);
        }
        assert!(shares.shares.lock().len() < 100);
    }

    #[tokio::test]
    async fn newcomers_beside_many_who_stay_do_not_each_look_at_all_of_them() {
        let shares = Shares::of(1);
        let mut staying = Vec::new();
        let room = || {
            let shares = shares.shares.lock();
            shares.capacity() - shares.len()
        };
        while staying.len() < 100 || room() > 1 {
            staying.push(shares.take(staying.len(), 1).await);
        }
        for newcomer in 1_000..1_002 {
            drop(shares.take(newcomer, 1).await);
        }
        assert!(room() >= staying.len() / 2, "{}", room());
    }
}
