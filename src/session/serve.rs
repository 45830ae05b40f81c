//! One session: what its subscription says goes to the client, what the client says
//! is heard, silence is noticed, and a drain sends it away in its turn.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Shared;
use super::bell::Bell;
use super::keepalive::{Silence, judge};
use super::line::Line;
use super::waits::{Due, Happening, Waits};
use crate::auth::Caller;
use crate::events::{News, Subscription, SubscriptionError};
use crate::limits::SocketPermit;
use crate::runtime::{Shutdown, random};
use crate::wire::calls::TicketText;
use crate::wire::{CloseReason, ErrorNotice, Info, Notice};

/// Everything one session needs. Small: there are many.
pub(super) struct Session<L> {
    /// `None` while it is lent to the hub.
    pub(super) line: Option<Box<L>>,
    pub(super) subscription: Subscription,
    pub(super) permit: SocketPermit,
    /// Whose session it is: whoever leaves with a drain gets a ticket back in.
    pub(super) caller: Caller,
    pub(super) shared: Arc<Shared>,
}

/// The moment to go, and how long the client should stay away then.
struct Departure {
    at: Instant,
    reconnect_after: Duration,
}

impl Departure {
    fn plan(shared: &Shared) -> Self {
        let farewell = shared.farewell((random(), random()));
        Self {
            at: Instant::now() + farewell.leave_after,
            reconnect_after: farewell.reconnect_after,
        }
    }
}

impl<L: Line> Session<L> {
    /// Serves the session to its end; why it ended.
    pub(super) async fn serve(&mut self, shutdown: &Shutdown) -> CloseReason {
        let _open = self.shared.open();
        let reason = match shutdown.is_draining() {
            // Its connection was there before: it hears where to go from here, as all others do.
            true => Box::pin(self.send_away(self.shared.stay_away(random()))).await,
            false => self.run(shutdown).await,
        };
        self.shared.meters.closed(reason);
        match (reason, &mut self.line) {
            // It may have said goodbye: that is answered.
            (CloseReason::ClientGone, Some(line)) => Box::pin(line.end()).await,
            (reason, Some(line)) => Box::pin(line.close(reason)).await,
            (_, None) => {}
        }
        reason
    }

    fn line(&mut self) -> Result<&mut L, CloseReason> {
        self.line.as_deref_mut().ok_or(CloseReason::Internal)
    }

    /// Goes to sleep, and leaves its line to the hub.
    fn lend(&mut self, context: &Context<'_>) {
        let Some(line) = self.line.take() else {
            return;
        };
        self.line = match line.lend() {
            Ok(sink) => {
                let kept = self.subscription.lend(sink, context).err();
                kept.and_then(L::returned)
            }
            Err(line) => Some(line),
        };
    }

    async fn run(&mut self, shutdown: &Shutdown) -> CloseReason {
        let shared = Arc::clone(&self.shared);
        let mut heard = Instant::now();
        // Boxed, since only a drain needs it.
        let mut departure: Option<Box<Departure>> = None;
        let mut draining = pin!(shutdown.draining());
        let mut changed = pin!(shared.settings.changed());
        let place = self.permit.place_wanted();
        // Boxed: it would take a task that is in no other way larger to the next class of sizes.
        let mut place_wanted = Box::pin(place.wait());
        // One timer for all, moved when it rings and not with every frame.
        let mut alarm = pin!(sleep_until(heard + shared.settings.load().ping_after));
        let mut bell = Bell::default();
        loop {
            let happening = poll_fn(|context| {
                // Made anew each time: what a session keeps, it keeps while it sleeps.
                let waits = Waits {
                    alarm: alarm.as_mut(),
                    changed: changed.as_mut(),
                    place_wanted: place_wanted.as_mut(),
                    draining: departure.is_none().then_some(draining.as_mut()),
                };
                self.poll_happening(&mut bell, waits, context)
            });
            let done = match happening.await {
                Happening::Due(due) => {
                    let patience = self.doubt_patience();
                    let writing = pin!(self.tell(due));
                    let (wanted, alarm) = (place_wanted.as_mut(), alarm.as_mut());
                    let way = make_way(writing, wanted, alarm, patience, &mut bell);
                    let (done, is_wanted) = way.await;
                    if is_wanted {
                        place_wanted.set(place.wait());
                    }
                    done
                }
                Happening::Lost => Err(CloseReason::Internal),
                Happening::Heard(message) => {
                    heard = Instant::now();
                    match self.hear(message) {
                        (answers, done) if answers.is_empty() => done,
                        (answers, done) => Box::pin(self.answer(answers)).await.and(done),
                    }
                }
                Happening::Alarm => {
                    let (next, done) = self.look(&mut heard, departure.as_deref()).await;
                    alarm.as_mut().reset(next);
                    done
                }
                Happening::Changed => {
                    changed.set(shared.settings.changed());
                    // With other patience the alarm may be due.
                    alarm.as_mut().reset(Instant::now());
                    Ok(())
                }
                Happening::PlaceWanted => {
                    place_wanted.set(place.wait());
                    let (next, done) = Box::pin(self.doubt(&mut heard)).await;
                    // Whoever asks again and again must not put it off.
                    let next = next.min(alarm.deadline());
                    alarm.as_mut().reset(next);
                    done
                }
                Happening::Draining => {
                    let planned = departure.insert(Box::new(Departure::plan(&shared)));
                    // Its turn may be far off: until then it is asked as ever.
                    let next = planned.at.min(alarm.deadline());
                    alarm.as_mut().reset(next);
                    Ok(())
                }
            };
            if let Err(reason) = done {
                return reason;
            }
        }
    }

    /// What happens next. With nothing to do, the session goes to sleep.
    fn poll_happening(
        &mut self,
        bell: &mut Bell,
        mut waits: Waits<'_, impl Future, impl Future, impl Future>,
        context: &mut Context<'_>,
    ) -> Poll<Happening> {
        if self.line.is_none() {
            let returned = ready!(self.subscription.poll_return(context));
            self.line = returned.and_then(L::returned);
        }
        let Some(line) = self.line.as_deref_mut() else {
            return Poll::Ready(Happening::Lost);
        };
        if line.is_torn() {
            return Poll::Ready(Happening::Due(Due::Rest));
        }
        let other = bell.poll(context, |context| waits.poll(line, context));
        if other.is_ready() {
            return other;
        }
        if let Poll::Ready(news) = self.subscription.poll_next(context) {
            return Poll::Ready(Happening::Due(Due::News(news)));
        }
        self.lend(context);
        Poll::Pending
    }

    /// Somebody waits for a place, and this session may hold one for nobody: its client must
    /// answer before the other one comes back. So it counts as silent for long enough, and
    /// is asked. When to look again.
    async fn doubt(&mut self, heard: &mut Instant) -> (Instant, Result<(), CloseReason>) {
        // What it took before proves nothing now.
        let _ = self.line.as_deref_mut().is_some_and(L::has_taken);
        let patience = self.doubt_patience();
        let silence = self.shared.settings.load().silence_max;
        let now = Instant::now();
        let latest = now.checked_sub(silence.saturating_sub(patience));
        *heard = (*heard).min(latest.unwrap_or(*heard));
        (now + patience, self.ping(heard, patience).await)
    }

    /// How long a client may take to show that it is there, when somebody waits for its place.
    fn doubt_patience(&self) -> Duration {
        (self.permit.full_retry_after() / 2).max(ANSWER_MIN)
    }

    async fn ping(&mut self, heard: &mut Instant, patience: Duration) -> Result<(), CloseReason> {
        Box::pin(self.line()?.ping(patience)).await?;
        if !L::ANSWERS_PINGS {
            *heard = Instant::now();
        }
        Ok(())
    }

    /// The alarm rang: is it time to go, to ask, or to wait on?
    async fn look(
        &mut self,
        heard: &mut Instant,
        departure: Option<&Departure>,
    ) -> (Instant, Result<(), CloseReason>) {
        let now = Instant::now();
        if let Some(departure) = departure.filter(|departure| departure.at <= now) {
            let farewell = Box::pin(self.send_away(departure.reconnect_after));
            return (now, Err(farewell.await));
        }
        if self.line.as_deref_mut().is_some_and(L::has_taken) {
            *heard = now;
        }
        let (silence, patience) = {
            let settings = self.shared.settings.load();
            let (ping_after, most) = (settings.ping_after, settings.silence_max);
            let patience = most.saturating_sub(ping_after).max(ANSWER_MIN);
            (judge(now - *heard, ping_after, most), patience)
        };
        let (wait, done) = match silence {
            Silence::Wait(wait) => (wait, Ok(())),
            Silence::Ping(wait) => (wait, self.ping(heard, patience).await),
            Silence::GiveUp => (Duration::ZERO, Err(CloseReason::PeerSilent)),
        };
        let next = now + wait;
        (
            departure.map_or(next, |departure| departure.at.min(next)),
            done,
        )
    }

    /// Writes what is due. Events lie in the session meanwhile; all else is rare, and in a box.
    fn tell(&mut self, due: Due) -> impl Future<Output = Result<(), CloseReason>> {
        let news = match due {
            Due::Rest => return Either::Right(self.mend()),
            Due::News(Ok(news)) => news,
            Due::News(Err(error)) => return Either::Right(Box::pin(self.write_error(error))),
        };
        Either::Right(match news {
            News::Events(events) => {
                let shared = Arc::clone(&self.shared);
                // No function of its own: its state would hold the events twice.
                return Either::Left(async move {
                    self.line()?.write_events(&events, &shared.meters).await?;
                    let Some(overdrawn) = self.settle(&events) else {
                        return Ok(());
                    };
                    self.write(overdrawn).await?;
                    Err(CloseReason::RateLimited)
                });
            }
            News::Gap(standings) => self.write(Notice::Gap(standings)),
            News::Synced(standings) => self.write(Notice::Synced(standings)),
            News::Outdated => {
                let message = "cursor: is older than the oldest event; this is all there is";
                self.write_info("OutdatedCursor", message)
            }
            News::Ended => {
                let message = "this conversation is over for you";
                let writing = self.write_info("ConvoEnded", message);
                Box::pin(async move { writing.await.and(Err(CloseReason::ConvoEnded)) })
            }
        })
    }

    /// Writes the rest of what the hub wrote.
    fn mend(&mut self) -> BoxFuture<'_, Result<(), CloseReason>> {
        match self.line() {
            Ok(line) => line.mend(),
            Err(lost) => Box::pin(async move { Err(lost) }),
        }
    }

    fn write_info(
        &mut self,
        name: &'static str,
        message: &'static str,
    ) -> BoxFuture<'_, Result<(), CloseReason>> {
        self.write(Notice::Info(Info {
            name,
            message,
            reconnect_after: None,
            resume_ticket: None,
        }))
    }

    /// Only the encoded notice is held while it is written.
    fn write(&mut self, notice: Notice) -> BoxFuture<'_, Result<(), CloseReason>> {
        match self.line() {
            Ok(line) => line.write_notice(&notice),
            Err(lost) => Box::pin(async move { Err(lost) }),
        }
    }

    /// The stream has failed: says so, with the place to resume from.
    async fn write_error(&mut self, error: SubscriptionError) -> Result<(), CloseReason> {
        let (reason, message) = match &error {
            SubscriptionError::ConsumerTooSlow => (
                CloseReason::ConsumerTooSlow,
                "others send faster than you read; resume from the cursor",
            ),
            SubscriptionError::FutureCursor => (
                CloseReason::FutureCursor,
                "cursor: is ahead of all events; come without it, and fetch everything",
            ),
            SubscriptionError::Hub(_) | SubscriptionError::Store(_) => {
                tracing::warn!(%error, "a subscription failed");
                (
                    CloseReason::Unavailable,
                    "the relay cannot read events now; resume later",
                )
            }
        };
        let resumable = reason != CloseReason::FutureCursor;
        let notice = ErrorNotice {
            error: reason.name(),
            message,
            cursor: self.subscription.cursor().filter(|_| resumable),
            retry_after: None,
        };
        self.write(Notice::Error(notice)).await?;
        Err(reason)
    }

    /// The node goes away: the client should return, elsewhere or later, and needs no
    /// new token for it.
    async fn send_away(&mut self, reconnect_after: Duration) -> CloseReason {
        let convo = self.subscription.convo();
        let issue = &self.shared.farewells.issue;
        let ticket = issue(&self.caller, convo, reconnect_after);
        let info = Info {
            name: "Draining",
            message: "this node is going away; come back in reconnectAfterMs with your cursor",
            reconnect_after: Some(reconnect_after),
            resume_ticket: ticket.map(TicketText::new),
        };
        let written = self.write(Notice::Info(info)).await;
        written.err().unwrap_or(CloseReason::Draining)
    }

    async fn answer(&mut self, answers: Vec<Notice>) -> Result<(), CloseReason> {
        for answer in answers {
            self.write(answer).await?;
        }
        Ok(())
    }
}

/// Writes, and whether the place was wanted meanwhile: then what does not end in time takes
/// nothing where somebody else would, and makes way. No async function: its state would hold
/// the writing's twice, in every session.
fn make_way<'a>(
    mut writing: Pin<&'a mut impl Future<Output = Result<(), CloseReason>>>,
    mut wanted: Pin<&'a mut impl Future>,
    mut alarm: Pin<&'a mut Sleep>,
    patience: Duration,
    bell: &'a mut Bell,
) -> impl Future<Output = (Result<(), CloseReason>, bool)> {
    let mut is_wanted = false;
    poll_fn(move |context| {
        if let Poll::Ready(done) = writing.as_mut().poll(context) {
            return Poll::Ready((done, is_wanted));
        }
        // These wake the task past its bell, which is to ask for all of them anew.
        *bell = Bell::default();
        if !is_wanted && wanted.as_mut().poll(context).is_ready() {
            is_wanted = true;
            alarm.as_mut().reset(Instant::now() + patience);
        }
        match is_wanted && alarm.as_mut().poll(context).is_ready() {
            true => Poll::Ready((Err(CloseReason::PeerSilent), is_wanted)),
            false => Poll::Pending,
        }
    })
}

/// What a phone that is there may need at least to say so, on a bad network.
const ANSWER_MIN: Duration = Duration::from_secs(3);
