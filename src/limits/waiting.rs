//! Layer 2, continued: requests that wait while their neighbours' tokens are checked.
//!
//! A request with a token holds a place of its address's window until the token has
//! been judged, so a thousand phones that come at once from behind one carrier find
//! the window full of each other. They wait: in a bounded queue, for a bounded time,
//! and only as long as tokens are under way, for each that proves itself gives a place
//! back. When the last of them has been judged and the window is still full, it was
//! spent on what proved nothing, and whoever waits is refused. Nobody who finds no
//! place is admitted, so what an address can make us check is what it was without a queue.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::counts::Held;
use super::request::{Arrival, Checked};
use super::{Claim, Decision, Inner, Limits, Settings, count_refusal};
use crate::types::{ClientIp, unprintable};

/// The tokens of one address that are being checked, and who waits for them. Lives as
/// long as there are any.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    call: Notify,
}

#[derive(Default)]
struct State {
    under_way: u32,
    waiting: u32,
}

/// A request whose token is being checked, until it is proved or dropped.
pub(super) struct UnderWay {
    queue: Held<Queue>,
    is_judged: AtomicBool,
}

unprintable!(UnderWay);

/// A request in the queue, until dropped.
struct Waiting<'a> {
    queue: &'a Queue,
    of_node: &'a AtomicU32,
    since: Instant,
}

/// What became of a try to enter.
enum Entry<'a> {
    Decided(Decision),
    Wait(Waiting<'a>),
}

impl Limits {
    /// Whether a request may go on, like [`Limits::check`]; but one that bears a token
    /// may wait for that.
    pub async fn admit_request(&self, arrival: Arrival, claims: Option<Claim<'_>>) -> Decision {
        let inner = &*self.inner;
        let settings = inner.settings.snapshot();
        if claims.is_none() || settings.exempts(arrival.client) {
            return self.check(arrival, claims);
        }
        let queue = inner.queue(arrival.client);
        let asked = Asked {
            inner,
            settings: &settings,
            arrival,
            claims,
        };
        let decision = match asked.enter(&queue.shared) {
            Entry::Decided(decision) => decision,
            Entry::Wait(waiting) => asked.wait(waiting).await,
        };
        decision.under_way_in(queue)
    }

    /// A request that came in by a word alone and has been answered: as what it would have been
    /// answered if its account were not known there, unless it proved to be it. Or whoever
    /// spends an address's window could try who is behind it. `None`: the answer stands.
    pub async fn admit_again(
        &self,
        decision: &Decision,
        client: ClientIp,
        claim: Claim<'_>,
    ) -> Option<Decision> {
        if !decision.is_by_word_alone() || decision.is_proved() {
            return None;
        }
        // It does not wait for itself.
        if let Some(under_way) = &decision.under_way {
            under_way.judged(false);
        }
        let claim = Some(claim.without_reserve());
        Some(self.admit_request(self.arrival(client), claim).await)
    }
}

/// A request, as far as its address is concerned.
struct Asked<'a> {
    inner: &'a Inner,
    settings: &'a Settings,
    arrival: Arrival,
    claims: Option<Claim<'a>>,
}

impl<'a> Asked<'a> {
    /// The first try: a place, a refusal, or the end of the queue.
    fn enter<'q>(&self, queue: &'q Queue) -> Entry<'q>
    where
        'a: 'q,
    {
        let mut state = queue.state.lock();
        let is_first = state.waiting == 0;
        if !is_first && let Some(waiting) = self.join(queue, &mut state) {
            return Entry::Wait(waiting);
        }
        let refused = match self.look() {
            Checked::Full(refused) => refused,
            Checked::Decided(decision) => {
                state.count(&decision);
                return Entry::Decided(decision);
            }
        };
        if is_first && let Some(waiting) = self.join(queue, &mut state) {
            return Entry::Wait(waiting);
        }
        let refused = self
            .inner
            .refuse(self.settings, self.arrival.client, refused);
        Entry::Decided(refused)
    }

    /// The end of the queue, if there is something to wait for and room.
    fn join<'q>(&self, queue: &'q Queue, state: &mut State) -> Option<Waiting<'q>>
    where
        'a: 'q,
    {
        if state.under_way == 0 {
            return None;
        }
        let requests = &self.settings.requests;
        let of_node = &self.inner.waiting;
        let before = of_node.fetch_add(1, Ordering::Relaxed);
        if before >= requests.waiting_total || state.waiting >= requests.waiting_per_ip {
            of_node.fetch_sub(1, Ordering::Relaxed);
            count_wait("full");
            return None;
        }
        state.waiting += 1;
        metrics::gauge!("relay_limits_waiting").increment(1.0);
        Some(Waiting {
            queue,
            of_node,
            since: Instant::now(),
        })
    }

    /// Waits for a place. Whoever waited in vain is refused, but that is no offence.
    async fn wait(&self, waiting: Waiting<'_>) -> Decision {
        let deadline = tokio::time::Instant::now() + self.settings.requests.wait_for;
        let mut is_late = false;
        loop {
            // Listened for before the look: a place that comes back between the two
            // is not missed.
            let mut call = pin!(waiting.queue.call.notified());
            call.as_mut().enable();
            match self.look_again(waiting.queue, is_late) {
                Some(decision) => {
                    let outcome = match (&decision.refused, is_late) {
                        (None, _) => "admitted",
                        (Some(_), true) => "late",
                        (Some(_), false) => "refused",
                    };
                    count_wait(outcome);
                    metrics::histogram!("relay_limits_wait_seconds")
                        .record(waiting.since.elapsed());
                    return decision;
                }
                None => is_late = timeout_at(deadline, call).await.is_err(),
            }
        }
    }

    /// The decision, unless there is still something to wait for.
    fn look_again(&self, queue: &Queue, is_late: bool) -> Option<Decision> {
        let mut state = queue.state.lock();
        match self.look() {
            Checked::Decided(decision) => {
                state.count(&decision);
                Some(decision)
            }
            Checked::Full(_) if state.under_way > 0 && !is_late => None,
            Checked::Full(refused) => {
                count_refusal(refused.rule, false);
                Some(refused)
            }
        }
    }

    fn look(&self) -> Checked {
        self.inner.look(
            self.settings,
            self.arrival,
            self.claims,
            self.inner.clock.tick(),
        )
    }
}

impl State {
    /// An admitted request's token is under way from now on.
    fn count(&mut self, decision: &Decision) {
        if decision.place.is_some() {
            self.under_way += 1;
        }
    }
}

impl Decision {
    /// Ties the request to the queue that counts it as under way.
    fn under_way_in(mut self, queue: Held<Queue>) -> Self {
        if self.place.is_some() {
            self.under_way = Some(Arc::new(UnderWay {
                queue,
                is_judged: AtomicBool::new(false),
            }));
        }
        self
    }
}

impl UnderWay {
    /// While somebody has the request, only if its token was good.
    pub(super) fn is_judged(&self) -> bool {
        self.is_judged.load(Ordering::Relaxed)
    }

    /// Its token has been judged. One that was good has given its place back.
    pub(super) fn judged(&self, gave_back: bool) {
        if self.is_judged.swap(true, Ordering::Relaxed) {
            return;
        }
        let queue = &self.queue.shared;
        let mut state = queue.state.lock();
        state.under_way = state.under_way.saturating_sub(1);
        if state.waiting == 0 {
            return;
        }
        match state.under_way {
            // Nobody else will call them.
            0 => queue.call.notify_waiters(),
            _ if gave_back => queue.call.notify_one(),
            _ => {}
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.judged(false);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.state.lock().waiting -= 1;
        self.of_node.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("relay_limits_waiting").decrement(1.0);
    }
}

fn count_wait(outcome: &'static str) {
    metrics::counter!("relay_limits_waits_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
