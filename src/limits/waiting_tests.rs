//! Requests that wait, are called, hang up, are proved and are not, in every order: nobody
//! waits for nobody, no place is lost on the way, and nothing stays counted.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::limits::{Claim, Clock, Decision, Limits, Settings};
use crate::runtime::{Choices, Live, every_way};
use crate::types::{ClientIp, Did};

/// What goes on next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// One more request comes.
    Come,
    /// One who was called looks again.
    Look(usize),
    /// One of those who wait hangs up.
    HangUp(usize),
    /// The oldest token under way turns out to be good, or not.
    Prove,
    Fail,
}

#[derive(Default)]
struct Called(AtomicBool);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Waiting<'a> {
    admission: Pin<Box<dyn Future<Output = Decision> + 'a>>,
    called: Arc<Called>,
}

impl Waiting<'_> {
    fn is_called(&self) -> bool {
        self.called.0.load(Ordering::Relaxed)
    }
}

/// One address whose window has few places.
struct Scene<'a> {
    limits: &'a Limits,
    did: &'a Did,
    client: ClientIp,
    choices: Arc<Choices>,
    to_come: usize,
    may_hang_up: usize,
    waiting: Vec<Waiting<'a>>,
    under_way: VecDeque<Decision>,
    /// Places that were spent on what proved nothing.
    spent: usize,
}

impl<'a> Scene<'a> {
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        steps.extend((self.to_come > 0).then_some(Step::Come));
        let waiting = 0..self.waiting.len();
        let called = waiting.clone().filter(|nth| self.waiting[*nth].is_called());
        steps.extend(called.map(Step::Look));
        if self.may_hang_up > 0 {
            steps.extend(waiting.map(Step::HangUp));
        }
        if !self.under_way.is_empty() {
            steps.extend([Step::Prove, Step::Fail]);
        }
        steps
    }

    fn play(&mut self) {
        loop {
            let steps = self.steps();
            if steps.is_empty() {
                return;
            }
            self.go(steps[self.choices.among(steps.len())]);
            let free = PLACES - self.spent - self.under_way.len();
            let called = self.waiting.iter().filter(|one| one.is_called()).count();
            assert!(called >= free.min(self.waiting.len()), "a place lies idle");
        }
    }

    fn go(&mut self, step: Step) {
        match step {
            Step::Come => {
                self.to_come -= 1;
                let (limits, claim) = (self.limits, Claim::of(self.did));
                let arrival = limits.arrival(self.client);
                self.waiting.push(Waiting {
                    admission: Box::pin(limits.admit_request(arrival, Some(claim))),
                    called: Arc::default(),
                });
                self.look(self.waiting.len() - 1);
            }
            Step::Look(nth) => self.look(nth),
            Step::HangUp(nth) => {
                self.may_hang_up -= 1;
                drop(self.waiting.remove(nth));
            }
            Step::Prove => {
                let proved = self.under_way.pop_front().unwrap();
                self.limits.verified(&proved);
            }
            Step::Fail => {
                drop(self.under_way.pop_front());
                self.spent += 1;
            }
        }
    }

    fn look(&mut self, nth: usize) {
        let one = &mut self.waiting[nth];
        one.called.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&one.called));
        let Poll::Ready(decision) = one
            .admission
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
        else {
            return;
        };
        self.waiting.remove(nth);
        match decision.refused {
            None => self.under_way.push_back(decision),
            // Here nobody's time is over: whoever finds somebody under way waits.
            Some(_) => assert!(self.under_way.is_empty()),
        }
        assert!(
            self.spent + self.under_way.len() <= PLACES,
            "each is given once"
        );
    }

    fn check(&self) {
        assert!(self.waiting.is_empty(), "nobody is left to call those");
        let inner = &self.limits.inner;
        assert_eq!(inner.waiting.load(Ordering::Relaxed), 0);
        let queue = inner.queue(self.client);
        let state = queue.shared.state.lock();
        assert_eq!((state.under_way, state.waiting), (0, 0));
        drop(state);
        let next = self.limits.check(self.limits.arrival(self.client), None);
        assert_eq!(next.refused.is_some(), self.spent == PLACES);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_called_in_whatever_order_the_others_come_and_go() {
    let mut settings = Settings::default();
    (settings.requests.per_ip, settings.requests.burst) = (PLACES as u16, 0);
    settings.penalties.strikes = u16::MAX;
    let limits = Limits::new(Live::new(settings), Clock::manual());
    let did = Did::parse("did:plc:abc").unwrap();
    let play = |choices: &Arc<Choices>, client| {
        let mut scene = Scene {
            limits: &limits,
            did: &did,
            client,
            choices: Arc::clone(choices),
            to_come: 5,
            may_hang_up: 2,
            waiting: Vec::new(),
            under_way: VecDeque::new(),
            spent: 0,
        };
        scene.play();
        scene.check();
    };
    // Each way has an address of its own, which nobody has spent.
    let nth = AtomicUsize::new(0);
    let explore = async {
        every_way(|choices| {
            let nth = nth.fetch_add(1, Ordering::Relaxed) as u32;
            play(choices, ClientIp::new(nth.to_be_bytes().into()));
        })
    };
    // In one go: the runtime would have it make way for others.
    let ways = tokio::task::unconstrained(explore).await;
    println!("{ways} ways");
}

const PLACES: usize = 2;
