//! What a session lends the hub while it sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::timeout;

use super::memory::Memory;
use super::subscriber::hear;
use crate::events::dispatcher::write_out;
use crate::events::outbox::Flushed;
use crate::events::place::Place;
use crate::events::{Due, Event, Outbox, Settings, Sink, Subscriber, Subscription, Written};
use crate::types::{ConvoId, Cursor, Did, Seq};

#[derive(Default)]
struct Woken(AtomicBool);

impl Woken {
    fn new() -> (Arc<Self>, Waker) {
        let woken = Arc::new(Self::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    fn has_been(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn event(seq: u64) -> Arc<Event> {
    let text = format!(r#"{{"cursor":"{seq}","convoId":"ab","messageId":"x"}}"#);
    Arc::new(Event::parse(&text).unwrap())
}

/// Counts what it is given, and takes all or keeps all.
struct Count(Arc<AtomicUsize>, bool);

impl Sink for Count {
    fn write_now(&mut self, events: &[Arc<Event>]) -> Written {
        self.0.fetch_add(events.len(), Ordering::Relaxed);
        let (bytes, is_whole) = (events.len(), self.1);
        Written { bytes, is_whole }
    }
}

fn place(seq: u64) -> Place {
    Place::new(Cursor::parse(&seq.to_string()).unwrap())
}

#[test]
fn a_lent_sink_gets_the_whole_batch_in_one_write_and_wakes_nobody() {
    let (outbox, written) = (Arc::new(Outbox::new(10_000)), Arc::default());
    outbox.open();
    let (woken, waker) = Woken::new();
    let context = Context::from_waker(&waker);
    let sink = Box::new(Count(Arc::clone(&written), true));
    assert!(outbox.lend(sink, place(2), &context).is_ok());
    let mut due = Due::new();
    // The first of them the session has had.
    for seq in 2..5 {
        let _ = outbox.offer(&event(seq), &mut due);
    }
    assert_eq!(due.len(), 1);
    let flushed = outbox.flush(&mut Vec::new());
    assert_eq!((flushed.events, flushed.writes), (2, 1));
    assert_eq!(written.load(Ordering::Relaxed), 2);
    assert!(!woken.has_been());
    let Poll::Ready(Some((_, place))) = outbox.poll_return(&context) else {
        panic!("it is not being written to");
    };
    assert_eq!(place.seq(), Seq::new(4));
    assert!(outbox.poll_take(&context, 9).is_pending());
}

#[test]
fn a_sink_that_keeps_something_wakes_its_owner_and_gets_no_more() {
    let (outbox, written) = (Arc::new(Outbox::new(10_000)), Arc::default());
    outbox.open();
    let (woken, waker) = Woken::new();
    let context = Context::from_waker(&waker);
    let sink = Box::new(Count(Arc::clone(&written), false));
    assert!(outbox.lend(sink, place(1), &context).is_ok());
    let _ = outbox.offer(&event(2), &mut Due::new());
    outbox.flush(&mut Vec::new());
    assert!(woken.has_been());
    // Another task may be about to flush it too.
    let _ = outbox.offer(&event(3), &mut Due::new());
    assert_eq!(outbox.flush(&mut Vec::new()), Flushed::default());
    assert!(outbox.poll_return(&context).is_ready());
    let Poll::Ready(taken) = outbox.poll_take(&context, 9) else {
        panic!("the third has not been written");
    };
    assert_eq!(taken.events[0].seq(), Seq::new(3));
    assert_eq!(written.load(Ordering::Relaxed), 1);
}

/// As a bug would.
struct Panics;

impl Sink for Panics {
    fn write_now(&mut self, _: &[Arc<Event>]) -> Written {
        panic!("nothing can be written here")
    }
}

#[test]
fn a_sink_that_panics_ends_its_own_session_and_the_others_get_theirs() {
    let written = Arc::default();
    let sinks: [Box<dyn Sink>; 3] = [
        Box::new(Count(Arc::clone(&written), true)),
        Box::new(Panics),
        Box::new(Count(Arc::clone(&written), true)),
    ];
    let mut due = Due::new();
    let sessions = sinks.map(|sink| {
        let outbox = Arc::new(Outbox::new(10_000));
        outbox.open();
        let (woken, waker) = Woken::new();
        let lent = outbox.lend(sink, place(1), &Context::from_waker(&waker));
        assert!(lent.is_ok());
        let _ = outbox.offer(&event(2), &mut due);
        (outbox, woken)
    });
    assert_eq!(write_out(&due).events, 2);
    assert_eq!(written.load(Ordering::Relaxed), 2);
    let woken = sessions.each_ref().map(|(_, woken)| woken.has_been());
    assert_eq!(woken, [false, true, false]);
    let context = Context::from_waker(Waker::noop());
    let returned = sessions.map(|(outbox, _)| match outbox.poll_return(&context) {
        Poll::Ready(sink) => sink.is_some(),
        Poll::Pending => panic!("nobody is writing"),
    });
    assert_eq!(returned, [true, false, true]);
}

#[test]
fn each_session_of_a_batch_gets_its_own_events_and_no_others() {
    let written = Arc::default();
    let sinks: [Box<dyn Sink>; 3] = [
        Box::new(Panics),
        Box::new(Count(Arc::clone(&written), true)),
        Box::new(Count(Arc::clone(&written), true)),
    ];
    let mut due = Due::new();
    for (sink, seq) in sinks.into_iter().zip(2..) {
        let outbox = Arc::new(Outbox::new(10_000));
        outbox.open();
        let context = Context::from_waker(Waker::noop());
        assert!(outbox.lend(sink, place(1), &context).is_ok());
        let _ = outbox.offer(&event(seq), &mut due);
    }
    let flushed = Flushed {
        events: 2,
        bytes: 2,
        writes: 2,
    };
    assert_eq!(write_out(&due), flushed);
    assert_eq!(written.load(Ordering::Relaxed), 2);
}

/// Its session asks for it while it is written to.
struct Wanted(Arc<Outbox>, Waker);

impl Sink for Wanted {
    fn write_now(&mut self, events: &[Arc<Event>]) -> Written {
        let returned = self.0.poll_return(&Context::from_waker(&self.1));
        assert!(returned.is_pending());
        let (bytes, is_whole) = (events.len(), true);
        Written { bytes, is_whole }
    }
}

#[test]
fn who_asks_for_its_sink_while_it_is_written_to_is_woken_as_it_asked() {
    let outbox = Arc::new(Outbox::new(10_000));
    outbox.open();
    let (woken, waker) = Woken::new();
    let context = Context::from_waker(Waker::noop());
    let sink = Box::new(Wanted(Arc::clone(&outbox), waker));
    assert!(outbox.lend(sink, place(1), &context).is_ok());
    let _ = outbox.offer(&event(2), &mut Due::new());
    outbox.flush(&mut Vec::new());
    assert!(woken.has_been());
    let returned = outbox.poll_return(&context);
    assert!(matches!(returned, Poll::Ready(Some(_))));
}

#[test]
fn who_has_something_to_hear_lends_nothing() {
    let outbox = Arc::new(Outbox::new(10_000));
    outbox.open();
    let _ = outbox.offer(&event(2), &mut Due::new());
    let context = Context::from_waker(Waker::noop());
    let sink = Box::new(Count(Arc::default(), true));
    assert!(outbox.lend(sink, place(1), &context).is_err());
}

#[test]
fn an_overflow_of_a_lent_queue_wakes_the_session() {
    let outbox = Arc::new(Outbox::new(event(1).cost()));
    outbox.open();
    let (woken, waker) = Woken::new();
    let context = Context::from_waker(&waker);
    let sink = Box::new(Count(Arc::default(), true));
    assert!(outbox.lend(sink, place(1), &context).is_ok());
    let mut due = Due::new();
    for seq in [2, 3] {
        let _ = outbox.offer(&event(seq), &mut due);
    }
    assert_eq!(due.len(), 1);
    assert_eq!(outbox.flush(&mut Vec::new()), Flushed::default());
    assert!(woken.has_been() && !outbox.is_whole());
}

/// Whether its sink is taken when nothing comes just now.
fn lends(subscription: &mut Subscription) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    assert!(subscription.poll_next(&mut context).is_pending());
    let sink = Box::new(Count(Arc::default(), true));
    subscription.lend(sink, &context).is_ok()
}

#[tokio::test(start_paused = true)]
async fn only_who_is_live_and_hears_all_as_it_comes_lends_its_sink() {
    let memory = Memory::default();
    memory.join("did:plc:bob", "aa");
    memory.let_answers_take(Duration::from_secs(1));
    let (hub, _shutdown) = memory.hub(Settings {
        backlog_max: 0,
        ..Settings::default()
    });
    for (filter, hydrate) in [(None, false), (Some("aa"), false), (None, true)] {
        let subscriber = Subscriber {
            did: Did::parse("did:plc:bob").unwrap(),
            filter: filter.map(|convo| ConvoId::parse(convo).unwrap()),
            hydrate,
        };
        let mut bob = hub.subscribe(subscriber, Some(place(0).cursor()));
        let moment = Duration::from_millis(300);
        while timeout(moment, bob.next()).await.is_err() {
            assert!(!lends(&mut bob), "it joins or replays");
        }
        assert_eq!(hear(&mut bob, 1).await, ["synced 1"]);
        let is_plain = filter.is_none() && !hydrate;
        assert_eq!(lends(&mut bob), is_plain, "{filter:?} {hydrate}");
    }
}
