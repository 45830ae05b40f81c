//! Looks at a run a few times a second and draws its time line.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Usage;
use super::listener::{Phase, Shared, Stage};
use super::tally::Counters;
use super::timeline::{Moment, Point, Timeline};

const INTERVAL: Duration = Duration::from_millis(250);

/// The state of a run at one moment.
struct Seen {
    at: Instant,
    sent: u64,
    delivered: u64,
    reconnects: u64,
    relay: Option<Usage>,
    own: Option<Usage>,
    deliveries: Histogram<u64>,
}

/// Watches until nobody announces phases any more.
pub(super) async fn watch_run(
    shared: Arc<Shared>,
    mut phases: watch::Receiver<Phase>,
    relay: Option<u32>,
) -> Result<Timeline, CreationError> {
    let mut timeline = Timeline::new(INTERVAL.as_secs_f64());
    let start = Instant::now();
    let mut phase = Phase::default();
    let mut before = Seen::now(&shared, relay)?;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    loop {
        tokio::select! {
            changed = phases.changed() => {
                if changed.is_err() {
                    let now = Seen::now(&shared, relay)?;
                    timeline.push_last(&now.since(&before, start, &shared.counters));
                    return Ok(timeline);
                }
                let now = *phases.borrow_and_update();
                for what in moments(phase, now) {
                    timeline.mark(start.elapsed().as_secs_f64(), what);
                }
                phase = now;
            }
            _ = ticks.tick() => {
                let now = Seen::now(&shared, relay)?;
                timeline.push(now.since(&before, start, &shared.counters));
                before = now;
            }
        }
    }
}

/// What has come about between two phases. Some are shorter than a look at them.
fn moments(before: Phase, now: Phase) -> impl Iterator<Item = Moment> {
    let reached = move |stage| before.stage < stage && now.stage >= stage;
    [
        (reached(Stage::Running), Moment::Begin),
        (now.storms > before.storms, Moment::Storm),
        (
            reached(Stage::UnderAttack) && now.stage == Stage::UnderAttack,
            Moment::Attack,
        ),
        (reached(Stage::Ending), Moment::End),
        (reached(Stage::Over), Moment::Over),
    ]
    .into_iter()
    .filter_map(|(has_come, what)| has_come.then_some(what))
}

impl Seen {
    fn now(shared: &Shared, relay: Option<u32>) -> Result<Self, CreationError> {
        let counters = &shared.counters;
        Ok(Self {
            at: Instant::now(),
            sent: counters.sent.load(Ordering::Relaxed),
            delivered: counters.delivered.load(Ordering::Relaxed),
            reconnects: counters.reconnects.load(Ordering::Relaxed),
            relay: relay.and_then(Usage::of),
            own: Usage::of(std::process::id()),
            deliveries: shared.deliveries.sum()?,
        })
    }

    fn since(&self, before: &Self, start: Instant, counters: &Counters) -> Point {
        let span = self.at.duration_since(before.at).as_secs_f64();
        let cores = |now: Option<Usage>, before: Option<Usage>| {
            let cpu = now?.cpu_since(&before?).as_secs_f64();
            Some(cpu / span.max(f64::MIN_POSITIVE))
        };
        let mut latencies = self.deliveries.clone();
        // Counts only grow, and the bounds are the same.
        let _ = latencies.subtract(&before.deliveries);
        let at = |quantile| {
            let micros = latencies.value_at_quantile(quantile) as f64;
            (!latencies.is_empty()).then_some(micros / 1000.0)
        };
        Point {
            at_seconds: self.at.duration_since(start).as_secs_f64(),
            span_seconds: span,
            live: counters.live.load(Ordering::Relaxed),
            sends: self.sent - before.sent,
            deliveries: self.delivered - before.delivered,
            reconnects: self.reconnects - before.reconnects,
            delivery_p50_ms: at(0.5),
            delivery_p99_ms: at(0.99),
            relay_cores: cores(self.relay, before.relay),
            relay_resident_kib: self.relay.map(|usage| usage.resident_kib),
            generator_cores: cores(self.own, before.own).unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_and_a_storm_are_moments_however_short() {
        let calm = Phase::default();
        let storm = Phase {
            stage: Stage::Running,
            storms: 1,
        };
        let seen: Vec<_> = moments(calm, storm).collect();
        assert_eq!(seen, [Moment::Begin, Moment::Storm]);
        assert_eq!(moments(storm, storm).count(), 0);
        let over = Phase {
            stage: Stage::Over,
            ..storm
        };
        let seen: Vec<_> = moments(storm, over).collect();
        assert_eq!(seen, [Moment::End, Moment::Over]);
    }
}
