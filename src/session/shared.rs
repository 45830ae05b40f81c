//! What all sessions of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::farewell::{Farewell, Farewells, unit};
use super::{Meters, Settings};
use crate::runtime::Live;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Live<Settings>,
    pub(super) meters: Meters,
    pub(super) farewells: Farewells,
    open: AtomicU64,
}

/// Counts a session as open until dropped.
#[derive(Debug)]
pub(super) struct Open(Arc<Shared>);

impl Shared {
    pub(super) fn new(settings: Live<Settings>, farewells: Farewells) -> Self {
        Self {
            settings,
            meters: Meters::new(),
            farewells,
            open: AtomicU64::new(0),
        }
    }

    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.meters.open.increment(1.0);
        Open(Arc::clone(self))
    }

    /// The slot of one session in the drain that has begun.
    pub(super) fn farewell(&self, random: (u64, u64)) -> Farewell {
        let open = self.open.load(Ordering::Relaxed);
        self.farewells.next(open, &self.settings.load(), random)
    }

    /// How long one stays away that comes while the others leave, and goes at once.
    pub(super) fn stay_away(&self, random: u64) -> Duration {
        self.settings.load().reconnect_spread.mul_f64(unit(random))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.meters.open.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Arc<Shared> {
        let farewells = Farewells::new(Box::new(|_, _, _| None));
        Arc::new(Shared::new(Live::new(Settings::default()), farewells))
    }

    #[test]
    fn a_drain_has_a_slot_for_each_session_that_is_open_and_for_none_that_has_ended() {
        let shared = shared();
        drop([(); 7].map(|()| shared.open()));
        let _open = [(); 5].map(|()| shared.open());
        let leaves = [(); 5].map(|()| shared.farewell((0, 0)).leave_after);
        let window = Settings::default().drain_window;
        assert_eq!(leaves, [0, 1, 2, 3, 4].map(|nth| window * nth / 5));
    }

    #[test]
    fn those_who_come_while_others_leave_stay_away_for_times_of_their_own() {
        let spread = Settings::default().reconnect_spread;
        let away = [0, 1 << 63, 3 << 62].map(|random| shared().stay_away(random));
        assert_eq!(away, [Duration::ZERO, spread / 2, spread * 3 / 4]);
    }
}
