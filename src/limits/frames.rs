//! Pure. What one socket, one account and one address may send in frames.

use std::time::Duration;

use super::Tick;
use super::bucket::{Bucket, Rate};
use super::rule::{Rule, RuleSet};
use super::settings::Settings;
use super::tick::millis;
use super::window::{Admissions, Log};

/// A frame as the budgets see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    /// Confirms events: makes load smaller, so it is never refused, however many come.
    Ack,
    /// Everything that asks for something.
    Content,
    Ping,
    Pong,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameVerdict {
    Pass,
    /// Pass, and tell the other end that little is left.
    Warn(BudgetInfo),
    /// Drop it, and say `RateLimited` with the wait.
    Refuse {
        policy: Rule,
        retry_after: Duration,
    },
    /// Drop it and say nothing: an answer would be more load.
    Ignore,
    /// It went on for too long: close with 1008.
    Close {
        policy: Rule,
    },
}

/// The body of a `#limits` frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BudgetInfo {
    pub policy: Rule,
    /// Frames or bytes.
    pub remaining: u32,
    pub reset: Duration,
}

/// What is left of one budget, and whether that is a fifth of it or less.
#[derive(Clone, Copy, Debug)]
struct Left {
    info: BudgetInfo,
    is_scarce: bool,
}

/// Of the budgets that a frame counts against: frames of its kind, if those are
/// counted, and bytes.
type Lefts = [Option<Left>; 2];

/// Counts frames and bytes against one socket's budget, or against the larger one
/// that sockets of an account or an address share.
#[derive(Debug)]
pub(super) struct Meter {
    frames: Log,
    control: Log,
    bytes: Bucket,
}

/// A moment on both of the meter's clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) tick: Tick,
    pub(super) micros: u64,
}

impl Moment {
    pub(super) fn at(elapsed: Duration) -> Self {
        Self {
            tick: Tick::at(elapsed),
            micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl Meter {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            frames: Log::new(now.tick),
            control: Log::new(now.tick),
            bytes: Bucket::default(),
        }
    }

    /// Counts a frame against `share` sockets' worth of budget: what is left, or by
    /// which rule it is too much and for how long.
    fn count(
        &mut self,
        frame: (FrameKind, usize),
        share: u16,
        settings: &Settings,
        now: Moment,
    ) -> Result<Lefts, (Rule, Duration)> {
        let (kind, len) = frame;
        // Also that of the other kind: a socket may stay for months, and only answer pings.
        self.frames.settle(now.tick);
        self.control.settle(now.tick);
        let mut counted = match kind {
            // Only their bytes count: a client may confirm whatever it was sent.
            FrameKind::Ack => None,
            FrameKind::Content => Some((Rule::Frames, &mut self.frames)),
            FrameKind::Ping | FrameKind::Pong => Some((Rule::ControlFrames, &mut self.control)),
        };
        let mut left = None;
        if let Some((rule, log)) = &mut counted {
            let quota = settings.quota(*rule).times(share);
            let verdict = log.take(now.tick, quota);
            if let Some(wait) = verdict.wait_ms {
                return Err((*rule, millis(wait)));
            }
            let info = BudgetInfo {
                policy: *rule,
                remaining: verdict.remaining.into(),
                reset: millis(verdict.reset_ms),
            };
            left = Some(Left::of(info, quota.limit.into()));
        }
        let per_minute = u64::from(settings.sockets.bytes) * u64::from(share);
        let rate = Rate::a_minute(per_minute);
        if let Err(wait_us) = self.bytes.spend(now.micros, len as u64, rate) {
            if let Some((_, log)) = counted {
                log.give_back(now.tick);
            }
            return Err((Rule::FrameBytes, Duration::from_micros(wait_us)));
        }
        let (bytes, whole_us) = self.bytes.left(now.micros, rate);
        let info = BudgetInfo {
            policy: Rule::FrameBytes,
            remaining: u32::try_from(bytes).unwrap_or(u32::MAX),
            reset: Duration::from_micros(whole_us),
        };
        Ok([left, Some(Left::of(info, per_minute))])
    }
}

impl Left {
    fn of(info: BudgetInfo, whole: u64) -> Self {
        Self {
            info,
            is_scarce: u64::from(info.remaining) * 5 <= whole,
        }
    }
}

/// One socket's budget, with its memory of refusals and warnings.
#[derive(Debug)]
pub(super) struct FrameBudget {
    meter: Meter,
    strikes: Log,
    /// Of which budgets the other end knows that they are scarce.
    warned: RuleSet,
}

impl FrameBudget {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            meter: Meter::new(now),
            strikes: Log::new(now.tick),
            warned: RuleSet::default(),
        }
    }

    /// Judges a frame by the socket's own budget, then by each shared one. Beside that, the
    /// rule that refuses it, or would if it did not only count.
    pub(super) fn judge<'a>(
        &mut self,
        frame: (FrameKind, usize),
        shared: impl IntoIterator<Item = (&'a parking_lot::Mutex<Meter>, u16)>,
        settings: &Settings,
        now: Moment,
    ) -> (FrameVerdict, Option<Rule>) {
        self.strikes.settle(now.tick);
        let mut lefts = match self.meter.count(frame, 1, settings, now) {
            Ok(lefts) => lefts,
            Err((rule, wait)) => return self.strike(frame.0, rule, wait, settings, now),
        };
        for (meter, share) in shared {
            let theirs = match meter.lock().count(frame, share, settings, now) {
                Ok(theirs) => theirs,
                Err((rule, wait)) => return self.strike(frame.0, rule, wait, settings, now),
            };
            for (left, shared) in lefts.iter_mut().zip(theirs) {
                if !left.is_some_and(|left| left.is_scarce) {
                    *left = shared;
                }
            }
        }
        (self.warn_or_pass(lefts), None)
    }

    fn strike(
        &mut self,
        kind: FrameKind,
        policy: Rule,
        retry_after: Duration,
        settings: &Settings,
        now: Moment,
    ) -> (FrameVerdict, Option<Rule>) {
        if settings.dry_run.contains(policy) {
            return (FrameVerdict::Pass, Some(policy));
        }
        let strikes = super::Quota::per_minute(settings.sockets.strikes);
        if !self.strikes.take(now.tick, strikes).admitted() {
            return (FrameVerdict::Close { policy }, Some(policy));
        }
        let verdict = match kind {
            FrameKind::Content => FrameVerdict::Refuse {
                policy,
                retry_after,
            },
            FrameKind::Ping | FrameKind::Pong => FrameVerdict::Ignore,
            FrameKind::Ack => return (FrameVerdict::Pass, None),
        };
        (verdict, Some(policy))
    }

    /// Warns once each time that four fifths of a budget have been used.
    fn warn_or_pass(&mut self, lefts: Lefts) -> FrameVerdict {
        let mut verdict = FrameVerdict::Pass;
        for left in lefts.into_iter().flatten() {
            let policy = left.info.policy;
            if !left.is_scarce {
                self.warned = self.warned.without(policy);
            } else if !self.warned.contains(policy) && verdict == FrameVerdict::Pass {
                self.warned = self.warned.with(policy);
                verdict = FrameVerdict::Warn(left.info);
            }
        }
        verdict
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
