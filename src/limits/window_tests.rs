//! The window against a plain oracle: a list of every admission, in full.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// The promise, written down: count what lies in the last span.
struct Oracle {
    admitted: Vec<u64>,
    latest: u64,
}

impl Oracle {
    fn in_window(&self, now: u64, quota: Quota) -> Vec<u64> {
        let span = u64::from(quota.span_ms());
        self.admitted
            .iter()
            .copied()
            .filter(|at| at + span > now)
            .collect()
    }

    /// Admits, or says how long until fewer than the allowance remain.
    fn take(&mut self, now: u64, quota: Quota) -> Option<u64> {
        let now = now.max(self.latest);
        let held = self.in_window(now, quota);
        if held.len() < quota.allowance() {
            self.admitted.push(now);
            self.latest = now;
            return None;
        }
        // The window changes only when an admission leaves it.
        let span = u64::from(quota.span_ms());
        held.iter()
            .map(|at| at + span - now)
            .filter(|wait| self.in_window(now + wait, quota).len() < quota.allowance())
            .min()
    }
}

fn tick(millis: u64) -> Tick {
    Tick::at(Duration::from_millis(millis))
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    JumpBack(u64),
    Take,
    GiveBack(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u64..40).prop_map(Step::Advance),
        2 => (0u64..5_000).prop_map(Step::Advance),
        1 => (50_000u64..130_000).prop_map(Step::Advance),
        1 => (0u64..100_000).prop_map(Step::JumpBack),
        12 => Just(Step::Take),
        1 => (0usize..20).prop_map(Step::GiveBack),
    ];
    proptest::collection::vec(step, 1..400)
}

fn quotas() -> impl Strategy<Value = Quota> {
    (1u16..30, 0u16..8, any::<bool>()).prop_map(|(limit, burst, minute)| {
        let quota = if minute {
            Quota::per_minute(limit)
        } else {
            Quota::per_second(limit)
        };
        quota.with_burst(burst)
    })
}

proptest! {
    #[test]
    fn the_window_agrees_with_the_list_of_all_admissions(
        start in prop_oneof![Just(200_000u64), (u64::from(u32::MAX) - 90_000)..u64::from(u32::MAX)],
        quota in quotas(),
        steps in steps(),
    ) {
        let mut now = start;
        let mut log = Log::new(tick(now));
        let mut oracle = Oracle { admitted: Vec::new(), latest: start };
        for step in steps {
            match step {
                Step::Advance(by) => now += by,
                Step::JumpBack(by) => now -= by.min(now),
                Step::Take => {
                    let expected = oracle.take(now, quota);
                    let verdict = log.take(tick(now), quota);
                    prop_assert_eq!(verdict.wait_ms.map(u64::from), expected);
                    let used = oracle.in_window(now.max(oracle.latest), quota).len();
                    let left = usize::from(quota.limit).saturating_sub(used);
                    prop_assert_eq!(usize::from(verdict.remaining), left);
                }
                Step::GiveBack(nth) => {
                    let recent = oracle.in_window(now.max(oracle.latest), quota);
                    if let Some(at) = recent.get(nth) {
                        log.give_back(tick(*at));
                        let index = oracle.admitted.iter().rposition(|held| held == at).unwrap();
                        oracle.admitted.remove(index);
                    }
                }
            }
        }
        // And the promise once more, over every window there was.
        for at in &oracle.admitted {
            prop_assert!(oracle.in_window(*at, quota).iter().filter(|t| *t <= at).count() <= quota.allowance());
        }
    }

    #[test]
    fn whoever_waits_exactly_as_told_gets_in_and_a_millisecond_sooner_does_not(
        quota in quotas(),
        gaps in proptest::collection::vec(0u64..3_000, 1..120),
    ) {
        let mut log = Log::new(tick(0));
        let mut now = 0;
        for gap in gaps {
            now += gap;
            if let Some(wait) = log.take(tick(now), quota).wait_ms {
                prop_assert!(wait > 0);
                let sooner = log.take(tick(now + u64::from(wait) - 1), quota);
                prop_assert_eq!(sooner.wait_ms, Some(1));
                now += u64::from(wait);
                prop_assert!(log.take(tick(now), quota).admitted());
            }
        }
    }
}

#[test]
fn sixty_and_the_burst_pass_and_the_next_waits_for_the_first_to_leave() {
    let quota = Quota::per_minute(60).with_burst(6);
    let mut log = Log::new(tick(0));
    for nth in 0u64..66 {
        let verdict = log.take(tick(nth * 10), quota);
        assert!(verdict.admitted());
        assert_eq!(u64::from(verdict.remaining), 59u64.saturating_sub(nth));
    }
    assert_eq!(log.take(tick(1_000), quota).wait_ms, Some(59_000));
    assert!(log.take(tick(60_000), quota).admitted());
}

#[test]
fn a_smaller_allowance_waits_until_enough_have_left() {
    let mut log = Log::new(tick(0));
    for nth in 0..20 {
        log.take(tick(nth * 1_000), Quota::per_minute(20));
    }
    let verdict = log.take(tick(20_000), Quota::per_minute(5));
    // The sixteenth must leave, which came at 15 s.
    assert_eq!(verdict.wait_ms, Some(55_000));
}

#[test]
fn a_quota_grows_by_its_percents_up_to_the_most_that_can_be_counted() {
    let grown = |limit, percent| Quota::per_minute(limit).plus_percent(percent).limit;
    assert_eq!([grown(100, 30), grown(648, 10_000)], [130, 65_448]);
    assert_eq!([grown(649, 10_000), grown(u16::MAX, 1)], [u16::MAX; 2]);
}

#[test]
fn what_is_given_back_late_takes_no_place_from_one_that_looks_like_it() {
    let quota = Quota::per_minute(1);
    // As far apart as 16 bits of milliseconds do not tell.
    let (first, second) = (tick(0), tick(1 << 16));
    let mut log = Log::new(first);
    assert!(log.take(first, quota).admitted());
    assert!(log.take(second, quota).admitted());
    log.give_back(first);
    assert!(!log.take(second, quota).admitted());
}

#[test]
fn a_quiet_log_keeps_no_memory() {
    let mut log = Log::new(tick(0));
    for _ in 0..20 {
        log.take(tick(0), Quota::per_minute(100));
    }
    log.expire(tick(60_000), Quota::per_minute(100));
    assert_eq!(log.times.capacity(), 0);
}
