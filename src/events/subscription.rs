//! One subscriber's stream, from its cursor on, for ever: joins the hub, replays,
//! goes live, falls back to the database and returns, all behind one `poll_next`.
//! Whoever writes it to a socket need not know which of these it is in.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::board::Attached;
use super::circle::Subscriber;
use super::event::Event;
use super::hub::{HeldSeat, Hub};
use super::loan::Sink;
use super::place::{CatchUp, Place};
use super::reading::{Joined, SubscriptionError, TAKE_MAX, join, page, standings};
use super::recent::Backlog;
use super::runs::Page;
use crate::types::{ConvoId, Cursor, Seq, unprintable};
use crate::wire::{Change, Route, Standing, Standings};

/// What a subscriber hears next.
#[derive(Debug)]
pub enum News {
    /// Its one conversation is over for it. Nothing follows.
    Ended,
    Events(Vec<Arc<Event>>),
    /// Events may be lost to it: these conversations are touched.
    Gap(Box<Standings>),
    /// Its cursor is older than the oldest event, with which it goes on.
    Outdated,
    /// It is live, and this is where everything stands.
    Synced(Box<Standings>),
}

/// See the module.
pub struct Subscription {
    hub: Hub,
    subscriber: Arc<Subscriber>,
    seat: Option<Arc<HeldSeat>>,
    place: Option<Place>,
    /// A going before this place is not the end.
    returned: Seq,
    step: Step,
    /// To be told before the next step: a step never brings more than one. In place:
    /// a queue would hold memory for ever, or ask for it with every event.
    ready: Option<News>,
    /// To be told, with where things stand, as soon as it is live.
    owed: VecDeque<Owed>,
    catch_up: CatchUp,
    begun: Instant,
}

unprintable!(Subscription);

/// Work in progress. It is kept here and not on a caller's stack, so that a caller
/// may stop polling at any moment and nothing begins anew.
type Work<T> = Pin<Box<dyn Future<Output = Result<T, SubscriptionError>> + Send>>;

enum Step {
    Joining(Work<Joined>),
    Replaying { to: Attached, page: Work<Page> },
    Resuming(Work<Attached>),
    Live,
    Hydrating(Work<Vec<Arc<Event>>>),
    Telling(Owed, Work<Vec<Standing>>),
    Ended,
}

#[derive(Debug)]
enum Owed {
    /// A gap in these conversations, which are sorted, or in all.
    Gap(Option<Vec<ConvoId>>),
    Synced,
}

impl Subscription {
    pub(super) fn new(hub: Hub, subscriber: Subscriber, cursor: Option<Cursor>) -> Self {
        let subscriber = Arc::new(subscriber);
        let joining = Box::pin(join(hub.clone(), Arc::clone(&subscriber), cursor));
        Self {
            hub,
            subscriber,
            seat: None,
            place: cursor.map(Place::new),
            returned: Seq::ZERO,
            step: Step::Joining(joining),
            ready: None,
            owed: VecDeque::from([Owed::Synced]),
            catch_up: CatchUp::default(),
            begun: Instant::now(),
        }
    }

    /// From where this subscriber can go on another time.
    pub fn cursor(&self) -> Option<Cursor> {
        self.place.map(Place::cursor)
    }

    /// The one conversation that it is about, if it is not about all.
    pub fn convo(&self) -> Option<&ConvoId> {
        self.subscriber.filter.as_ref()
    }

    /// Says to the others that the subscriber types.
    pub fn type_in(&self, convo: ConvoId, is_typing: bool) {
        if let Some(seat) = &self.seat {
            seat.type_in(convo, is_typing);
        }
    }

    /// What the subscriber is told next, in the order of the stream. After an error nothing comes.
    /// May be cancelled: nothing is lost.
    pub async fn next(&mut self) -> Result<News, SubscriptionError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Lends the hub the way to the client, while nothing is under way but what comes
    /// live. Given back if there is something to hear, or this subscriber's events are not
    /// to be passed on as they come.
    pub fn lend(
        &mut self,
        sink: Box<dyn Sink>,
        context: &Context<'_>,
    ) -> Result<(), Box<dyn Sink>> {
        let is_plain = self.subscriber.filter.is_none() && !self.subscriber.hydrate;
        let is_idle =
            matches!(self.step, Step::Live) && self.ready.is_none() && self.owed.is_empty();
        match (&self.seat, self.place) {
            (Some(seat), Some(place)) if is_plain && is_idle => {
                seat.outbox().lend(sink, place, context)
            }
            _ => Err(sink),
        }
    }

    /// What was lent, as soon as nothing is being written to it.
    pub fn poll_return(&mut self, context: &Context<'_>) -> Poll<Option<Box<dyn Sink>>> {
        let Some(seat) = &self.seat else {
            return Poll::Ready(None);
        };
        seat.outbox().poll_return(context).map(|returned| {
            let (sink, place) = returned?;
            self.place = Some(place);
            Some(sink)
        })
    }

    /// What comes next. After an error or the end, nothing does.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<News, SubscriptionError>> {
        loop {
            if let Some(news) = self.ready.take() {
                return Poll::Ready(Ok(news));
            }
            ready!(self.poll_step(context))?;
        }
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SubscriptionError>> {
        match &mut self.step {
            Step::Joining(work) => {
                let joined = ready!(work.as_mut().poll(context))?;
                self.joined(joined);
            }
            Step::Replaying { page, .. } => {
                let page = ready!(page.as_mut().poll(context))?;
                self.replayed(page);
            }
            Step::Resuming(work) => {
                let attached = ready!(work.as_mut().poll(context))?;
                self.resumed(attached)?;
            }
            Step::Telling(_, work) => {
                let standings = ready!(work.as_mut().poll(context))?;
                self.tell(standings);
            }
            Step::Live => ready!(self.poll_live(context)),
            Step::Hydrating(work) => {
                let events = ready!(work.as_mut().poll(context))?;
                self.step = Step::Live;
                self.hear(events);
            }
            Step::Ended => self.say(News::Ended),
        }
        Poll::Ready(Ok(()))
    }

    // Joining → Replaying | Live | Joining
    fn joined(&mut self, joined: Joined) {
        // It may have lost a change of where its account is since it registered: what it would
        // pass on, and pass by, is not what the account sees.
        if joined.seat.outbox().has_hole() {
            return self.join_anew();
        }
        self.seat = Some(Arc::new(joined.seat));
        let mut attached = joined.attached;
        self.place.get_or_insert(Place::new(attached.through));
        if let Some((floor, touched)) = joined.outdated {
            self.reach(floor);
            if self.owe_gap(Some(touched)) {
                self.say(News::Outdated);
            }
        }
        match std::mem::replace(&mut attached.backlog, Backlog::InDatabase) {
            Backlog::Here(events) => {
                self.hear(events);
                self.arrived(&attached);
            }
            Backlog::InDatabase => self.replay(attached),
        }
    }

    fn replay(&mut self, to: Attached) {
        let range = (self.reached(), to.through.seq());
        if range.0 >= range.1 {
            return self.arrived(&to);
        }
        let page = page(self.hub.clone(), Arc::clone(&self.subscriber), range);
        let page = Box::pin(page);
        self.step = Step::Replaying { to, page };
    }

    // Replaying → Replaying | Live
    fn replayed(&mut self, page: Page) {
        // Not live yet, so that `hear` takes a going for one of several.
        let Step::Replaying { to, .. } = std::mem::replace(&mut self.step, Step::Ended) else {
            return;
        };
        if page.gap {
            self.owe_gap(None);
        }
        self.hear(page.events);
        self.reach(page.through);
        self.replay(to);
    }

    /// Everything up to where the queue begins has been heard.
    fn arrived(&mut self, at: &Attached) {
        if at.through.seq() >= self.reached() {
            self.place = Some(Place::new(at.through));
        }
        self.returned = at.returned;
        self.step = if at.is_over { Step::Ended } else { Step::Live };
    }

    // Live → Telling | Hydrating | Resuming | Joining | Ended
    fn poll_live(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(seat) = &self.seat else {
            self.step = Step::Ended;
            return Poll::Ready(());
        };
        // Truly live only if nothing has been dropped or lost meanwhile.
        if !self.owed.is_empty()
            && seat.outbox().is_whole()
            && let Some(owed) = self.owed.pop_front()
        {
            if self.owed.is_empty() {
                self.owed = VecDeque::new();
            }
            let work = standings(self.hub.clone(), Arc::clone(&self.subscriber));
            self.step = Step::Telling(owed, Box::pin(work));
            return Poll::Ready(());
        }
        let Poll::Ready(taken) = seat.outbox().poll_take(context, TAKE_MAX) else {
            self.catch_up.caught_up();
            return Poll::Pending;
        };
        if taken.hole {
            self.join_anew();
            return Poll::Ready(());
        }
        let overflowed = taken.overflowed.map(|first| (first, Arc::clone(seat)));
        // What overflowed brings nothing else.
        if self.subscriber.hydrate && taken.events.iter().any(|event| event.is_message()) {
            let hub = self.hub.clone();
            // Live: their subscriber is a member where they are.
            let work = async move { Ok(hub.hydrate(taken.events, |_| true).await) };
            self.step = Step::Hydrating(Box::pin(work));
            return Poll::Ready(());
        }
        self.hear(taken.events);
        if let Some((first, seat)) = overflowed {
            // It has had everything of the stream before that event.
            self.reach(Seq::new(first.get().saturating_sub(1)));
            metrics::counter!("relay_events_fallbacks_total").increment(1);
            self.step = Step::Resuming(Box::pin(async move { Ok(seat.resume().await?) }));
        }
        Poll::Ready(())
    }

    /// The stream has lost something, maybe a change of where its account is: what waits for it
    /// may be of others, and it may lack what is its own.
    fn join_anew(&mut self) {
        self.owe_gap(None);
        self.seat = None;
        let joining = join(
            self.hub.clone(),
            Arc::clone(&self.subscriber),
            self.cursor(),
        );
        self.step = Step::Joining(Box::pin(joining));
    }

    /// Once, however much is lost before it is told. False: it was owed.
    fn owe_gap(&mut self, touched: Option<Vec<ConvoId>>) -> bool {
        if let Some(Owed::Gap(known)) = self.owed.front_mut() {
            // What is lost beside it may be of any conversation.
            *known = None;
            return false;
        }
        self.owed.push_front(Owed::Gap(touched));
        true
    }

    // Resuming → Replaying | Live
    fn resumed(&mut self, to: Attached) -> Result<(), SubscriptionError> {
        let distance = to.through.seq().get().saturating_sub(self.reached().get());
        let window = self.hub.settings().catch_up_window;
        let now = self.begun.elapsed();
        if !self.catch_up.is_gaining(now, distance, window) {
            return Err(SubscriptionError::ConsumerTooSlow);
        }
        self.replay(to);
        Ok(())
    }

    // Telling → Live
    fn tell(&mut self, mut conversations: Vec<Standing>) {
        let Step::Telling(owed, _) = std::mem::replace(&mut self.step, Step::Live) else {
            return;
        };
        if let Owed::Gap(Some(touched)) = &owed {
            // Both may be all that an account is in.
            conversations.retain(|standing| touched.binary_search(&standing.convo_id).is_ok());
        }
        let Some(place) = self.place else {
            return;
        };
        let standings = Box::new(Standings {
            seq: place.seq(),
            cursor: place.cursor(),
            conversations,
        });
        self.say(match owed {
            Owed::Gap(_) => News::Gap(standings),
            Owed::Synced => News::Synced(standings),
        });
    }

    /// Passes on what the subscriber has not had yet.
    fn hear(&mut self, mut events: Vec<Arc<Event>>) {
        events.retain(|event| !event.is_stored() || self.advance(event.cursor()));
        // A live stream of one conversation ends with its subscriber's going, if it is not known
        // to have returned; in a replay a return may follow, and only its end tells.
        if matches!(self.step, Step::Live)
            && let Some(last) = events.iter().position(|event| self.is_own_end(event))
        {
            events.truncate(last + 1);
            self.step = Step::Ended;
        }
        if !events.is_empty() {
            self.say(News::Events(events));
        }
    }

    fn say(&mut self, news: News) {
        debug_assert!(self.ready.is_none(), "a step has one thing to tell");
        self.ready = Some(news);
    }

    fn is_own_end(&self, event: &Event) -> bool {
        self.subscriber.filter.is_some()
            && event.seq() > self.returned
            && matches!(event.route(), Route::Membership { did, change: Change::Left, .. }
                if *did == self.subscriber.did)
    }

    fn reached(&self) -> Seq {
        self.place.map_or(Seq::ZERO, Place::seq)
    }

    /// Nothing of its own is left up to here.
    fn reach(&mut self, through: Seq) {
        if let Some(place) = self.place {
            self.advance(place.cursor().with_seq(through));
        }
    }

    fn advance(&mut self, to: Cursor) -> bool {
        self.place.as_mut().is_some_and(|place| place.advance(to))
    }
}
