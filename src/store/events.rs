//! Reading the event stream: the truth behind every notification.

use std::collections::HashMap;

use super::batcher::{Batcher, Bounds};
use super::connect::Pool;
use super::{Store, StoreError, query, rows};
use crate::runtime::Shutdown;
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

type Loaded = Result<Vec<Membership>, StoreError>;

/// Loads the stays of many accounts in one statement: after a restart thousands
/// of sessions ask at once.
#[derive(Debug)]
pub(super) struct MembershipLoader(Batcher<Did, Loaded>);

impl MembershipLoader {
    pub(super) fn start(pool: Pool, shutdown: &Shutdown) -> Self {
        let bounds = Bounds {
            queue_max: QUEUE_MAX,
            batch_max: BATCH_MAX,
            weight_max: usize::MAX,
        };
        Self(Batcher::start(
            shutdown,
            bounds,
            |_| 1,
            move |batch| load(pool.clone(), batch),
        ))
    }
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
    pub async fn memberships(&self, did: &Did) -> Loaded {
        self.0
            .memberships
            .0
            .serve(did.clone())
            .await
            .unwrap_or(Err(StoreError::Unavailable))
    }

    /// Where the conversations of an account stand (or one of them).
    pub async fn positions(
        &self,
        did: &Did,
        filter: Option<&ConvoId>,
    ) -> Result<Vec<ConvoPosition>, StoreError> {
        let filter = filter.map(ConvoId::expose);
        let found = self
            .query(
                "SELECT c.convo_id, c.epoch, c.last_seq FROM conversations c \
                 WHERE c.convo_id IN (SELECT m.convo_id FROM members m WHERE m.user_did = $1 \
                     AND m.left_seq IS NULL AND ($2::text IS NULL OR m.convo_id = $2)) \
                 ORDER BY c.convo_id",
                &[&did.expose(), &filter],
            )
            .await?;
        found
            .iter()
            .map(|row| {
                Ok(ConvoPosition {
                    convo: rows::convo(row, "convo_id")?,
                    epoch: rows::epoch(row, "epoch")?,
                    last_seq: rows::count(row, "last_seq")?,
                })
            })
            .collect()
    }
}

fn stored_event(row: &tokio_postgres::Row) -> Result<StoredEvent, StoreError> {
    let envelope: &str = rows::get(row, "envelope")?;
    Ok(StoredEvent {
        seq: rows::seq(row, "seq")?,
        cursor: rows::cursor_of(envelope)?,
        envelope: Envelope::new(envelope),
    })
}

async fn load(pool: Pool, batch: Vec<Did>) -> Vec<Loaded> {
    match load_all(&pool, &batch).await {
        Ok(stays) => {
            let of = |did: &Did| stays.get(did).cloned().unwrap_or_default();
            batch.iter().map(|did| Ok(of(did))).collect()
        }
        Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
    }
}

async fn load_all(pool: &Pool, batch: &[Did]) -> Result<HashMap<Did, Vec<Membership>>, StoreError> {
    let dids: Vec<&str> = batch.iter().map(Did::expose).collect();
    let found = query(
        pool,
        "SELECT m.user_did, m.convo_id, m.joined_seq, m.left_seq FROM members m \
         WHERE m.user_did = ANY ($1) ORDER BY m.joined_seq",
        &[&dids],
    )
    .await?;
    let mut stays: HashMap<Did, Vec<Membership>> = HashMap::new();
    for row in &found {
        let left: Option<i64> = rows::get(row, "left_seq")?;
        stays
            .entry(rows::did(row, "user_did")?)
            .or_default()
            .push(Membership {
                convo: rows::convo(row, "convo_id")?,
                joined: rows::seq(row, "joined_seq")?,
                left: left.map(|_| rows::seq(row, "left_seq")).transpose()?,
            });
    }
    Ok(stays)
}

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

/// As many sessions as a node may be asked to wake at once.
const QUEUE_MAX: usize = 65_536;
const BATCH_MAX: usize = 256;
