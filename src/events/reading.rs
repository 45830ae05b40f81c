//! What a subscription reads and asks for, each with patience for a database that
//! is away for a moment: its sessions should not notice a restart of Postgres.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::board::Attached;
use super::circle::{Circle, Subscriber};
use super::event::Event;
use super::hub::{HeldSeat, Hub, HubError};
use super::place::{Start, start};
use super::recent::Backlog;
use super::runs::{Page, visible};
use crate::runtime::{Backoff, random};
use crate::store::{Ends, Membership, Run, StoreError};
use crate::types::{ConvoId, Cursor, Seq};
use crate::wire::{Route, Standing};

/// Why a stream ended without the subscriber's doing.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    #[error("the subscriber does not keep up with its stream")]
    ConsumerTooSlow,
    #[error("the cursor is ahead of the stream")]
    FutureCursor,
    #[error("a subscription needs the hub")]
    Hub(#[from] HubError),
    #[error("a subscription needs the database")]
    Store(#[from] StoreError),
}

/// A subscription that has its place at the hub.
pub(super) struct Joined {
    pub(super) seat: HeldSeat,
    pub(super) attached: Attached,
    /// The cursor is older than this, the oldest place, and these conversations may have lost
    /// events.
    pub(super) outdated: Option<(Seq, Vec<ConvoId>)>,
}

/// Steps 1 to 3 of going live (see [`super::board`]).
pub(super) async fn join(
    hub: Hub,
    subscriber: Arc<Subscriber>,
    cursor: Option<Cursor>,
) -> Result<Joined, SubscriptionError> {
    let seat = hub.register(&subscriber).await?;
    let journal = hub.journal();
    let reading = patiently(&hub, || journal.memberships(&subscriber.did)).await?;
    let mut attached = seat
        .attach(reading.clone(), cursor.map(Cursor::seq))
        .await?;
    if subscriber.hydrate {
        attached.backlog = match attached.backlog {
            Backlog::Here(events) if events.len() <= TAKE_MAX => {
                let wanted = |event: &Event| is_readable(&reading, event);
                Backlog::Here(hub.hydrate(events, wanted).await)
            }
            // Page by page, so that not too many messages wait at once.
            _ => Backlog::InDatabase,
        };
    }
    let mut outdated = None;
    let ahead = cursor.is_some_and(|cursor| cursor.seq() > attached.through.seq());
    if ahead || matches!(attached.backlog, Backlog::InDatabase) {
        // Another node may be ahead of this one: the database knows.
        let Ends { floor, head, .. } = patiently(&hub, || journal.ends()).await?;
        match start(cursor, floor, head) {
            Start::Here(_) => {}
            Start::Future => return Err(SubscriptionError::FutureCursor),
            Start::Outdated { after, floor } => {
                let mut circle = Circle::as_of(Seq::LAST, reading);
                circle.narrow(subscriber.filter.as_ref());
                outdated = Some((floor, circle.touched(after.seq(), floor)));
            }
        }
    }
    Ok(Joined {
        seat,
        attached,
        outdated,
    })
}

/// Reads what the subscriber may see after `after`, at most one page.
pub(super) async fn page(
    hub: Hub,
    subscriber: Arc<Subscriber>,
    range: (Seq, Seq),
) -> Result<Page, SubscriptionError> {
    let mut limit = hub.settings().page_max as usize;
    if subscriber.hydrate {
        limit = limit.min(TAKE_MAX);
    }
    let journal = hub.journal();
    let stays = patiently(&hub, || journal.memberships(&subscriber.did)).await?;
    let wanted: Arc<[Run]> = visible(&subscriber, stays.clone(), range).into();
    let reading = patiently(&hub, || hub.replays().read(Arc::clone(&wanted))).await?;
    let mut page = reading.page(&wanted, range, limit);
    drop(reading);
    metrics::counter!("relay_events_replay_pages_total").increment(1);
    if subscriber.hydrate {
        let wanted = |event: &Event| is_readable(&stays, event);
        page.events = hub.hydrate(page.events, wanted).await;
    }
    Ok(page)
}

/// Whether `getMessages` gives a message of the past too: only of a stay that goes on.
fn is_readable(stays: &[Membership], event: &Event) -> bool {
    let Route::Convo(convo) = event.route() else {
        return false;
    };
    stays.iter().any(|stay| {
        let has_begun = stay.joined <= event.seq();
        stay.left.is_none() && has_begun && stay.convo == *convo
    })
}

/// Where the subscriber's conversations stand now.
pub(super) async fn standings(
    hub: Hub,
    subscriber: Arc<Subscriber>,
) -> Result<Vec<Standing>, SubscriptionError> {
    let journal = hub.journal();
    Ok(patiently(&hub, || journal.standings(&subscriber)).await?)
}

/// Asks again while Postgres is away, and waits for it, up to `read_patience`.
async fn patiently<T, F>(hub: &Hub, ask: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let deadline = Instant::now() + hub.settings().read_patience;
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
    loop {
        let answer = timeout_at(deadline, ask()).await;
        match answer.unwrap_or(Err(StoreError::Timeout)) {
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                sleep(backoff.next(random())).await;
            }
            answer => return answer,
        }
    }
}

/// Events taken from the queue at once: as many as one vectored write takes. And the most
/// whose messages are looked for at once.
pub(super) const TAKE_MAX: usize = 64;

/// Of what cannot be read: until `events.read_patience_seconds` are over.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(2);
