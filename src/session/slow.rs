//! A write that has to wait, and how long it may.
//!
//! Made only by a write that waits: most are taken at once, and a timer for each would cost
//! more than the write.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use super::Settings;
use crate::runtime::{BYTES_PER_SECOND_MIN, Live, Pace};
use crate::wire::CloseReason;

pub(super) struct Slow {
    pace: Pace,
    alarm: Pin<Box<Sleep>>,
}

impl Slow {
    /// Asked when a write has to wait: ready when patience is over with a client that has taken so
    /// many bytes of it. Patience may be less from one poll to the next: a session is woken by
    /// every change of its settings.
    pub(super) fn poll(
        // Boxed: no timer lies in a session that does not wait.
        slow: &mut Option<Box<Self>>,
        taken: u64,
        settings: &Live<Settings>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        let now = Instant::now();
        let Self { pace, alarm } = &mut **slow.get_or_insert_with(|| {
            Box::new(Self {
                pace: Pace::new(BYTES_PER_SECOND_MIN, now),
                alarm: Box::pin(sleep_until(now)),
            })
        });
        pace.reach(taken, now);
        let patience = settings.load().write_timeout;
        alarm.as_mut().reset(pace.late_at(patience));
        let late = alarm.as_mut().poll(context);
        late.map(|()| Err(CloseReason::ConsumerTooSlow))
    }
}
