//! Reading the event stream: the truth behind every notification.

use super::{Store, StoreError, rows};
use crate::types::{ConvoId, Cursor, Did, Epoch, Seq};
use crate::wire;

/// An event as it was stored and notified.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub seq: Seq,
    pub cursor: Cursor,
    /// The JSON envelope, exactly as notified. Holds identities.
    pub envelope: Envelope,
}

/// The JSON text of an event, which holds identities.
#[derive(Clone, Eq, PartialEq)]
pub struct Envelope(std::sync::Arc<str>);

impl Envelope {
    pub fn new(json: &str) -> Self {
        Self(json.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What it says.
    pub fn read(&self) -> Result<wire::Envelope<'_>, wire::EnvelopeError> {
        wire::Envelope::parse(&self.0)
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Envelope(~)")
    }
}

/// One stay of an account in a conversation: it sees the events from `joined` to
/// `left`, both included.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Membership {
    pub convo: ConvoId,
    pub joined: Seq,
    pub left: Option<Seq>,
}

/// How far a conversation is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConvoPosition {
    pub convo: ConvoId,
    pub epoch: Epoch,
    /// The last message's number.
    pub last_seq: u64,
}

impl Store {
    /// The last event's number; zero before the first.
    pub async fn head(&self) -> Result<Seq, StoreError> {
        let found = self
            .query(
                "SELECT greatest(f.seq, (SELECT e.seq FROM event_stream e \
                     ORDER BY e.emitted_at DESC, e.seq DESC LIMIT 1)) AS head FROM stream_floor f",
                &[],
            )
            .await?;
        found
            .first()
            .map_or(Err(StoreError::Shape), |row| rows::seq(row, "head"))
    }

    /// Events up to this number have been forgotten.
    pub async fn floor(&self) -> Result<Seq, StoreError> {
        let found = self
            .query("SELECT forgotten FROM stream_floor", &[])
            .await?;
        found
            .first()
            .map_or(Err(StoreError::Shape), |row| rows::seq(row, "forgotten"))
    }

    /// All events after `after` up to `through`, in order, at most `limit`. A number
    /// that is missing below the last one returned will never come.
    pub async fn events_between(
        &self,
        after: Seq,
        through: Seq,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let found = self
            .query(
                "SELECT e.seq, e.payload::text AS envelope FROM event_stream e \
                 WHERE e.seq > $1 AND e.seq <= $2 ORDER BY e.seq LIMIT $3",
                &[
                    &rows::int(after.get()),
                    &rows::int(through.get()),
                    &i64::from(limit),
                ],
            )
            .await?;
        found.iter().map(stored_event).collect()
    }

    /// The events that this account may see, of all its stays (or those in one
    /// conversation), after `after` up to `through`, in order, at most `limit`.
    pub async fn replay(
        &self,
        did: &Did,
        filter: Option<&ConvoId>,
        after: Seq,
        through: Seq,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let filter = filter.map(ConvoId::expose);
        let found = self
            .query(
                REPLAY,
                &[
                    &did.expose(),
                    &filter,
                    &rows::int(after.get()),
                    &rows::int(through.get()),
                    &i64::from(limit),
                ],
            )
            .await?;
        found.iter().map(stored_event).collect()
    }

    /// Every stay of an account, also those that ended.
    pub async fn memberships(&self, did: &Did) -> Result<Vec<Membership>, StoreError> {
        Ok(self.0.memberships.of(did).await?.to_vec())
    }

    /// Where the conversations of an account stand (or one of them).
    pub async fn positions(
        &self,
        did: &Did,
        filter: Option<&ConvoId>,
    ) -> Result<Vec<ConvoPosition>, StoreError> {
        let all = self.0.positions.of(did).await?;
        let wanted = |position: &&ConvoPosition| filter.is_none_or(|one| *one == position.convo);
        Ok(all.iter().filter(wanted).cloned().collect())
    }
}

/// A stay, as [`MEMBERSHIPS`] has it.
pub(super) fn membership(row: &tokio_postgres::Row) -> Result<Membership, StoreError> {
    let left: Option<i64> = rows::get(row, "left_seq")?;
    Ok(Membership {
        convo: rows::convo(row, "convo_id")?,
        joined: rows::seq(row, "joined_seq")?,
        left: left.map(|_| rows::seq(row, "left_seq")).transpose()?,
    })
}

/// A position, as [`POSITIONS`] has it.
pub(super) fn position(row: &tokio_postgres::Row) -> Result<ConvoPosition, StoreError> {
    Ok(ConvoPosition {
        convo: rows::convo(row, "convo_id")?,
        epoch: rows::epoch(row, "epoch")?,
        last_seq: rows::count(row, "last_seq")?,
    })
}

fn stored_event(row: &tokio_postgres::Row) -> Result<StoredEvent, StoreError> {
    let envelope: &str = rows::get(row, "envelope")?;
    Ok(StoredEvent {
        seq: rows::seq(row, "seq")?,
        cursor: rows::cursor_of(envelope)?,
        envelope: Envelope::new(envelope),
    })
}

pub(super) const MEMBERSHIPS: &str = "
    SELECT m.user_did, m.convo_id, m.joined_seq, m.left_seq FROM members m
    WHERE m.user_did = ANY ($1) ORDER BY m.joined_seq";

/// One row for each conversation, however many devices are in it.
pub(super) const POSITIONS: &str = "
    SELECT m.user_did, c.convo_id, c.epoch, c.last_seq
    FROM (SELECT DISTINCT m.user_did, m.convo_id FROM members m
          WHERE m.user_did = ANY ($1) AND m.left_seq IS NULL) m
    JOIN conversations c USING (convo_id) ORDER BY c.convo_id";

/// Per stay at most a page is read, from the index of the conversation.
const REPLAY: &str = "
    SELECT DISTINCT ON (seen.seq) seen.seq, seen.payload::text AS envelope FROM (
        SELECT e.seq, e.payload FROM members m CROSS JOIN LATERAL (
            SELECT e.seq, e.payload FROM event_stream e
            WHERE e.convo_id = m.convo_id AND e.seq > $3 AND e.seq <= $4
              AND e.seq >= m.joined_seq AND e.seq <= coalesce(m.left_seq, $4)
            ORDER BY e.seq LIMIT $5) e
        WHERE m.user_did = $1 AND ($2::text IS NULL OR m.convo_id = $2)
          AND m.joined_seq <= $4 AND (m.left_seq IS NULL OR m.left_seq > $3)
        UNION ALL
        (SELECT e.seq, e.payload FROM event_stream e
         WHERE e.user_did = $1 AND $2::text IS NULL AND e.seq > $3 AND e.seq <= $4
         ORDER BY e.seq LIMIT $5)
    ) seen ORDER BY seen.seq LIMIT $5";
