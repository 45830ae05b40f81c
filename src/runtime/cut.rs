//! A task that another may cut off, and wait for until it is gone.

use std::future::Future;

use tokio_util::sync::{CancellationToken, DropGuard};

/// Cuts one task off. All clones cut the same one.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    wanted: CancellationToken,
    gone: CancellationToken,
}

impl Cut {
    /// Runs a task to its end, or until it is cut off, which comes first if both are due.
    pub async fn around(self, task: impl Future<Output = ()>) {
        // Dropped after the task, also if that panics.
        let _gone = self.gone.drop_guard();
        tokio::select! {
            biased;
            () = self.wanted.cancelled() => {}
            () = task => {}
        }
    }

    /// Cuts the task off, and waits until nothing of it is left.
    pub async fn off(&self) {
        self.wanted.cancel();
        self.gone.cancelled().await;
    }

    /// Cuts the task off as soon as it is cancelled.
    pub fn token(&self) -> CancellationToken {
        self.wanted.clone()
    }

    /// Cuts the task off when it is dropped.
    pub fn guard(&self) -> DropGuard {
        self.token().drop_guard()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn whoever_cuts_a_task_off_finds_nothing_of_it_left() {
        let cut = Cut::default();
        let (held, mut dropped) = oneshot::channel::<()>();
        let task = async move {
            let _held = held;
            std::future::pending().await
        };
        tokio::spawn(cut.clone().around(task));
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        cut.off().await;
        assert_eq!(
            dropped.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        );
    }

    #[tokio::test]
    async fn a_task_that_has_ended_is_gone() {
        let cut = Cut::default();
        cut.clone().around(async {}).await;
        cut.off().await;
    }
}
