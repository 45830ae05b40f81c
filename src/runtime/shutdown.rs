//! The way down: stop accepting, let work finish, then stop waiting.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::survive::{Run, endure};

/// Cloned into every task. Holding one is a promise to watch it. Three moments:
/// *leaving* (everything works, but nobody should be sent here any more), *draining*
/// (take nothing new, finish what runs) and *stopping* (background tasks are cut off, because
/// all that needed them has ended or the grace is over).
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    leaving: CancellationToken,
    draining: CancellationToken,
    stopping: CancellationToken,
    failed: CancellationToken,
    work: TaskTracker,
    background: TaskTracker,
}

/// How the drain ended, for the exit code and the last log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drained {
    Complete,
    GraceElapsed { left: usize },
}

impl Shutdown {
    /// Says that the drain is near, so that balancers look elsewhere first.
    pub fn announce(&self) {
        self.leaving.cancel();
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Resolves once, when the process starts to drain.
    pub fn draining(&self) -> impl Future<Output = ()> {
        self.draining.cancelled()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Spawns a piece of work that the drain waits for: a connection, a session.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.work.spawn(task);
    }

    /// Spawns a task that serves the others and must outlive them, such as the one that looks
    /// after certificates. It is cut off at `stopping`, before it can see that others are and take
    /// that for a fault of theirs.
    pub fn spawn_background<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.spawn_errand(async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// The same for a task that must go on whatever happens: one that panics is counted by its
    /// name, and runs again with the state that it left.
    pub(crate) fn spawn_lasting<S>(
        &self,
        name: &'static str,
        state: S,
        run: impl Fn(&mut S) -> Run<'_> + Send + Sync + 'static,
    ) where
        S: Send + 'static,
    {
        self.spawn_background(endure(name, state, run));
    }

    /// Spawns what ends by itself, soon, and is not cut off: a reading for several, the rest of
    /// a statement that nobody waits for.
    pub fn spawn_errand<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.background.spawn(task);
    }

    /// The same for a task that nothing works without, as the hub: see [`Self::failed`].
    pub fn spawn_vital<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let watched = Watched(self.failed.clone());
        self.spawn_background(async move {
            let _watched = watched;
            task.await;
        });
    }

    /// Resolves when a vital task has panicked. What it served stands still from then
    /// on, so the process should leave for another to take its place.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Begins the drain, waits up to `grace` for work to end, then stops the
    /// background tasks and waits a moment for those.
    pub async fn drain(&self, grace: Duration) -> Drained {
        self.leaving.cancel();
        self.draining.cancel();
        self.work.close();
        let ended = tokio::time::timeout(grace, self.work.wait()).await;
        let left = self.work.len();
        self.stopping.cancel();
        self.background.close();
        // A background task that does not end is cut off with the process.
        let _ = tokio::time::timeout(BACKGROUND_GRACE, self.background.wait()).await;
        match ended {
            Ok(()) => Drained::Complete,
            Err(_) => Drained::GraceElapsed { left },
        }
    }
}

/// Tells when the task that holds it panics.
struct Watched(CancellationToken);

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel();
        }
    }
}

/// For errands under way: the rest of a statement, the closing of a connection.
const BACKGROUND_GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_work_before_it_stops_what_the_work_needs() {
        let shutdown = Shutdown::default();
        let watched = shutdown.clone();
        shutdown.spawn(async move {
            watched.draining().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!watched.stopping.is_cancelled());
        });
        shutdown.spawn_background(std::future::pending());
        assert_eq!(
            shutdown.drain(Duration::from_secs(3)).await,
            Drained::Complete
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_background_task_sees_that_another_was_cut_off() {
        let shutdown = Shutdown::default();
        let (serves, served) = tokio::sync::oneshot::channel::<()>();
        let (sees, mut seen) = tokio::sync::oneshot::channel();
        shutdown.spawn_background(async move {
            std::future::pending::<()>().await;
            drop(serves);
        });
        shutdown.spawn_background(async move {
            let _ = sees.send(served.await);
        });
        // Both wait.
        tokio::task::yield_now().await;
        shutdown.drain(Duration::ZERO).await;
        let seen = seen.try_recv();
        assert_eq!(seen, Err(tokio::sync::oneshot::error::TryRecvError::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_is_not_draining_yet_and_who_drains_has_left() {
        let shutdown = Shutdown::default();
        shutdown.announce();
        assert!(shutdown.is_leaving() && !shutdown.is_draining());
        let shutdown = Shutdown::default();
        shutdown.drain(Duration::ZERO).await;
        assert!(shutdown.is_leaving() && shutdown.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_gives_up_on_work_that_does_not_end() {
        let shutdown = Shutdown::default();
        shutdown.spawn(std::future::pending());
        let drained = shutdown.drain(Duration::from_secs(1)).await;
        assert_eq!(drained, Drained::GraceElapsed { left: 1 });
    }

    #[tokio::test]
    async fn a_vital_task_that_panics_is_told_and_one_that_ends_is_not() {
        let shutdown = Shutdown::default();
        let (ends, ended) = tokio::sync::oneshot::channel::<()>();
        shutdown.spawn_vital(async move { drop(ends) });
        let _ = ended.await;
        assert!(!shutdown.failed.is_cancelled());
        shutdown.spawn_vital(async { panic!("as a fault of ours would") });
        shutdown.failed().await;
    }
}
