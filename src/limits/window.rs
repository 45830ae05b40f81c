//! Pure. The exact sliding window: a log of admissions, two bytes each.
//!
//! A request at `now` is admitted while fewer than `limit + burst` admissions lie
//! in `(now - span, now]`. That is the promise itself, so the window can neither
//! let one more through (as fixed windows do at their seam) nor refuse one too
//! early (as token buckets do after a burst), and the wait is exact: it is the
//! time until the admission that stands in the way leaves the window.
//!
//! A log of times is usually dismissed as too large. It is small here: a span is
//! at most 60 s, so a time is 16 bits of milliseconds relative to the newest, and
//! only admissions are kept, so a flood of refusals costs nothing. A million of them
//! are kept in `table`, six times in line.

use std::collections::VecDeque;

use super::Tick;

/// The longest span: ages below it are told apart in 16 bits.
pub(super) const SPAN_MS_MAX: u16 = 60_000;

/// What a rule allows in any span of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Quota {
    /// The announced allowance.
    pub(super) limit: u16,
    /// How many more pass before the first refusal; not announced.
    pub(super) burst: u16,
    span_ms: u16,
}

impl Quota {
    pub(super) const fn per_minute(limit: u16) -> Self {
        Self {
            limit,
            burst: 0,
            span_ms: SPAN_MS_MAX,
        }
    }

    pub(super) const fn per_second(limit: u16) -> Self {
        Self {
            limit,
            burst: 0,
            span_ms: 1_000,
        }
    }

    #[must_use]
    pub(super) const fn with_burst(mut self, burst: u16) -> Self {
        self.burst = burst;
        self
    }

    /// The quota of several subjects that share one log.
    #[must_use]
    pub(super) const fn times(mut self, subjects: u16) -> Self {
        self.limit = self.limit.saturating_mul(subjects);
        self.burst = self.burst.saturating_mul(subjects);
        self
    }

    /// The quota with its announced allowance grown by this much.
    #[must_use]
    pub(super) const fn plus_percent(mut self, percent: u16) -> Self {
        let grown = self.limit as u32 * (100 + percent as u32) / 100;
        self.limit = if grown > u16::MAX as u32 {
            u16::MAX
        } else {
            grown as u16
        };
        self
    }

    pub(super) const fn span_ms(self) -> u32 {
        self.span_ms as u32
    }

    fn allowance(self) -> usize {
        usize::from(self.limit) + usize::from(self.burst)
    }
}

/// How a quota stands after a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Verdict {
    /// Places of the announced allowance that are left.
    pub(super) remaining: u16,
    /// Until the next place comes back.
    pub(super) reset_ms: u32,
    /// Until a refused request would be admitted; `None` if this one was.
    pub(super) wait_ms: Option<u32>,
}

impl Verdict {
    pub(super) fn admitted(self) -> bool {
        self.wait_ms.is_none()
    }
}

/// The admissions of one key that are still in its window, oldest first, wherever
/// they are kept. What follows from them is the same everywhere.
pub(super) trait Admissions {
    /// When the last one was; every kept time is relative to it.
    fn newest(&self) -> Tick;
    fn set_newest(&mut self, newest: Tick);
    fn len(&self) -> usize;
    /// The low 16 bits of a tick; 0 is the oldest.
    fn get(&self, index: usize) -> Option<u16>;
    fn push(&mut self, time: u16);
    fn drop_oldest(&mut self, count: usize);
    fn remove(&mut self, index: usize);

    /// Admits a request at `now` if the quota has a place, and takes the place.
    #[inline]
    fn take(&mut self, now: Tick, quota: Quota) -> Verdict {
        let now = self.newest().latest(now);
        match self.blocked_for(now, quota) {
            Some(wait_ms) => Verdict {
                remaining: 0,
                reset_ms: wait_ms,
                wait_ms: Some(wait_ms),
            },
            None => {
                self.set_newest(now);
                self.push(now.low());
                let used = u16::try_from(self.len()).unwrap_or(u16::MAX);
                Verdict {
                    remaining: quota.limit.saturating_sub(used),
                    reset_ms: self.leaves_in(0, now, quota),
                    wait_ms: None,
                }
            }
        }
    }

    /// Until a request would be admitted, if it would not be at `now`, which is not before
    /// the newest.
    #[inline]
    fn blocked_for(&mut self, now: Tick, quota: Quota) -> Option<u32> {
        self.expire(now, quota);
        // The one that must leave first is the `blocking`th oldest.
        let blocking = (self.len() + 1).checked_sub(quota.allowance())?;
        let index = blocking.checked_sub(1)?;
        Some(self.leaves_in(index, now, quota))
    }

    /// Gives back the place that was taken at `taken`, if it is still in the window.
    fn give_back(&mut self, taken: Tick) {
        if self.newest().since(taken) >= u32::from(SPAN_MS_MAX) {
            return;
        }
        // Most are given back soon: look from the newest.
        let found = (0..self.len())
            .rev()
            .find(|index| self.get(*index) == Some(taken.low()));
        if let Some(index) = found {
            self.remove(index);
        }
    }

    /// Drops what has left the window.
    #[inline]
    fn expire(&mut self, now: Tick, quota: Quota) {
        let (len, since_newest) = (self.len(), now.since(self.newest()));
        let has_left = |index: &usize| {
            self.get(*index)
                .is_some_and(|time| since_newest + behind(self.newest(), time) >= quota.span_ms())
        };
        let count = (0..len).take_while(has_left).count();
        if count > 0 {
            self.drop_oldest(count);
        }
    }

    /// Until the admission at `index` leaves the window.
    #[inline]
    fn leaves_in(&self, index: usize, now: Tick, quota: Quota) -> u32 {
        match self.get(index) {
            Some(time) => {
                let age = now.since(self.newest()) + behind(self.newest(), time);
                quota.span_ms().saturating_sub(age)
            }
            // Nothing stands in the way but an allowance of nothing.
            None => quota.span_ms(),
        }
    }
}

/// How much older a kept time is than the newest: below 60 s by construction, so 16
/// bits tell it exactly.
fn behind(newest: Tick, time: u16) -> u32 {
    u32::from(newest.low().wrapping_sub(time))
}

/// Admissions in a queue of their own.
#[derive(Clone, Debug)]
pub(super) struct Log {
    newest: Tick,
    times: VecDeque<u16>,
}

impl Log {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            newest: now,
            times: VecDeque::new(),
        }
    }

    /// Forgets what is over. A log that is not asked for longer than ticks tell apart (24 days)
    /// takes the past for the future, so whoever keeps one for so long does this meanwhile.
    pub(super) fn settle(&mut self, now: Tick) {
        if now.since(self.newest) >= u32::from(SPAN_MS_MAX) {
            *self = Self::new(now);
        }
    }

    /// A log of what another form held.
    pub(super) fn of(newest: Tick, times: impl Iterator<Item = u16>) -> Self {
        Self {
            newest,
            times: times.collect(),
        }
    }
}

impl Admissions for Log {
    fn newest(&self) -> Tick {
        self.newest
    }

    fn set_newest(&mut self, newest: Tick) {
        self.newest = newest;
    }

    fn len(&self) -> usize {
        self.times.len()
    }

    fn get(&self, index: usize) -> Option<u16> {
        self.times.get(index).copied()
    }

    fn push(&mut self, time: u16) {
        self.times.push_back(time);
    }

    fn drop_oldest(&mut self, count: usize) {
        if count >= self.times.len() {
            // A quiet log keeps no memory.
            self.times = VecDeque::new();
        } else {
            self.times.drain(..count);
        }
    }

    fn remove(&mut self, index: usize) {
        self.times.remove(index);
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
