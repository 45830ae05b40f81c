//! A panic ends one piece of work, and not the task that does one after the other.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::{Backoff, random};

/// Does one piece. Nothing comes of it if it panics, which the process's hook has told by
/// then. What pieces share must bear that one of them ends anywhere.
pub(crate) async fn survive<F: Future>(piece: F) -> Option<F::Output> {
    AssertUnwindSafe(piece).catch_unwind().await.ok()
}

/// A run of a task, which has the task's state for as long.
pub(super) type Run<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs a task to its end. One that panics is run again with the state that it left, after a
/// pause that grows while it goes on to panic. The state must bear that a run ends anywhere.
pub(crate) async fn endure<S>(name: &'static str, mut state: S, run: impl Fn(&mut S) -> Run<'_>) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
    loop {
        let began = Instant::now();
        if survive(run(&mut state)).await.is_some() {
            return;
        }
        if began.elapsed() > LAST_PAUSE {
            backoff.reset();
        }
        metrics::counter!("relay_process_restarts_total", "task" => name).increment(1);
        tracing::error!(task = name, "a task that has panicked begins again");
        sleep(backoff.next(random())).await;
    }
}

/// Long beside a fault that comes back at once, and short beside what would be missed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Who has run for longer is taken to be well.
const LAST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics at these moments of its life, and counts.
    #[derive(Default)]
    struct Task {
        runs: u32,
        steps: u32,
    }

    impl Task {
        async fn run(&mut self) {
            self.runs += 1;
            while self.steps < 10 {
                self.steps += 1;
                assert!(![3, 4, 9].contains(&self.steps), "as a fault of ours would");
                sleep(LAST_PAUSE).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_goes_on_with_what_it_had_and_one_that_ends_has_ended() {
        let (told, mut heard) = tokio::sync::mpsc::channel(8);
        let began = Instant::now();
        endure("of a test", (Task::default(), told), |(task, told)| {
            Box::pin(async move {
                let _ = told.try_send(task.steps);
                task.run().await;
                let _ = told.try_send(task.steps);
            })
        })
        .await;
        let mut steps = Vec::new();
        heard.recv_many(&mut steps, 8).await;
        assert_eq!(steps, [0, 3, 4, 9, 10]);
        // Its seven pauses, and ours: two in a row, and one after it had been well.
        let paused = began.elapsed().saturating_sub(LAST_PAUSE * 7);
        let bounds = (FIRST_PAUSE * 3 / 2)..(FIRST_PAUSE * 4);
        assert!(bounds.contains(&paused), "{paused:?}");
    }
}
