//! Messages by the events that announce them, for subscribers who want them at once:
//! read for all sessions of a node in one statement, whatever waits at the time.

use super::pool::Pool;
use super::queue::{Queue, bounds};
use super::rows::{column, count};
use super::{Params, Settings, Store, StoreError, StoredMessage, messages};
use crate::runtime::Shutdown;
use crate::types::{CoarseTime, ConvoId, MessageId};

/// Which message: as its event names it, and when that was.
#[derive(Clone, Debug)]
pub struct Announced {
    pub convo: ConvoId,
    pub message_id: MessageId,
    pub at: CoarseTime,
}

pub(super) type AnnouncedMessages = Queue<Announced, Option<StoredMessage>>;

pub(super) fn start(settings: &Settings, pool: Pool, shutdown: &Shutdown) -> AnnouncedMessages {
    let bounds = bounds("hydration", settings.reads_queue_max, BATCH_MAX);
    Queue::start(bounds, settings, shutdown, move |batch| {
        read(pool.clone(), batch)
    })
}

impl Store {
    /// The message that an event announced; `None` if it has expired, or has more than
    /// [`ANNOUNCED_BYTES_MAX`] bytes.
    pub async fn announced(
        &self,
        announced: Announced,
    ) -> Result<Option<StoredMessage>, StoreError> {
        self.0.announced.ask(announced).await
    }
}

async fn read(pool: Pool, batch: Vec<Announced>) -> Result<Vec<Option<StoredMessage>>, StoreError> {
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
    let params: Params<'_> = &[
        &column(&batch, |one| &one.convo),
        &column(&batch, |one| &one.message_id),
        &column(&batch, |one| one.at),
        &ANNOUNCED_BYTES_MAX,
    ];
    for row in &pool.query(sql, params).await? {
        let place = usize::try_from(count(row, "ord")?).map_err(|_| StoreError::Shape)?;
        let slot = found.get_mut(place.wrapping_sub(1));
        *slot.ok_or(StoreError::Shape)? = Some(messages::message(row)?);
    }
    Ok(found)
}

/// The largest message that comes with its event. Larger ones are fetched.
pub const ANNOUNCED_BYTES_MAX: i32 = 64 << 10;

/// At most 2 MiB in one answer.
const BATCH_MAX: usize = 32;
