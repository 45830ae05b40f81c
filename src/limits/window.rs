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
//! only admissions are kept, so a flood of refusals costs nothing. Eight fit in
//! line; a busier log moves to the heap and comes back when its window is empty.

use std::collections::VecDeque;

use super::Tick;

/// The longest span: ages below it are told apart in 16 bits.
pub(super) const SPAN_MS_MAX: u16 = 60_000;

/// What a rule allows in any span of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    /// The announced allowance.
    pub limit: u16,
    /// How many more pass before the first refusal; not announced.
    pub burst: u16,
    span_ms: u16,
}

impl Quota {
    pub const fn per_minute(limit: u16) -> Self {
        Self {
            limit,
            burst: 0,
            span_ms: SPAN_MS_MAX,
        }
    }

    pub const fn per_second(limit: u16) -> Self {
        Self {
            limit,
            burst: 0,
            span_ms: 1_000,
        }
    }

    #[must_use]
    pub const fn with_burst(mut self, burst: u16) -> Self {
        self.burst = burst;
        self
    }

    /// The quota of several subjects that share one log.
    #[must_use]
    pub const fn times(mut self, subjects: u16) -> Self {
        self.limit = self.limit.saturating_mul(subjects);
        self.burst = self.burst.saturating_mul(subjects);
        self
    }

    /// The quota with its announced allowance grown by this much.
    #[must_use]
    pub const fn plus_percent(mut self, percent: u16) -> Self {
        let grown = self.limit as u32 * (100 + percent as u32) / 100;
        self.limit = if grown > u16::MAX as u32 {
            u16::MAX
        } else {
            grown as u16
        };
        self
    }

    pub const fn span_ms(self) -> u32 {
        self.span_ms as u32
    }

    fn allowance(self) -> usize {
        usize::from(self.limit) + usize::from(self.burst)
    }
}

/// How a quota stands after a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Places of the announced allowance that are left.
    pub remaining: u16,
    /// Until the next place comes back.
    pub reset_ms: u32,
    /// Until a refused request would be admitted; `None` if this one was.
    pub wait_ms: Option<u32>,
}

impl Verdict {
    pub fn admitted(self) -> bool {
        self.wait_ms.is_none()
    }
}

/// The admissions of one key that are still in its window, oldest first.
#[derive(Debug)]
pub(super) struct Log {
    newest: Tick,
    times: Times,
}

/// Each time is the low 16 bits of its tick. Sized for 32 bytes with the newest.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "in line, a VecDeque would make each of a million entries twice as large"
)]
enum Times {
    Inline { len: u8, times: [u16; INLINE] },
    Heap(Box<VecDeque<u16>>),
}

const INLINE: usize = 8;

impl Log {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            newest: now,
            times: Times::empty(),
        }
    }

    /// Admits a request at `now` if the quota has a place, and takes the place.
    pub(super) fn take(&mut self, now: Tick, quota: Quota) -> Verdict {
        let now = self.newest.latest(now);
        self.expire(now, quota);
        let blocking = (self.times.len() + 1).checked_sub(quota.allowance());
        match blocking {
            // The one that must leave first is the `blocking`th oldest.
            Some(nth) if nth > 0 => Verdict {
                remaining: 0,
                reset_ms: self.leaves_in(nth - 1, now, quota),
                wait_ms: Some(self.leaves_in(nth - 1, now, quota)),
            },
            _ => {
                self.newest = now;
                self.times.push(now.low());
                self.verdict(now, quota)
            }
        }
    }

    /// Gives back the place that was taken at `taken`, if it is still in the window.
    pub(super) fn give_back(&mut self, taken: Tick) {
        if self.newest.since(taken) < u32::from(SPAN_MS_MAX) {
            self.times.remove(taken.low());
        }
    }

    /// Milliseconds since the last admission.
    pub(super) fn idle_ms(&self, now: Tick) -> u32 {
        now.since(self.newest)
    }

    /// Forgets all admissions; idle time counts from `now`.
    pub(super) fn restart(&mut self, now: Tick) {
        *self = Self::new(self.newest.latest(now));
    }

    fn verdict(&self, now: Tick, quota: Quota) -> Verdict {
        let used = u16::try_from(self.times.len()).unwrap_or(u16::MAX);
        Verdict {
            remaining: quota.limit.saturating_sub(used),
            reset_ms: self.leaves_in(0, now, quota),
            wait_ms: None,
        }
    }

    /// Drops what has left the window.
    fn expire(&mut self, now: Tick, quota: Quota) {
        let since_newest = now.since(self.newest);
        if since_newest >= quota.span_ms() {
            self.times = Times::empty();
            return;
        }
        while let Some(oldest) = self.times.get(0) {
            if since_newest + self.behind_newest(oldest) < quota.span_ms() {
                break;
            }
            self.times.pop_front();
        }
    }

    /// Until the admission at `index` (0 is the oldest) leaves the window.
    fn leaves_in(&self, index: usize, now: Tick, quota: Quota) -> u32 {
        let Some(time) = self.times.get(index) else {
            // Nothing stands in the way but an allowance of nothing.
            return if quota.allowance() == 0 {
                quota.span_ms()
            } else {
                0
            };
        };
        let age = now.since(self.newest) + self.behind_newest(time);
        quota.span_ms().saturating_sub(age)
    }

    /// How much older a kept time is than the newest: below 60 s by construction,
    /// so 16 bits tell it exactly.
    fn behind_newest(&self, time: u16) -> u32 {
        u32::from(self.newest.low().wrapping_sub(time))
    }
}

impl Times {
    fn empty() -> Self {
        Self::Inline {
            len: 0,
            times: [0; INLINE],
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Inline { len, .. } => usize::from(*len),
            Self::Heap(times) => times.len(),
        }
    }

    fn get(&self, index: usize) -> Option<u16> {
        match self {
            Self::Inline { len, times } if index < usize::from(*len) => times.get(index).copied(),
            Self::Inline { .. } => None,
            Self::Heap(times) => times.get(index).copied(),
        }
    }

    fn push(&mut self, time: u16) {
        match self {
            Self::Inline { len, times } => match times.get_mut(usize::from(*len)) {
                Some(free) => {
                    *free = time;
                    *len += 1;
                }
                None => {
                    let mut more: VecDeque<u16> = times.iter().copied().collect();
                    more.push_back(time);
                    *self = Self::Heap(Box::new(more));
                }
            },
            Self::Heap(times) => times.push_back(time),
        }
    }

    fn pop_front(&mut self) {
        match self {
            Self::Inline { len, times } => {
                times.copy_within(1.., 0);
                *len = len.saturating_sub(1);
            }
            Self::Heap(times) => {
                times.pop_front();
                if times.is_empty() {
                    *self = Self::empty();
                }
            }
        }
    }

    /// Removes one admission at this time, looking from the newest.
    fn remove(&mut self, time: u16) {
        let Some(index) = (0..self.len()).rev().find(|i| self.get(*i) == Some(time)) else {
            return;
        };
        match self {
            Self::Inline { len, times } => {
                times.copy_within(index + 1.., index);
                *len = len.saturating_sub(1);
            }
            Self::Heap(times) => {
                times.remove(index);
            }
        }
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
