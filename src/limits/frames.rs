//! Pure. What one socket, one account and one address may send in frames.

use std::time::Duration;

use super::Tick;
use super::bucket::Bucket;
use super::decision::millis;
use super::rule::{Rule, RuleSet};
use super::settings::Settings;
use super::window::{Admissions, Log};

/// A frame as the budgets see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    /// Confirms events: makes load smaller, so it is never refused, however many come.
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
        let mut counted = match kind {
            // Only their bytes count: a client may confirm whatever it was sent.
            FrameKind::Ack | FrameKind::Close => None,
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
        if let Err(wait_us) = self.bytes.spend(now.micros, len as u64, per_minute) {
            if let Some((_, log)) = counted {
                log.give_back(now.tick);
            }
            return Err((Rule::FrameBytes, Duration::from_micros(wait_us)));
        }
        let (bytes, whole_us) = self.bytes.left(now.micros, per_minute);
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
        self.warn_or_pass(lefts)
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
        for _ in 0..100 {
            let ack = judge(&mut budget, FrameKind::Ack, 1, at(1));
            assert_eq!(ack, FrameVerdict::Pass);
        }
        assert_eq!(
            judge(&mut budget, FrameKind::Close, 0, at(1)),
            FrameVerdict::Pass
        );
    }

    #[test]
    fn a_flood_of_bytes_is_one_even_if_it_calls_itself_acks() {
        let mut budget = FrameBudget::new(at(0));
        let last = (0..20)
            .map(|_| judge(&mut budget, FrameKind::Ack, 900, at(1)))
            .last();
        let policy = Rule::FrameBytes;
        assert_eq!(last, Some(FrameVerdict::Close { policy }));
    }

    #[test]
    fn bytes_and_pings_are_warned_of_as_well_each_once() {
        let mut budget = FrameBudget::new(at(0));
        let policies: Vec<_> = [
            (FrameKind::Content, 100),
            (FrameKind::Content, 700),
            (FrameKind::Content, 1),
            (FrameKind::Ping, 1),
            (FrameKind::Ping, 1),
            (FrameKind::Ping, 1),
            (FrameKind::Ping, 1),
            (FrameKind::Ping, 1),
        ]
        .into_iter()
        .map(|(kind, len)| match judge(&mut budget, kind, len, at(1)) {
            FrameVerdict::Warn(info) => Some((info.policy, info.remaining)),
            _ => None,
        })
        .collect();
        let mut expected = vec![None; 8];
        expected[1] = Some((Rule::FrameBytes, 200));
        expected[6] = Some((Rule::ControlFrames, 1));
        assert_eq!(policies, expected);
    }

    #[test]
    fn whoever_shares_a_budget_hears_that_it_is_scarce() {
        let shared = parking_lot::Mutex::new(Meter::new(at(0)));
        let mut sockets = [FrameBudget::new(at(0)), FrameBudget::new(at(0))];
        let warned = (0..10).filter(|nth| {
            let verdict =
                sockets[nth % 2].judge((FrameKind::Content, 1), [(&shared, 1)], &settings(), at(1));
            matches!(verdict, FrameVerdict::Warn(_))
        });
        assert_eq!(warned.count(), 2, "each socket once");
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
            judge(&mut budget, FrameKind::Content, 700, at(1)),
            FrameVerdict::Pass
        );
        let refuse = FrameVerdict::Refuse {
            policy: Rule::FrameBytes,
            retry_after: Duration::from_secs(6),
        };
        assert_eq!(judge(&mut budget, FrameKind::Content, 400, at(1)), refuse);
        let warned = judge(&mut budget, FrameKind::Content, 400, at(7));
        assert!(matches!(warned, FrameVerdict::Warn(_)), "and it passes");
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
