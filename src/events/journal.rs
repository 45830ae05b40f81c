//! The database as the event path sees it: a log to read and a bell to hear. A
//! trait, so that the path can be tested against a database that does exactly
//! what the test wants.

use futures_util::future::BoxFuture;

use super::circle::Subscriber;
use super::event::Stored;
use crate::store::{
    Announced, Ends, Membership, Notification, Notifications, Run, Store, StoreError, StoredEvent,
    StoredMessage,
};
use crate::types::{Did, Seq};
use crate::wire::Standing;

pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// See [`Store`] for what each answer promises.
pub trait Journal: Send + Sync + 'static {
    fn ends(&self) -> Answer<'_, Ends>;

    /// No number up to this one is given out again, though the stream has lost it.
    fn leap_over(&self, given: Seq) -> Answer<'_, ()>;

    /// All events in `(after, through]`, in order, at most `limit`.
    fn between(&self, after: Seq, through: Seq, limit: u32) -> Answer<'_, Vec<Stored>>;

    /// For each run its events in order, at most `each`.
    fn runs<'a>(&'a self, runs: &'a [Run], each: u32) -> Answer<'a, Vec<Vec<Stored>>>;

    /// All stays of an account, of all its devices, past ones too.
    fn memberships<'a>(&'a self, did: &'a Did) -> Answer<'a, Vec<Membership>>;

    /// Where the conversations of an account stand, or the one of them.
    fn standings<'a>(&'a self, of: &'a Subscriber) -> Answer<'a, Vec<Standing>>;

    /// The message that an event announced, if it is still held and not too large.
    fn announced(&self, announced: Announced) -> Answer<'_, Option<StoredMessage>>;

    fn listen<'a>(&'a self, channels: &'a [&'a str]) -> Answer<'a, Box<dyn Bell>>;

    fn notify<'a>(&'a self, channel: &'a str, payloads: &'a [String]) -> Answer<'a, ()>;

    /// From 0 to 1.
    fn queue_usage(&self) -> Answer<'_, f64>;
}

/// A connection that listens.
pub trait Bell: Send {
    /// Cancel-safe.
    fn next(&mut self) -> Answer<'_, Notification>;
}

impl Journal for Store {
    fn ends(&self) -> Answer<'_, Ends> {
        Box::pin(Self::ends(self))
    }

    fn leap_over(&self, given: Seq) -> Answer<'_, ()> {
        Box::pin(self.leap_over(given))
    }

    fn between(&self, after: Seq, through: Seq, limit: u32) -> Answer<'_, Vec<Stored>> {
        Box::pin(async move {
            let rows = self.events_between(after, through, limit).await?;
            Ok(rows.into_iter().map(Stored::from).collect())
        })
    }

    fn runs<'a>(&'a self, runs: &'a [Run], each: u32) -> Answer<'a, Vec<Vec<Stored>>> {
        Box::pin(async move {
            let read = self.runs(runs, each).await?.into_iter();
            let stored = |run: Vec<StoredEvent>| run.into_iter().map(Stored::from).collect();
            Ok(read.map(stored).collect())
        })
    }

    fn memberships<'a>(&'a self, did: &'a Did) -> Answer<'a, Vec<Membership>> {
        Box::pin(self.memberships(did))
    }

    fn standings<'a>(&'a self, of: &'a Subscriber) -> Answer<'a, Vec<Standing>> {
        Box::pin(self.positions(&of.did, of.filter.as_ref()))
    }

    fn announced(&self, announced: Announced) -> Answer<'_, Option<StoredMessage>> {
        Box::pin(self.announced(announced))
    }

    fn listen<'a>(&'a self, channels: &'a [&'a str]) -> Answer<'a, Box<dyn Bell>> {
        Box::pin(async move {
            let notifications = self.listen(channels).await?;
            Ok(Box::new(notifications) as Box<dyn Bell>)
        })
    }

    fn notify<'a>(&'a self, channel: &'a str, payloads: &'a [String]) -> Answer<'a, ()> {
        Box::pin(self.notify(channel, payloads))
    }

    fn queue_usage(&self) -> Answer<'_, f64> {
        Box::pin(self.notification_queue_usage())
    }
}

impl Bell for Notifications {
    fn next(&mut self) -> Answer<'_, Notification> {
        Box::pin(self.next())
    }
}
