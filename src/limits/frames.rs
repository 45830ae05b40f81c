//! Pure. What one socket, one account and one address may send in frames.

use std::time::Duration;

use super::Tick;
use super::bucket::Bucket;
use super::decision::millis;
use super::rule::Rule;
use super::settings::{Settings, Sockets};
use super::window::{Admissions, Log};

/// A frame as the budgets see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    /// Confirms events: makes load smaller, so it is never refused.
    Ack,
    Close,
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
    /// Pass; a rule that only counts would have refused it.
    Tolerate {
        policy: Rule,
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
    pub remaining: u16,
    pub reset: Duration,
}

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
    ) -> Counted {
        let (kind, len) = frame;
        let (rule, log) = match kind {
            FrameKind::Content => (Rule::Frames, &mut self.frames),
            _ => (Rule::ControlFrames, &mut self.control),
        };
        let quota = settings.quota(rule).times(share);
        let verdict = log.take(now.tick, quota);
        if let Some(wait) = verdict.wait_ms {
            return Counted::Over(rule, millis(wait));
        }
        let per_minute = u64::from(settings.sockets.bytes) * u64::from(share);
        if let Err(wait_us) = self.bytes.spend(now.micros, len as u64, per_minute) {
            log.give_back(now.tick);
            return Counted::Over(Rule::FrameBytes, Duration::from_micros(wait_us));
        }
        Counted::Within(BudgetInfo {
            policy: rule,
            remaining: verdict.remaining,
            reset: millis(verdict.reset_ms),
        })
    }
}

enum Counted {
    Within(BudgetInfo),
    Over(Rule, Duration),
}

/// One socket's budget, with its memory of refusals and warnings.
#[derive(Debug)]
pub(super) struct FrameBudget {
    meter: Meter,
    strikes: Log,
    warned: bool,
}

impl FrameBudget {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            meter: Meter::new(now),
            strikes: Log::new(now.tick),
            warned: false,
        }
    }

    /// Judges a frame by the socket's own budget, then by each shared one.
    pub(super) fn judge<'a>(
        &mut self,
        frame: (FrameKind, usize),
        shared: impl IntoIterator<Item = (&'a parking_lot::Mutex<Meter>, u16)>,
        settings: &Settings,
        now: Moment,
    ) -> FrameVerdict {
        if frame.0 == FrameKind::Close {
            return FrameVerdict::Pass;
        }
        let own = match self.meter.count(frame, 1, settings, now) {
            Counted::Over(rule, wait) => return self.strike(frame.0, rule, wait, settings, now),
            Counted::Within(info) => info,
        };
        for (meter, share) in shared {
            let counted = meter.lock().count(frame, share, settings, now);
            if let Counted::Over(rule, wait) = counted {
                return self.strike(frame.0, rule, wait, settings, now);
            }
        }
        self.warn_or_pass(own, &settings.sockets)
    }

    fn strike(
        &mut self,
        kind: FrameKind,
        policy: Rule,
        retry_after: Duration,
        settings: &Settings,
        now: Moment,
    ) -> FrameVerdict {
        if settings.dry_run.contains(policy) {
            return FrameVerdict::Tolerate { policy };
        }
        let strikes = super::Quota::per_minute(settings.sockets.strikes);
        if !self.strikes.take(now.tick, strikes).admitted() {
            return FrameVerdict::Close { policy };
        }
        match kind {
            FrameKind::Content => FrameVerdict::Refuse {
                policy,
                retry_after,
            },
            FrameKind::Ping | FrameKind::Pong => FrameVerdict::Ignore,
            FrameKind::Ack | FrameKind::Close => FrameVerdict::Pass,
        }
    }

    /// Warns once each time that four fifths of the budget have been used.
    fn warn_or_pass(&mut self, own: BudgetInfo, sockets: &Sockets) -> FrameVerdict {
        if own.policy != Rule::Frames {
            return FrameVerdict::Pass;
        }
        let scarce = u32::from(own.remaining) * 5 <= u32::from(sockets.frames);
        let warn = scarce && !self.warned;
        self.warned = scarce;
        if warn {
            FrameVerdict::Warn(own)
        } else {
            FrameVerdict::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.sockets.frames = 10;
        settings.sockets.bytes = 1_000;
        settings.sockets.control_frames = 5;
        settings.sockets.strikes = 3;
        settings
    }

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn judge(budget: &mut FrameBudget, kind: FrameKind, len: usize, now: Moment) -> FrameVerdict {
        budget.judge((kind, len), [], &settings(), now)
    }

    #[test]
    fn a_socket_is_warned_at_four_fifths_then_refused_then_closed() {
        let mut budget = FrameBudget::new(at(0));
        let verdicts: Vec<_> = (0..14)
            .map(|_| judge(&mut budget, FrameKind::Content, 1, at(1)))
            .collect();
        assert!(
            verdicts[..7]
                .iter()
                .all(|verdict| *verdict == FrameVerdict::Pass)
        );
        let info = BudgetInfo {
            policy: Rule::Frames,
            remaining: 2,
            reset: Duration::from_secs(60),
        };
        assert_eq!(verdicts[7], FrameVerdict::Warn(info));
        assert_eq!(verdicts[8..10], [FrameVerdict::Pass; 2]);
        let refuse = FrameVerdict::Refuse {
            policy: Rule::Frames,
            retry_after: Duration::from_secs(60),
        };
        assert_eq!(verdicts[10..13], [refuse; 3]);
        assert_eq!(
            verdicts[13],
            FrameVerdict::Close {
                policy: Rule::Frames
            }
        );
        assert_eq!(
            judge(&mut budget, FrameKind::Content, 1, at(61)),
            FrameVerdict::Pass
        );
    }

    #[test]
    fn what_makes_load_smaller_passes_even_from_a_spent_socket() {
        let mut budget = FrameBudget::new(at(0));
        for _ in 0..5 {
            judge(&mut budget, FrameKind::Ping, 0, at(1));
        }
        assert_eq!(
            judge(&mut budget, FrameKind::Ping, 0, at(1)),
            FrameVerdict::Ignore
        );
        assert_eq!(
            judge(&mut budget, FrameKind::Ack, 0, at(1)),
            FrameVerdict::Pass
        );
        assert_eq!(
            judge(&mut budget, FrameKind::Close, 0, at(1)),
            FrameVerdict::Pass
        );
    }

    #[test]
    fn a_flood_of_control_frames_is_closed() {
        let mut budget = FrameBudget::new(at(0));
        let last = (0..20)
            .map(|_| judge(&mut budget, FrameKind::Pong, 0, at(1)))
            .last();
        let policy = Rule::ControlFrames;
        assert_eq!(last, Some(FrameVerdict::Close { policy }));
    }

    #[test]
    fn bytes_count_apart_and_a_refused_frame_takes_no_place() {
        let mut budget = FrameBudget::new(at(0));
        assert_eq!(
            judge(&mut budget, FrameKind::Content, 900, at(1)),
            FrameVerdict::Pass
        );
        let refuse = FrameVerdict::Refuse {
            policy: Rule::FrameBytes,
            retry_after: Duration::from_secs(6),
        };
        assert_eq!(judge(&mut budget, FrameKind::Content, 200, at(1)), refuse);
        assert_eq!(
            judge(&mut budget, FrameKind::Content, 200, at(7)),
            FrameVerdict::Pass
        );
    }

    #[test]
    fn sockets_of_one_account_share_a_budget() {
        let shared = parking_lot::Mutex::new(Meter::new(at(0)));
        let mut sockets = [FrameBudget::new(at(0)), FrameBudget::new(at(0))];
        let mut refused = 0;
        for nth in 0..20 {
            let verdict =
                sockets[nth % 2].judge((FrameKind::Content, 1), [(&shared, 1)], &settings(), at(1));
            refused += usize::from(matches!(
                verdict,
                FrameVerdict::Refuse { .. } | FrameVerdict::Close { .. }
            ));
        }
        assert_eq!(refused, 10);
    }

    #[test]
    fn a_dry_run_refuses_nothing() {
        let mut settings = settings();
        settings.dry_run = [Rule::Frames].into_iter().collect();
        let mut budget = FrameBudget::new(at(0));
        for _ in 0..50 {
            let verdict = budget.judge((FrameKind::Content, 1), [], &settings, at(1));
            assert!(!matches!(
                verdict,
                FrameVerdict::Refuse { .. } | FrameVerdict::Close { .. }
            ));
        }
    }
}
