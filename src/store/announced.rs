//! Messages by the events that announce them, for subscribers who want them at once:
//! read for all sessions of a node in one statement, whatever waits at the time.

use std::fmt;

use super::connect::Pool;
use super::queue::Queue;
use super::{Settings, Store, StoreError, StoredMessage, messages, query, rows};
use crate::runtime::{Batcher, Bounds, Shutdown};
use crate::types::{CoarseTime, ConvoId, MessageId};

/// Which message: as its event names it, and when that was.
#[derive(Clone, Debug)]
pub struct Announced {
    pub convo: ConvoId,
    pub message_id: MessageId,
    pub at: CoarseTime,
}

type Answer = Result<Option<StoredMessage>, StoreError>;

pub(super) struct AnnouncedMessages(Queue<Announced, Option<StoredMessage>>);

impl AnnouncedMessages {
    pub(super) fn start(settings: &Settings, pool: Pool, shutdown: &Shutdown) -> Self {
        let bounds = Bounds {
            name: "hydration",
            queue_max: settings.reads_queue_max,
            batch_max: BATCH_MAX,
            weight_max: usize::MAX,
        };
        let batches = Batcher::start(
            shutdown,
            bounds,
            |_| 1,
            move |batch| {
                let pool = pool.clone();
                async move { load(&pool, batch).await }
            },
        );
        Self(Queue::new(settings, batches))
    }
}

impl Store {
    /// The message that an event announced; `None` if it has expired, or has more than
    /// [`ANNOUNCED_BYTES_MAX`] bytes.
    pub async fn announced(&self, announced: Announced) -> Answer {
        self.0.announced.0.ask(announced).await
    }
}

async fn load(pool: &Pool, batch: Vec<Announced>) -> Vec<Answer> {
    match read(pool, &batch).await {
        Ok(found) => found.into_iter().map(Ok).collect(),
        Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
    }
}

async fn read(pool: &Pool, batch: &[Announced]) -> Result<Vec<Option<StoredMessage>>, StoreError> {
    let convos: Vec<&str> = batch.iter().map(|one| one.convo.expose()).collect();
    let ids: Vec<&str> = batch.iter().map(|one| one.message_id.expose()).collect();
    let times: Vec<_> = batch.iter().map(|one| one.at.to_utc()).collect();
    // An event's time is its message's, or later if a clock went back meanwhile. The
    // window keeps the search in one or two partitions, and an id that is used anew after
    // its day means its last message then.
    let sql = "SELECT i.ord, m.seq, m.msg_id, m.kind, m.epoch, m.ciphertext, m.received_at \
               FROM unnest($1::text[], $2::text[], $3::timestamptz[]) \
                   WITH ORDINALITY AS i (convo, id, at, ord) \
               CROSS JOIN LATERAL (\
                   SELECT * FROM messages s \
                   WHERE s.convo_id = i.convo AND s.msg_id = i.id \
                     AND s.received_at <= i.at AND s.received_at > i.at - interval '1 day' \
                   ORDER BY s.received_at DESC LIMIT 1) m \
               WHERE m.padded_size <= $4";
    let mut found: Vec<Option<StoredMessage>> = vec![None; batch.len()];
    for row in &query(pool, sql, &[&convos, &ids, &times, &ANNOUNCED_BYTES_MAX]).await? {
        let place = usize::try_from(rows::count(row, "ord")?).map_err(|_| StoreError::Shape)?;
        let slot = found.get_mut(place.wrapping_sub(1));
        *slot.ok_or(StoreError::Shape)? = Some(messages::message(row)?);
    }
    Ok(found)
}

impl fmt::Debug for AnnouncedMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnnouncedMessages")
    }
}

/// The largest message that comes with its event. Larger ones are fetched.
pub const ANNOUNCED_BYTES_MAX: i32 = 64 << 10;

/// At most 2 MiB in one answer.
const BATCH_MAX: usize = 32;
