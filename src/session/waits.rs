//! What a session waits for: its news, its client, and what else may come in between.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Sleep;
use tokio_tungstenite::tungstenite::Message;

use super::line::Line;
use crate::events::{News, SubscriptionError};
use crate::wire::CloseReason;

/// What has come.
pub(super) enum Happening {
    Alarm,
    Changed,
    /// The account wants a place for one more session.
    PlaceWanted,
    Draining,
    Heard(Result<Message, CloseReason>),
    /// The hub has not given the line back, which cannot be.
    Lost,
    Due(Due),
}

/// What is to be written.
pub(super) enum Due {
    /// What the hub could not.
    Rest,
    News(Result<News, SubscriptionError>),
}

/// All that it does not wait for at its subscription and its client, each where it is pinned.
pub(super) struct Waits<'a, C, P, D> {
    pub(super) alarm: Pin<&'a mut Sleep>,
    pub(super) changed: Pin<&'a mut C>,
    pub(super) place_wanted: Pin<&'a mut P>,
    /// `None` once it has begun.
    pub(super) draining: Option<Pin<&'a mut D>>,
}

impl<C: Future, P: Future, D: Future> Waits<'_, C, P, D> {
    /// The first of these that has come, or what the client says: that before all else.
    pub(super) fn poll(
        &mut self,
        line: &mut impl Line,
        context: &mut Context<'_>,
    ) -> Poll<Happening> {
        if let Poll::Ready(message) = line.poll_read(context) {
            return Poll::Ready(Happening::Heard(message));
        }
        if self.alarm.as_mut().poll(context).is_ready() {
            return Poll::Ready(Happening::Alarm);
        }
        if self.changed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Happening::Changed);
        }
        if self.place_wanted.as_mut().poll(context).is_ready() {
            return Poll::Ready(Happening::PlaceWanted);
        }
        let draining = self.draining.as_mut();
        match draining.is_some_and(|draining| draining.as_mut().poll(context).is_ready()) {
            true => Poll::Ready(Happening::Draining),
            false => Poll::Pending,
        }
    }
}
