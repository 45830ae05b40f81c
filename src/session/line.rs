//! The other end of a session, whatever it speaks: a WebSocket, or server-sent events.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_tungstenite::tungstenite::Message;

use super::Meters;
use crate::events::{Event, Sink};
use crate::wire::{CloseReason, Notice};

/// What a session needs of its client's connection.
pub(super) trait Line: Send + Sized + 'static {
    /// Whether the client answers pings. If not, it lives as long as it takes what is
    /// written to it.
    const ANSWERS_PINGS: bool;

    fn write_events(
        &mut self,
        events: &[Arc<Event>],
        meters: &Meters,
    ) -> impl Future<Output = Result<(), CloseReason>> + Send;

    /// Itself, for the hub to write to while the session sleeps; or back, if the hub could
    /// not.
    fn lend(self: Box<Self>) -> Result<Box<dyn Sink>, Box<Self>> {
        Err(self)
    }

    /// Itself again.
    fn returned(sink: Box<dyn Sink>) -> Option<Box<Self>> {
        (sink as Box<dyn Any>).downcast().ok()
    }

    /// Whether the hub has left something half written: nothing may follow but the rest.
    fn is_torn(&self) -> bool {
        false
    }

    /// Writes the rest of that.
    fn mend(&mut self) -> BoxFuture<'_, Result<(), CloseReason>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether the client has taken what had to wait for it, since this was asked last. One
    /// that does is there, though what it says may be stuck behind all that is on its way.
    fn has_taken(&mut self) -> bool {
        false
    }

    /// Boxed, for it is rare and its state would lie in every session for ever.
    fn write_notice(&mut self, notice: &Notice) -> BoxFuture<'_, Result<(), CloseReason>>;

    /// The next thing that the client says. Wakes whoever asked last, also after writes.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, CloseReason>>;

    /// Asks whether it is there. One that does not answer may take nothing for so long.
    fn ping(&mut self, patience: Duration) -> impl Future<Output = Result<(), CloseReason>> + Send;

    /// The client said goodbye.
    fn end(&mut self) -> impl Future<Output = ()> + Send;

    /// Says goodbye.
    fn close(&mut self, reason: CloseReason) -> impl Future<Output = ()> + Send;
}
