//! A session and the hub pass the session's line to and fro, in every way in which their steps
//! can fall: its client has every event once and in order, what only the session can do is
//! done, and nobody sleeps through anything.
//!
//! What is done under a lock is one step, as it is for threads. Between two of them any of the
//! others may go on: here the sink, the waker and the session ask who does. The session takes
//! its locks in the order in which `session::serve` does.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use crate::events::dispatcher::write_out;
use crate::events::outbox::Taken;
use crate::events::place::Place;
use crate::events::{Due, Event, Outbox, Sink, Written};
use crate::runtime::{Choices, every_way};
use crate::types::{CoarseTime, Cursor, Seq};

/// What the hub does, one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Offer,
    Hole,
    /// The end of a batch: a task is to write to those who sleep.
    Flush,
}

/// Who goes on.
#[derive(Clone, Copy, Debug)]
enum Step {
    Hub,
    /// One of the tasks that write to those who sleep.
    Errand,
    Session,
    /// Something that the session waits for beside events, such as a word of its client.
    Bell,
    /// The session's task is dropped.
    End,
}

/// What is to happen.
#[derive(Clone, Copy)]
struct Script {
    acts: &'static [Act],
    bells: usize,
    ends: bool,
    /// The event that its client does not take at once.
    stuck_at: u64,
    /// How many events its queue holds.
    room: usize,
}

const USUAL: Script = Script {
    acts: &[Act::Offer, Act::Flush, Act::Offer, Act::Flush],
    bells: 1,
    ends: false,
    stuck_at: 0,
    room: 9,
};

struct Scene {
    script: Script,
    choices: Arc<Choices>,
    outbox: Arc<Outbox>,
    state: Mutex<State>,
}

struct State {
    acts: VecDeque<Act>,
    bells: usize,
    ends: bool,
    offered: u64,
    due: Due,
    errands: VecDeque<Due>,
    /// `None` while it is polled, and when it has ended.
    session: Option<Session>,
    is_woken: bool,
    has_rung: bool,
    /// What its client has.
    written: Vec<u64>,
    bells_heard: usize,
    holes_heard: usize,
    faults: Vec<&'static str>,
}

struct Session {
    line: Option<Box<Line>>,
    place: Place,
}

/// The way to the client.
struct Line {
    scene: Arc<Scene>,
    /// What the client did not take at once.
    rest: Vec<u64>,
}

impl Sink for Line {
    fn write_now(&mut self, events: &[Arc<Event>]) -> Written {
        self.scene.meanwhile();
        let events: Vec<_> = events.iter().map(|event| event.seq().get()).collect();
        let is_whole = !events.contains(&self.scene.script.stuck_at);
        match is_whole {
            true => self.scene.state.lock().written.extend(events),
            false => self.rest = events,
        }
        Written { bytes: 0, is_whole }
    }
}

impl Wake for Scene {
    fn wake(self: Arc<Self>) {
        // Whoever wakes holds no lock any more.
        self.meanwhile();
        self.state.lock().is_woken = true;
    }
}

impl Scene {
    fn begin(script: Script, choices: &Arc<Choices>) -> Arc<Self> {
        let outbox = Arc::new(Outbox::new(script.room * EVENTS[1].cost()));
        outbox.open();
        let scene = Arc::new(Self {
            script,
            choices: Arc::clone(choices),
            outbox,
            state: Mutex::new(State {
                acts: script.acts.iter().copied().collect(),
                bells: script.bells,
                ends: script.ends,
                offered: 0,
                due: Due::new(),
                errands: VecDeque::new(),
                session: None,
                is_woken: true,
                has_rung: false,
                written: Vec::new(),
                bells_heard: 0,
                holes_heard: 0,
                faults: Vec::new(),
            }),
        });
        let line = Line {
            scene: Arc::clone(&scene),
            rest: Vec::new(),
        };
        scene.state.lock().session = Some(Session {
            line: Some(Box::new(line)),
            place: Place::new(cursor(0)),
        });
        scene
    }

    fn steps(&self) -> Vec<Step> {
        let state = self.state.lock();
        let has_session = state.session.is_some();
        let steps = [
            (Step::Hub, !state.acts.is_empty()),
            (Step::Errand, !state.errands.is_empty()),
            (Step::Session, has_session && state.is_woken),
            (Step::Bell, has_session && state.bells > 0),
            (Step::End, has_session && state.ends),
        ];
        let open = steps.into_iter().filter(|(_, is_open)| *is_open);
        open.map(|(step, _)| step).collect()
    }

    /// All go on until nobody has anything to do.
    fn play(self: &Arc<Self>) {
        loop {
            let steps = self.steps();
            if steps.is_empty() {
                return;
            }
            self.go(steps[self.choices.among(steps.len())]);
        }
    }

    /// Between two locks of one of them: the others may go on, or not.
    fn meanwhile(self: &Arc<Self>) {
        loop {
            let steps = self.steps();
            if steps.is_empty() {
                return;
            }
            match self.choices.among(steps.len() + 1) {
                0 => return,
                nth => self.go(steps[nth - 1]),
            }
        }
    }

    fn go(self: &Arc<Self>, step: Step) {
        match step {
            Step::Hub => self.act(),
            Step::Errand => {
                let errand = self.state.lock().errands.pop_front();
                write_out(&errand.unwrap());
            }
            Step::Session => self.poll_session(),
            Step::Bell => {
                let mut state = self.state.lock();
                state.bells -= 1;
                (state.has_rung, state.is_woken) = (true, true);
            }
            Step::End => {
                let session = self.state.lock().session.take();
                self.outbox.shut_for_good();
                drop(session);
            }
        }
    }

    fn act(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        match state.acts.pop_front().unwrap() {
            Act::Offer => {
                state.offered += 1;
                let event = &EVENTS[state.offered as usize];
                let _ = self.outbox.offer(event, &mut state.due);
            }
            Act::Hole => self.outbox.mark_hole(&mut state.due),
            Act::Flush => {
                let due = std::mem::take(&mut state.due);
                state.errands.extend((!due.is_empty()).then_some(due));
            }
        }
    }

    fn poll_session(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.is_woken = false;
        let mut session = state.session.take().unwrap();
        drop(state);
        let waker = Waker::from(Arc::clone(self));
        while self.turn(&mut session, &Context::from_waker(&waker)) {}
        self.state.lock().session = Some(session);
    }

    /// One turn of a session. False: it goes to sleep.
    fn turn(self: &Arc<Self>, session: &mut Session, context: &Context<'_>) -> bool {
        if session.line.is_none() {
            match self.outbox.poll_return(context) {
                Poll::Pending => return false,
                Poll::Ready(returned) => {
                    let (sink, place) = returned.expect("nothing has broken");
                    session.line = (sink as Box<dyn Any>).downcast().ok();
                    session.place = place;
                }
            }
        }
        let line = session.line.as_mut().unwrap();
        let mut state = self.state.lock();
        if !line.rest.is_empty() {
            state.written.append(&mut line.rest);
            return true;
        }
        if std::mem::take(&mut state.has_rung) {
            state.bells_heard += 1;
            return true;
        }
        drop(state);
        self.meanwhile();
        if let Poll::Ready(taken) = self.outbox.poll_take(context, 2) {
            self.hear(session, taken);
            return true;
        }
        self.meanwhile();
        let line = session.line.take().unwrap();
        if let Err(kept) = self.outbox.lend(line, session.place, context) {
            session.line = (kept as Box<dyn Any>).downcast().ok();
        }
        false
    }

    fn hear(self: &Arc<Self>, session: &mut Session, taken: Taken) {
        let mut state = self.state.lock();
        state.holes_heard += usize::from(taken.hole);
        for event in &taken.events {
            if session.place.advance(event.cursor()) {
                state.written.push(event.seq().get());
            }
        }
        let Some(first) = taken.overflowed else {
            return;
        };
        if session.place.seq().get() + 1 != first.get() {
            state
                .faults
                .push("it has not had all before what overflowed");
        }
        drop(state);
        self.meanwhile();
        // The hub opens its queue and says where it is; up to there the database has it all.
        let mut state = self.state.lock();
        self.outbox.open();
        let missed = session.place.seq().get() + 1..=state.offered;
        state.written.extend(missed);
        let _ = session.place.advance(cursor(state.offered));
    }

    /// What must be so when all is quiet.
    fn check(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let offered: Vec<_> = (1..=state.offered).collect();
        assert!(state.faults.is_empty(), "{:?}", state.faults);
        match state.session.take() {
            Some(session) => {
                assert_eq!(state.written, offered);
                assert_eq!(state.bells_heard, self.script.bells);
                let has_hole = self.script.acts.contains(&Act::Hole);
                assert_eq!(state.holes_heard > 0, has_hole);
                assert!(session.line.is_none(), "whoever sleeps lends its line");
                self.outbox.shut_for_good();
            }
            None => assert!(offered.starts_with(&state.written)),
        }
        drop(state);
        assert_eq!(Arc::strong_count(self), 1, "nothing keeps the line");
    }
}

/// Plays a script in every way.
fn explore(script: Script) {
    let ways = every_way(|choices| {
        let scene = Scene::begin(script, choices);
        scene.play();
        scene.check();
    });
    println!("{ways} ways of {:?}", script.acts);
}

fn cursor(seq: u64) -> Cursor {
    Cursor::new(CoarseTime::from_unix_seconds(0), Seq::new(seq))
}

/// By their numbers.
static EVENTS: LazyLock<Vec<Arc<Event>>> = LazyLock::new(|| {
    let event = |seq: u64| {
        let cursor = cursor(seq).expose();
        let text = format!(r#"{{"cursor":"{cursor}","convoId":"ab","messageId":"x"}}"#);
        Arc::new(Event::parse(&text).unwrap())
    };
    (0..5).map(event).collect()
});

#[test]
fn each_event_comes_once_and_no_bell_is_missed() {
    explore(USUAL);
    let acts = &[
        Act::Offer,
        Act::Flush,
        Act::Offer,
        Act::Flush,
        Act::Offer,
        Act::Flush,
    ];
    explore(Script {
        acts,
        bells: 0,
        ..USUAL
    });
}

#[test]
fn a_client_that_takes_no_more_gets_the_rest_before_anything_else() {
    for stuck_at in [1, 2] {
        explore(Script { stuck_at, ..USUAL });
    }
}

#[test]
fn a_hole_is_told_whoever_has_the_line() {
    let acts = &[Act::Offer, Act::Hole, Act::Flush, Act::Offer, Act::Flush];
    explore(Script { acts, ..USUAL });
}

#[test]
fn what_overflows_is_read_from_where_the_line_is() {
    let acts = &[Act::Offer, Act::Offer, Act::Flush, Act::Offer, Act::Flush];
    explore(Script {
        acts,
        room: 1,
        ..USUAL
    });
}

#[test]
fn a_session_that_ends_leaves_nothing_at_whatever_moment() {
    explore(Script {
        ends: true,
        bells: 0,
        ..USUAL
    });
}
