//! Pure. The bounded queue between the hub and one session.
//!
//! The hub never waits: it adds a pointer under a lock that only this session
//! shares, and wakes the session at most once until it has looked. A queue that
//! is full is dropped whole and takes nothing more: everything in it is in the
//! database, and the session reads it there at its own pace.

mod lending;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};

use super::event::Event;
use super::loan::Loan;
use crate::types::{Seq, unprintable};

pub(super) use lending::Flushed;

/// One session's queue; shared by the hub, which fills it, and the session.
pub struct Outbox {
    bytes_max: usize,
    queue: Mutex<Queue>,
}

unprintable!(Outbox);

#[derive(Default)]
struct Queue {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    state: State,
    /// The stream has lost something here: what is queued may not be the session's own.
    hole: bool,
    /// The session waits with this.
    waker: Option<Waker>,
    /// It is among those that the hub flushes at the end of its batch.
    is_due: bool,
    loan: Loan,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// Takes nothing: not attached yet, or overflowed.
    #[default]
    Shut,
    Open,
    /// Shut by an overflow that the session has not seen yet. It has had everything
    /// of the stream before this event.
    Overflowed(Seq),
    /// The session is gone.
    Gone,
}

/// What became of an event that was offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Offer {
    Queued,
    /// It did not fit, and the queue is dropped: the session reads the database.
    Overflowed,
    /// The session does not listen, now or ever; the database has it.
    Shut,
}

/// The queues that the hub flushes at the end of a batch.
pub type Due = Vec<Arc<Outbox>>;

/// What a session found when it looked.
#[derive(Debug, Default)]
pub struct Taken {
    pub events: Vec<Arc<Event>>,
    /// The queue overflowed: go on from the database. All before this event
    /// has been taken.
    pub overflowed: Option<Seq>,
    pub hole: bool,
}

impl Outbox {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            queue: Mutex::default(),
        }
    }

    /// The hub: from now on events are queued. None is while it is shut.
    pub(super) fn open(&self) {
        let mut queue = self.queue.lock();
        if queue.state != State::Gone {
            queue.state = State::Open;
        }
    }

    /// The hub: one more event. If the session sleeps, this is added to `due`: the hub
    /// flushes all at the end of a batch, so that the whole batch is written at once.
    pub(super) fn offer(self: &Arc<Self>, event: &Arc<Event>, due: &mut Due) -> Offer {
        let mut queue = self.queue.lock();
        if queue.state != State::Open {
            return Offer::Shut;
        }
        let fits = queue.bytes + event.cost() <= self.bytes_max;
        if !fits && !event.is_stored() {
            // Passing news is not worth a replay.
            return Offer::Shut;
        }
        queue.make_due(self, due);
        if fits {
            queue.bytes += event.cost();
            queue.events.push_back(Arc::clone(event));
            return Offer::Queued;
        }
        let first = queue.events.iter().find(|event| event.is_stored());
        let first = first.map_or(event.seq(), |first| first.seq());
        queue.state = State::Overflowed(first);
        queue.events = VecDeque::new();
        queue.bytes = 0;
        Offer::Overflowed
    }

    /// The hub: the stream has lost something.
    pub(super) fn mark_hole(self: &Arc<Self>, due: &mut Due) {
        let mut queue = self.queue.lock();
        queue.hole = true;
        queue.make_due(self, due);
    }

    /// Whether the session has yet to hear that something is lost.
    pub(super) fn has_hole(&self) -> bool {
        self.queue.lock().hole
    }

    pub(super) fn is_gone(&self) -> bool {
        self.queue.lock().state == State::Gone
    }

    /// The session: whether all that comes is in the queue.
    pub(super) fn is_whole(&self) -> bool {
        self.queue.lock().is_whole()
    }

    /// The session: takes what is there, at most `count` events, or waits.
    pub fn poll_take(&self, context: &Context<'_>, count: usize) -> Poll<Taken> {
        let mut queue = self.queue.lock();
        let mut taken = Taken {
            hole: std::mem::take(&mut queue.hole),
            ..Taken::default()
        };
        if let State::Overflowed(first) = queue.state {
            queue.state = State::Shut;
            taken.overflowed = Some(first);
        }
        let count = count.min(queue.events.len());
        if count == 0 && taken.overflowed.is_none() && !taken.hole {
            queue.wait_with(context);
            return Poll::Pending;
        }
        queue.take(count, &mut taken.events);
        Poll::Ready(taken)
    }

    /// The session: nobody will look again.
    pub(super) fn shut_for_good(&self) {
        let mut queue = self.queue.lock();
        queue.state = State::Gone;
        queue.events = VecDeque::new();
        queue.waker = None;
        queue.loan = Loan::None;
    }
}

/// Wakes the session, if it waits.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Queue {
    fn make_due(&mut self, outbox: &Arc<Outbox>, due: &mut Due) {
        if self.waker.is_some() && !self.is_due {
            self.is_due = true;
            due.push(Arc::clone(outbox));
        }
    }

    fn wait_with(&mut self, context: &Context<'_>) {
        self.waker = Some(context.waker().clone());
    }

    /// Nothing is there that the session should hear.
    fn is_at_rest(&self) -> bool {
        self.events.is_empty() && self.is_whole()
    }

    /// It has dropped nothing, and the stream has lost nothing: else only the session itself
    /// can go on.
    fn is_whole(&self) -> bool {
        self.state == State::Open && !self.hole
    }

    fn take(&mut self, count: usize, into: &mut Vec<Arc<Event>>) {
        let count = count.min(self.events.len());
        let before = into.len();
        into.extend(self.events.drain(..count));
        let taken = into.get(before..).unwrap_or_default();
        self.bytes -= taken.iter().map(|event| event.cost()).sum::<usize>();
        if self.events.is_empty() && self.events.capacity() > SLOTS_KEPT {
            self.events = VecDeque::new();
        }
    }
}

/// Slots that an empty queue keeps: a burst's memory goes back, a trickle's does
/// not come and go.
const SLOTS_KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> Arc<Event> {
        let text = format!(r#"{{"cursor":"{seq}","convoId":"ab","messageId":"x"}}"#);
        Arc::new(Event::parse(&text).unwrap())
    }

    fn take(outbox: &Outbox) -> Option<Taken> {
        match outbox.poll_take(&Context::from_waker(Waker::noop()), 100) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        }
    }

    fn seqs(taken: &Taken) -> Vec<u64> {
        taken.events.iter().map(|event| event.seq().get()).collect()
    }

    #[test]
    fn events_come_out_in_order_and_only_once_open() {
        let outbox = Arc::new(Outbox::new(10_000));
        let mut due = Due::new();
        assert_eq!(outbox.offer(&event(1), &mut due), Offer::Shut);
        outbox.open();
        assert!(take(&outbox).is_none());
        assert_eq!(outbox.offer(&event(2), &mut due), Offer::Queued);
        assert_eq!(outbox.offer(&event(3), &mut due), Offer::Queued);
        assert_eq!(seqs(&take(&outbox).unwrap()), [2, 3]);
        assert!(take(&outbox).is_none());
    }

    #[test]
    fn a_waiting_session_is_woken_once_for_many_events() {
        let outbox = Arc::new(Outbox::new(10_000));
        outbox.open();
        assert!(take(&outbox).is_none());
        let mut due = Due::new();
        for seq in 1..5 {
            let _ = outbox.offer(&event(seq), &mut due);
        }
        assert_eq!(due.len(), 1);
    }

    #[test]
    fn a_hole_wakes_a_waiting_session_before_anything_comes_after_it() {
        let outbox = Arc::new(Outbox::new(10_000));
        outbox.open();
        assert!(take(&outbox).is_none());
        let mut due = Due::new();
        outbox.mark_hole(&mut due);
        assert_eq!(due.len(), 1);
        assert!(take(&outbox).unwrap().hole);
    }

    #[test]
    fn what_was_taken_makes_room_for_what_comes() {
        let outbox = Arc::new(Outbox::new(2 * event(1).cost()));
        outbox.open();
        for seq in 1..=9 {
            let offered = outbox.offer(&event(seq), &mut Due::new());
            assert_eq!(offered, Offer::Queued, "{seq}");
            assert_eq!(seqs(&take(&outbox).unwrap()), [seq]);
        }
    }

    #[test]
    fn a_full_queue_is_dropped_whole_and_says_from_where_to_read() {
        let outbox = Arc::new(Outbox::new(2 * event(1).cost()));
        outbox.open();
        let mut due = Due::new();
        for seq in [5, 6] {
            assert_eq!(outbox.offer(&event(seq), &mut due), Offer::Queued);
        }
        assert_eq!(outbox.offer(&event(8), &mut due), Offer::Overflowed);
        assert_eq!(outbox.offer(&event(9), &mut due), Offer::Shut);
        let taken = take(&outbox).unwrap();
        assert_eq!(taken.overflowed, Some(Seq::new(5)));
        assert!(taken.events.is_empty());
        assert!(take(&outbox).is_none(), "it is told once");
        outbox.open();
        assert_eq!(outbox.offer(&event(10), &mut due), Offer::Queued);
        assert_eq!(seqs(&take(&outbox).unwrap()), [10]);
    }

    #[test]
    fn the_room_of_a_burst_goes_back_and_that_of_a_trickle_stays() {
        for (events, is_kept) in [(1, true), (100, false)] {
            let outbox = Arc::new(Outbox::new(100_000));
            outbox.open();
            for seq in 1..=events {
                let _ = outbox.offer(&event(seq), &mut Due::new());
            }
            assert!(take(&outbox).is_some());
            assert_eq!(outbox.queue.lock().events.capacity() > 0, is_kept);
        }
    }

    #[test]
    fn a_session_that_is_gone_takes_nothing_ever() {
        let outbox = Arc::new(Outbox::new(10_000));
        outbox.shut_for_good();
        outbox.open();
        assert_eq!(outbox.offer(&event(1), &mut Vec::new()), Offer::Shut);
        assert!(outbox.is_gone());
    }
}
