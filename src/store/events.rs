//! Reading the event stream: the truth behind every notification.

use tokio_postgres::Row;

use super::pool::Pool;
use super::queue::{Queue, bounds};
use super::rows::{column, count, get};
use super::{Params, Settings, Store, StoreError};
use crate::runtime::Shutdown;
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

    /// Its length.
    pub fn bytes(&self) -> usize {
        self.0.len()
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
    let bounds = bounds("ends", settings.reads_queue_max, settings.reads_queue_max);
    let read = move |waiting: Vec<()>| {
        let pool = pool.clone();
        async move { Ok(vec![ends(&pool).await?; waiting.len()]) }
    };
    Queue::start(bounds, settings, shutdown, read)
}

async fn ends(pool: &Pool) -> Result<Ends, StoreError> {
    let read = |row: &Row| {
        Ok(Ends {
            floor: get(row, "forgotten")?,
            head: get(row, "head")?,
            at: get(row, "at")?,
        })
    };
    pool.one(ENDS, &[], read).await
}

impl Store {
    /// Where the stream begins and ends. Whoever asks while it is being read shares the next
    /// reading.
    pub async fn ends(&self) -> Result<Ends, StoreError> {
        self.0.ends.ask(()).await
    }

    /// Leaps over a number that was given out and that the stream has lost, with all that may have
    /// been given out beside it, unless another node has: a day was dropped by hand, or Postgres
    /// crashed while it did not wait for its disk.
    pub async fn leap_over(&self, given: Seq) -> Result<(), StoreError> {
        let sql = "SELECT leap_ahead() FROM stream_floor f WHERE f.leap < $1";
        self.0.stream.execute(sql, &[&given]).await
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
        let params: Params<'_> = &[&after, &through, &i64::from(limit)];
        self.0.stream.all(sql, params, stored_event).await
    }

    /// For each run its events in order, at most `each`.
    pub async fn runs(&self, runs: &[Run], each: u32) -> Result<Vec<Vec<StoredEvent>>, StoreError> {
        let (convos, accounts): (Vec<_>, Vec<_>) = runs
            .iter()
            .zip(0_i64..)
            .partition(|(run, _)| matches!(run.topic, Topic::Convo(_)));
        let params: Params<'_> = &[
            &column(&convos, |(_, place)| place),
            &column(&convos, |(run, _)| run.topic.expose()),
            &column(&convos, |(run, _)| run.after),
            &column(&convos, |(run, _)| run.through),
            &column(&accounts, |(_, place)| place),
            &column(&accounts, |(run, _)| run.topic.expose()),
            &column(&accounts, |(run, _)| run.after),
            &column(&accounts, |(run, _)| run.through),
            &i64::from(each),
        ];
        let mut read = vec![Vec::new(); runs.len()];
        for row in &self.calls().query(RUNS, params).await? {
            let place = usize::try_from(count(row, "place")?).ok();
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
pub(super) fn membership(row: &Row) -> Result<Membership, StoreError> {
    Ok(Membership {
        convo: get(row, "convo_id")?,
        joined: get(row, "joined_seq")?,
        left: get(row, "left_seq")?,
    })
}

/// A position, as [`POSITIONS`] has it.
pub(super) fn position(row: &Row) -> Result<wire::Standing, StoreError> {
    Ok(wire::Standing {
        convo_id: get(row, "convo_id")?,
        epoch: get(row, "epoch")?,
        last_seq: count(row, "last_seq")?,
    })
}

fn stored_event(row: &Row) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        seq: get(row, "seq")?,
        envelope: Envelope::new(get(row, "envelope")?),
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

/// A day that somebody has dropped by hand is forgotten, too.
const ENDS: &str = "
    SELECT greatest(f.forgotten, coalesce(first.seq - 1, f.seq)) AS forgotten,
           greatest(f.seq, last.seq) AS head, greatest(f.emitted_at, last.emitted_at) AS at
    FROM stream_floor f
    LEFT JOIN LATERAL (
        SELECT e.seq FROM event_stream e ORDER BY e.emitted_at, e.seq LIMIT 1) first ON true
    LEFT JOIN LATERAL (
        SELECT e.seq, e.emitted_at FROM event_stream e
        ORDER BY e.emitted_at DESC, e.seq DESC LIMIT 1) last ON true";

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
