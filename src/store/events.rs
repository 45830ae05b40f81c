//! Reading the event stream: the truth behind every notification.

use super::connect::{Params, Pool};
use super::queue::Queue;
use super::{Settings, Store, StoreError, query, query_one, rows};
use crate::runtime::{Batcher, Bounds, Shutdown};
use crate::types::{CoarseTime, ConvoId, Did, Seq, unprintable};
use crate::wire;

/// An event as it was stored and notified.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub seq: Seq,
    /// The JSON envelope, exactly as notified. Holds identities.
    pub envelope: Envelope,
}

/// The JSON text of an event, which holds identities.
#[derive(Clone, Eq, PartialEq)]
pub struct Envelope(std::sync::Arc<str>);

unprintable!(Envelope);

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

/// One stay of an account in a conversation: it sees the events from `joined` to
/// `left`, both included.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Membership {
    pub convo: ConvoId,
    pub joined: Seq,
    pub left: Option<Seq>,
}

/// What a part of the stream is about.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Topic {
    Convo(ConvoId),
    /// What only the devices of an account hear of.
    Account(Did),
}

impl Topic {
    fn expose(&self) -> &str {
        match self {
            Self::Convo(convo) => convo.expose(),
            Self::Account(did) => did.expose(),
        }
    }
}

/// The events of one topic in `(after, through]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run {
    pub topic: Topic,
    pub after: Seq,
    pub through: Seq,
}

/// Where the stream begins and ends: it holds the events of `(floor, head]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// Events up to this number have been forgotten.
    pub floor: Seq,
    /// The last event's number; zero before the first.
    pub head: Seq,
    /// When that was.
    pub at: CoarseTime,
}

pub(super) type SharedEnds = Queue<(), Ends>;

/// Reads them once for all who wait.
pub(super) fn share_ends(settings: &Settings, pool: Pool, shutdown: &Shutdown) -> SharedEnds {
    let bounds = Bounds {
        name: "ends",
        queue_max: settings.reads_queue_max,
        batch_max: settings.reads_queue_max,
        weight_max: usize::MAX,
    };
    let serve = move |waiting: Vec<()>| {
        let pool = pool.clone();
        async move { vec![ends(&pool).await; waiting.len()] }
    };
    Queue::new(settings, Batcher::start(shutdown, bounds, |()| 1, serve))
}

async fn ends(pool: &Pool) -> Result<Ends, StoreError> {
    let row = &query_one(pool, ENDS, &[]).await?;
    Ok(Ends {
        floor: rows::seq(row, "forgotten")?,
        head: rows::seq(row, "head")?,
        at: rows::time(row, "at")?,
    })
}

impl Store {
    /// Where the stream begins and ends. Whoever asks while it is being read shares the next
    /// reading.
    pub async fn ends(&self) -> Result<Ends, StoreError> {
        self.0.ends.ask(()).await
    }

    /// All events after `after` up to `through`, in order, at most `limit`. A number
    /// that is missing below the last one returned will never come.
    pub async fn events_between(
        &self,
        after: Seq,
        through: Seq,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let sql = "SELECT e.seq, e.payload::text AS envelope FROM event_stream e \
                   WHERE e.seq > $1 AND e.seq <= $2 ORDER BY e.seq LIMIT $3";
        let params: Params<'_> = &[
            &rows::int(after.get()),
            &rows::int(through.get()),
            &i64::from(limit),
        ];
        let found = query(&self.0.stream, sql, params).await?;
        found.iter().map(stored_event).collect()
    }

    /// For each run its events in order, at most `each`.
    pub async fn runs(&self, runs: &[Run], each: u32) -> Result<Vec<Vec<StoredEvent>>, StoreError> {
        let (convos, accounts): (Vec<_>, Vec<_>) = runs
            .iter()
            .zip(0_i64..)
            .partition(|(run, _)| matches!(run.topic, Topic::Convo(_)));
        let (convos, accounts) = (Columns::of(&convos), Columns::of(&accounts));
        let params: Params<'_> = &[
            &convos.places,
            &convos.names,
            &convos.after,
            &convos.through,
            &accounts.places,
            &accounts.names,
            &accounts.after,
            &accounts.through,
            &i64::from(each),
        ];
        let mut read = vec![Vec::new(); runs.len()];
        for row in &self.query(RUNS, params).await? {
            let place = usize::try_from(rows::count(row, "place")?).ok();
            let run = place.and_then(|place| read.get_mut(place));
            run.ok_or(StoreError::Shape)?.push(stored_event(row)?);
        }
        for run in &mut read {
            run.sort_unstable_by_key(|event| event.seq);
        }
        Ok(read)
    }

    /// The stays of an account, also those that ended while there were events that are still
    /// there.
    pub async fn memberships(&self, did: &Did) -> Result<Vec<Membership>, StoreError> {
        Ok(self.0.memberships.of(did).await?.to_vec())
    }

    /// Where the conversations of an account stand (or one of them).
    pub async fn positions(
        &self,
        did: &Did,
        filter: Option<&ConvoId>,
    ) -> Result<Vec<wire::Standing>, StoreError> {
        let all = self.0.positions.of(did).await?;
        let wanted =
            |position: &&wire::Standing| filter.is_none_or(|one| *one == position.convo_id);
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
pub(super) fn position(row: &tokio_postgres::Row) -> Result<wire::Standing, StoreError> {
    Ok(wire::Standing {
        convo_id: rows::convo(row, "convo_id")?,
        epoch: rows::epoch(row, "epoch")?,
        last_seq: rows::count(row, "last_seq")?,
    })
}

/// Runs as [`RUNS`] takes them.
struct Columns<'a> {
    places: Vec<i64>,
    names: Vec<&'a str>,
    after: Vec<i64>,
    through: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(runs: &[(&'a Run, i64)]) -> Self {
        let each = runs.iter();
        Self {
            places: each.clone().map(|(_, place)| *place).collect(),
            names: each.clone().map(|(run, _)| run.topic.expose()).collect(),
            after: each
                .clone()
                .map(|(run, _)| rows::int(run.after.get()))
                .collect(),
            through: each.map(|(run, _)| rows::int(run.through.get())).collect(),
        }
    }
}

fn stored_event(row: &tokio_postgres::Row) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        seq: rows::seq(row, "seq")?,
        envelope: Envelope::new(rows::get(row, "envelope")?),
    })
}

/// Without those that ended long before the stream begins, or what nodes may remember of it.
pub(super) const MEMBERSHIPS: &str = "
    SELECT m.user_did, m.convo_id, m.joined_seq, m.left_seq FROM members m
    WHERE m.user_did = ANY ($1)
      AND (m.left_seq IS NULL OR m.left_seq > (SELECT f.forgotten FROM stream_floor f) - 100000)
    ORDER BY m.joined_seq";

/// One row for each conversation, however many devices are in it.
pub(super) const POSITIONS: &str = "
    SELECT a.user_did, c.convo_id, c.epoch, c.last_seq
    FROM unnest($1::text[]) AS a (user_did) CROSS JOIN LATERAL (
        SELECT DISTINCT m.convo_id FROM members m
        WHERE m.user_did = a.user_did AND m.left_seq IS NULL) m
    JOIN conversations c USING (convo_id) ORDER BY c.convo_id";

const ENDS: &str = "
    SELECT f.forgotten, greatest(f.seq, s.seq) AS head, greatest(f.emitted_at, s.emitted_at) AS at
    FROM stream_floor f LEFT JOIN LATERAL (
        SELECT e.seq, e.emitted_at FROM event_stream e
        ORDER BY e.emitted_at DESC, e.seq DESC LIMIT 1) s ON true";

/// Each run from the index of its topic, of the days since the first of them begins: seq and
/// time rise together.
const RUNS: &str = "
    WITH since AS (
        SELECT coalesce((
            SELECT e.emitted_at FROM event_stream e
            WHERE e.seq <= (SELECT min(a.after) FROM unnest($3::bigint[] || $7::bigint[]) AS a (after))
            ORDER BY e.seq DESC LIMIT 1), '-infinity') AS at)
    SELECT run.place, e.seq, e.payload::text AS envelope
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[])
        AS run (place, convo_id, after, through)
    CROSS JOIN LATERAL (
        SELECT e.seq, e.payload FROM event_stream e
        WHERE e.convo_id = run.convo_id AND e.seq > run.after AND e.seq <= run.through
          AND e.emitted_at >= (SELECT at FROM since)
        ORDER BY e.seq LIMIT $9) e
    UNION ALL
    SELECT run.place, e.seq, e.payload::text
    FROM unnest($5::bigint[], $6::text[], $7::bigint[], $8::bigint[])
        AS run (place, user_did, after, through)
    CROSS JOIN LATERAL (
        SELECT e.seq, e.payload FROM event_stream e
        WHERE e.user_did = run.user_did AND e.seq > run.after AND e.seq <= run.through
          AND e.emitted_at >= (SELECT at FROM since)
        ORDER BY e.seq LIMIT $9) e";
