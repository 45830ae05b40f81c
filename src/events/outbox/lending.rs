//! Pure. A queue whose session sleeps: the hub writes what is queued by the sink that it was lent.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Outbox, State, wake};
use crate::events::event::Event;
use crate::events::loan::{Loan, Sink};
use crate::events::place::Place;

/// What went out by a lent sink.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::events) struct Flushed {
    pub(in crate::events) events: usize,
    pub(in crate::events) bytes: usize,
    pub(in crate::events) writes: usize,
}

impl Outbox {
    /// Writes what is queued if the sink is lent, or else wakes the session. `batch` is
    /// for use in between.
    pub(in crate::events) fn flush(&self, batch: &mut Vec<Arc<Event>>) -> Flushed {
        let mut flushed = Flushed::default();
        let mut queue = self.queue.lock();
        queue.is_due = false;
        // Nobody waits: the session has been called, and will take its sink back.
        while queue.is_whole() && queue.waker.is_some() {
            let writing = Loan::Writing { wanted: false };
            let (mut sink, mut place) = match std::mem::replace(&mut queue.loan, writing) {
                Loan::Idle(sink, place) => (sink, place),
                Loan::None => {
                    queue.loan = Loan::None;
                    break;
                }
                // Whoever writes looks again at its end.
                busy @ Loan::Writing { .. } => {
                    queue.loan = busy;
                    return flushed;
                }
            };
            queue.take(BATCH_MAX, batch);
            // Not while it is written: the hub should not wait for that.
            drop(queue);
            batch.retain(|event| !event.is_stored() || place.advance(event.cursor()));
            let is_whole = batch.is_empty() || {
                let written = sink.write_now(batch);
                flushed.writes += 1;
                flushed.events += batch.len();
                flushed.bytes += written.bytes;
                written.is_whole
            };
            batch.clear();
            queue = self.queue.lock();
            if queue.state == State::Gone {
                return flushed;
            }
            let wanted = matches!(queue.loan, Loan::Writing { wanted: true });
            queue.loan = Loan::Idle(sink, place);
            if wanted || !is_whole {
                break;
            }
            if queue.is_at_rest() {
                return flushed;
            }
        }
        wake(queue);
        flushed
    }

    /// The hub: the sink broke while it was written to. The session, if it waits or sleeps,
    /// learns that it has none.
    pub(in crate::events) fn lose_sink(&self) {
        let mut queue = self.queue.lock();
        queue.loan = Loan::None;
        wake(queue);
    }

    /// The session: lends the hub its sink while it sleeps, unless there is something for
    /// it to hear. `place` is what it has had.
    pub(in crate::events) fn lend(
        &self,
        sink: Box<dyn Sink>,
        place: Place,
        context: &Context<'_>,
    ) -> Result<(), Box<dyn Sink>> {
        let mut queue = self.queue.lock();
        if !queue.is_at_rest() {
            return Err(sink);
        }
        queue.loan = Loan::Idle(sink, place);
        queue.wait_with(context);
        Ok(())
    }

    /// The session: what it lent, and its place by now.
    pub(in crate::events) fn poll_return(
        &self,
        context: &Context<'_>,
    ) -> Poll<Option<(Box<dyn Sink>, Place)>> {
        let mut queue = self.queue.lock();
        match std::mem::take(&mut queue.loan) {
            Loan::None => Poll::Ready(None),
            Loan::Idle(sink, place) => Poll::Ready(Some((sink, place))),
            Loan::Writing { .. } => {
                queue.loan = Loan::Writing { wanted: true };
                queue.wait_with(context);
                Poll::Pending
            }
        }
    }
}

/// Events in one write by a lent sink.
const BATCH_MAX: usize = 64;
