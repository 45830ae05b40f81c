//! A write that has to wait, and how long it may.
//!
//! Made only by a write that waits: most are taken at once, and a timer for each would cost
//! more than the write.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::runtime::{BYTES_PER_SECOND_MIN, Pace};

pub(super) struct Slow {
    pace: Pace,
    alarm: Pin<Box<Sleep>>,
}

impl Slow {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            pace: Pace::new(BYTES_PER_SECOND_MIN, now),
            alarm: Box::pin(sleep_until(now)),
        }
    }

    /// Ready when patience is over with a client that has taken so many bytes. It may be less from
    /// one poll to the next: a session is woken by every change of its settings.
    pub(super) fn poll(
        &mut self,
        taken: u64,
        patience: Duration,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        self.pace.reach(taken, Instant::now());
        self.alarm.as_mut().reset(self.pace.late_at(patience));
        self.alarm.as_mut().poll(context)
    }
}
