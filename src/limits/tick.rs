//! Pure. The limiter's clock reading: small enough to keep a million of them.

use std::time::Duration;

/// Milliseconds since the limiter started, modulo 2^32 (49 days). Ticks are only
/// compared with ticks less than 24 days away: older state has been swept away.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tick(u32);

impl Tick {
    /// The tick at which this much time has passed since the limiter started.
    pub(super) fn at(elapsed: Duration) -> Self {
        // Truncation is the modulo.
        Self(elapsed.as_millis() as u32)
    }

    /// The tick so many milliseconds later.
    pub(super) fn after(self, millis: u32) -> Self {
        Self(self.0.wrapping_add(millis))
    }

    /// Milliseconds from `earlier` to this tick, and 0 if the clock went back: a
    /// clock that jumps back gives nobody a place, and takes none.
    pub(super) fn since(self, earlier: Self) -> u32 {
        let forward = self.0.wrapping_sub(earlier.0);
        if forward > u32::MAX / 2 { 0 } else { forward }
    }

    /// This tick, or `other` where that is later.
    pub(super) fn latest(self, other: Self) -> Self {
        if other.since(self) > 0 { other } else { self }
    }

    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(bytes))
    }

    /// The low 16 bits: all that is kept of a time less than a minute old.
    pub(super) fn low(self) -> u16 {
        self.0 as u16
    }
}

pub(super) fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_across_the_wrap_and_never_runs_back() {
        let before = Tick(u32::MAX - 10);
        let after = Tick(20);
        assert_eq!(after.since(before), 31);
        assert_eq!(before.since(after), 0);
        assert_eq!(before.latest(after), after);
        assert_eq!(after.latest(before), after);
    }
}
