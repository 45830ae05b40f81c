//! Pure. For how long sessions are believed to be with a server that takes writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The sessions of a store that were opened before one of them met a server that takes no
/// writes are of an era that is over: they may be with that server too, and whoever only reads
/// there would follow one that no event comes to any more, and never be told. Clones are the
/// same.
#[derive(Clone, Debug, Default)]
pub(super) struct Eras(Arc<AtomicU64>);

/// That of one session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Era(u64);

impl Eras {
    pub(super) fn now(&self) -> Era {
        Era(self.0.load(Ordering::Relaxed))
    }

    /// Ends an era, once, however many of its sessions find out.
    pub(super) fn end(&self, Era(era): Era) {
        let _ = self
            .0
            .compare_exchange(era, era + 1, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_ends_once_and_sessions_of_the_next_one_stay() {
        let eras = Eras::default();
        let old = eras.now();
        eras.end(old);
        let new = eras.now();
        assert_ne!(old, new);
        eras.end(old);
        assert_eq!(eras.now(), new);
    }
}
