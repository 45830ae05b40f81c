//! Tells why a session was woken: by an event for it, or by anything else.
//!
//! Nearly every time it is an event. What else a session waits for (its client, its
//! alarm, a reload, a drain) keeps this bell instead of the task's own waker, and is
//! asked only when the bell has rung: a delivery touches no timer, no readiness of the
//! socket, and no lock that all sessions share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// See the module.
#[derive(Default)]
pub(super) struct Bell(Option<Arc<Ring>>);

struct Ring {
    has_rung: AtomicBool,
    task: Waker,
}

impl Bell {
    /// Asks `others` if the bell has rung since they were last all pending, or if they
    /// have not been asked yet. They must keep the context's waker, as futures do.
    pub(super) fn poll<T>(
        &mut self,
        context: &Context<'_>,
        others: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let ring = self.ring(context);
        if !ring.has_rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        ring.has_rung.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(ring));
        let polled = others(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            // Those behind the one that is ready have not been asked.
            ring.has_rung.store(true, Ordering::Release);
        }
        polled
    }

    /// One for this task: a future may move to another, though sessions do not.
    fn ring(&mut self, context: &Context<'_>) -> &Arc<Ring> {
        let known = self.0.take();
        let known = known.filter(|ring| ring.task.will_wake(context.waker()));
        self.0.insert(known.unwrap_or_else(|| {
            Arc::new(Ring {
                has_rung: AtomicBool::new(true),
                task: context.waker().clone(),
            })
        }))
    }
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn others_are_asked_when_the_bell_has_rung_and_else_not() {
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        let mut bell = Bell::default();
        let mut kept = None;
        let mut asked = 0;
        for _ in 0..3 {
            let polled: Poll<()> = bell.poll(&context, |context| {
                asked += 1;
                kept = Some(context.waker().clone());
                Poll::Pending
            });
            assert!(polled.is_pending());
        }
        assert_eq!(asked, 1, "the first time, and then not again");
        kept.unwrap().wake();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "the task is woken");
        assert!(bell.poll(&context, |_| Poll::Ready(())).is_ready());
        let again = bell.poll(&context, |_| Poll::Ready(()));
        assert!(again.is_ready(), "there may be more behind what was ready");
    }

    #[test]
    fn a_ring_while_others_are_asked_is_not_lost() {
        let context = Context::from_waker(Waker::noop());
        let mut bell = Bell::default();
        for _ in 0..3 {
            let mut asked = false;
            let _: Poll<()> = bell.poll(&context, |context| {
                asked = true;
                context.waker().wake_by_ref();
                Poll::Pending
            });
            assert!(asked);
        }
    }

    #[test]
    fn another_task_asks_anew() {
        let mut bell = Bell::default();
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Count::default()));
            let mut asked = false;
            let _: Poll<()> = bell.poll(&Context::from_waker(&waker), |_| {
                asked = true;
                Poll::Pending
            });
            assert!(asked);
        }
    }
}
