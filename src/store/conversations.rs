//! Conversations, and who is in them.

use std::collections::HashMap;

use bytes::Bytes;
use tokio_postgres::Row;

use super::rows::{count, get, int};
use super::{Params, Store, StoreError};
use crate::types::{CipherSuite, CoarseTime, ConvoId, DeviceId, Did, Epoch, unprintable};
use crate::wire::calls::{MemberView, device_did};
use crate::wire::{BytesOut, Sha256Hex};

/// A conversation as its members may see it.
#[derive(Clone)]
pub struct Conversation {
    pub convo: ConvoId,
    pub creator: Did,
    pub cipher_suite: CipherSuite,
    pub epoch: Epoch,
    pub name: Option<String>,
    pub description: Option<String>,
    pub created_at: CoarseTime,
    pub last_message_at: Option<CoarseTime>,
    pub members: Vec<MemberView>,
    /// Where the next page of a list begins: before this place.
    pub place: u64,
}

unprintable!(Conversation);

impl Conversation {
    /// Whether this account was in it when its members were read.
    pub fn seats(&self, did: &Did) -> bool {
        self.members.iter().any(|member| member.user_did == *did)
    }
}

/// What an active member may know before it reads or writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// SHA-256 of the receipt of the commit that led to this epoch.
    pub receipt_hash: Option<[u8; 32]>,
    pub epoch: Epoch,
    pub cipher_suite: CipherSuite,
    pub last_seq: u64,
    /// Messages up to this number are from before this account's stay.
    pub joined_after: u64,
    pub is_admin: bool,
}

impl Store {
    /// What this account may do in the conversation; `None` if it is no member.
    pub async fn standing(
        &self,
        convo: &ConvoId,
        did: &Did,
    ) -> Result<Option<Standing>, StoreError> {
        let sql = "SELECT c.epoch, c.cipher_suite, c.last_seq, c.receipt_hash, m.joined_after, \
                   m.is_admin \
                   FROM conversations c CROSS JOIN LATERAL (\
                       SELECT min(m.joined_message_seq) AS joined_after, bool_or(m.is_admin) AS is_admin \
                       FROM members m WHERE m.convo_id = c.convo_id AND m.user_did = $2 \
                       AND m.left_seq IS NULL) m \
                   WHERE c.convo_id = $1 AND m.joined_after IS NOT NULL";
        let read = |row: &Row| {
            let hash: Option<Sha256Hex> = get(row, "receipt_hash")?;
            Ok(Standing {
                receipt_hash: hash.map(|Sha256Hex(hash)| hash),
                epoch: get(row, "epoch")?,
                cipher_suite: get(row, "cipher_suite")?,
                last_seq: count(row, "last_seq")?,
                joined_after: count(row, "joined_after")?,
                is_admin: get(row, "is_admin")?,
            })
        };
        self.calls().first(sql, &[convo, did], read).await
    }

    /// The account's conversations, latest joined first, before `place` if given: at most
    /// `limit`, and with at most about `PAGE_SEATS_MAX` seats, but at least one. Says whether
    /// there are more. A place is where the account's stay begins: it does not change while
    /// devices come and go.
    pub async fn conversations(
        &self,
        did: &Did,
        before: Option<u64>,
        limit: u32,
    ) -> Result<(Vec<Conversation>, bool), StoreError> {
        let before = before.map(int);
        let params: Params<'_> = &[did, &before, &i64::from(limit), &PAGE_SEATS_MAX];
        let found = self.calls().query(CONVERSATIONS, params).await?;
        let among = match found.first() {
            Some(row) => count(row, "among")?,
            None => 0,
        };
        let page = self.with_members(&found).await?;
        let has_more = among > u64::try_from(page.len()).unwrap_or(u64::MAX);
        Ok((page, has_more))
    }

    /// One conversation, whoever asks: look for their seat.
    pub async fn conversation(&self, convo: &ConvoId) -> Result<Option<Conversation>, StoreError> {
        let sql = "SELECT c.convo_id, c.creator_did, c.cipher_suite, c.epoch, c.name, \
                          c.description, c.created_at, c.last_message_at, 0::bigint AS place \
                   FROM conversations c WHERE c.convo_id = $1";
        let found = self.calls().query(sql, &[convo]).await?;
        Ok(self.with_members(&found).await?.pop())
    }

    async fn with_members(&self, found: &[Row]) -> Result<Vec<Conversation>, StoreError> {
        let ids = found.iter().map(|row| get(row, "convo_id"));
        let ids: Vec<&str> = ids.collect::<Result<_, _>>()?;
        let sql = "SELECT m.convo_id, m.user_did, m.device_id, m.joined_at, m.is_admin, m.promoted_at, \
                          m.promoted_by, d.name AS device_name, d.signature_key FROM members m \
                   LEFT JOIN devices d ON d.user_did = m.user_did AND d.device_id = m.device_id \
                   WHERE m.convo_id = ANY ($1) AND m.left_seq IS NULL \
                   ORDER BY m.joined_seq, m.user_did, m.device_id";
        let mut members: HashMap<&str, Vec<MemberView>> = HashMap::new();
        let seats = self.calls().query(sql, &[&ids]).await?;
        for row in &seats {
            let convo = get(row, "convo_id")?;
            members.entry(convo).or_default().push(member(row)?);
        }
        let conversation = |row: &Row| {
            Ok(Conversation {
                convo: get(row, "convo_id")?,
                creator: get(row, "creator_did")?,
                cipher_suite: get(row, "cipher_suite")?,
                epoch: get(row, "epoch")?,
                name: get(row, "name")?,
                description: get(row, "description")?,
                created_at: get(row, "created_at")?,
                last_message_at: get(row, "last_message_at")?,
                members: members
                    .remove(get::<&str>(row, "convo_id")?)
                    .unwrap_or_default(),
                place: count(row, "place")?,
            })
        };
        found.iter().map(conversation).collect()
    }
}

fn member(row: &Row) -> Result<MemberView, StoreError> {
    let user_did: Did = get(row, "user_did")?;
    let device_id: Option<DeviceId> = get(row, "device_id")?;
    let signature_key: Option<&[u8]> = get(row, "signature_key")?;
    Ok(MemberView {
        did: device_did(&user_did, device_id.as_ref()),
        user_did,
        device_id,
        device_name: get(row, "device_name")?,
        signature_public_key: signature_key.map(|key| BytesOut(Bytes::copy_from_slice(key))),
        joined_at: get(row, "joined_at")?,
        is_admin: get(row, "is_admin")?,
        promoted_at: get(row, "promoted_at")?,
        promoted_by: get(row, "promoted_by")?,
    })
}

/// The account's active conversations with the first event of the stay that goes on, those of
/// the page, and of them as many as the seats allow. A stay begins with a seat that begins after
/// all seats before it had ended; it goes on while one has a seat and none has begun after it.
/// The walk goes from seat to seat, from the latest on, and stops where each conversation takes
/// its turn: at its latest seat before the page's beginning. It ends when the page is full of
/// stays that began later than whatever is still to come. So no more conversations are looked at
/// than fill the page, and each once, however often one came and went there. Seats are counted in
/// order, no more of them than are allowed.
///
/// A plan that is kept is made for an account of average size, whose seats Postgres would sort at
/// each step. So a step asks for nothing but their places, of which one index has the order, and
/// then for the conversation by its place, with what no index has.
const CONVERSATIONS: &str = "
    WITH RECURSIVE walk (convo_id, place, position, places) AS (
        SELECT NULL::text, NULL::bigint, coalesce($2::bigint, 9223372036854775807), '{}'::bigint[]
        UNION ALL
        SELECT s.convo_id, stay.place, s.joined_seq,
               CASE WHEN stay.place < coalesce($2::bigint, 9223372036854775807)
                    THEN w.places || stay.place ELSE w.places END
        FROM walk w CROSS JOIN LATERAL (
            SELECT c.convo_id, m.joined_seq FROM (
                SELECT m.joined_seq FROM members m
                WHERE m.user_did = $1 AND m.joined_seq < w.position
                ORDER BY m.joined_seq DESC OFFSET 0) m
            CROSS JOIN LATERAL (
                SELECT o.convo_id FROM members o
                WHERE o.user_did = $1 AND o.joined_seq = m.joined_seq
                ORDER BY o.device_id LIMIT 1) c
            WHERE EXISTS (SELECT FROM members a WHERE a.convo_id = c.convo_id
                              AND a.user_did = $1 AND a.left_seq IS NULL OFFSET 0)
              AND m.joined_seq = (
                SELECT l.joined_seq FROM members l
                WHERE l.user_did = $1 AND l.convo_id = c.convo_id
                  AND l.joined_seq < coalesce($2::bigint, 9223372036854775807)
                ORDER BY l.joined_seq DESC LIMIT 1)
            ORDER BY m.joined_seq DESC LIMIT 1) s
        CROSS JOIN LATERAL (
            SELECT max(n.joined_seq) AS place FROM (
                SELECT o.joined_seq, max(max(coalesce(o.left_seq, 9223372036854775807))) OVER (
                    ORDER BY o.joined_seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until
                FROM members o WHERE o.user_did = $1 AND o.convo_id = s.convo_id
                GROUP BY o.joined_seq) n
            WHERE n.until IS NULL OR n.until < n.joined_seq) stay
        WHERE (SELECT count(*) FROM unnest(w.places) AS p (place)
               WHERE p.place >= w.position) <= $3::bigint
    ), page AS MATERIALIZED (
        SELECT w.place, w.convo_id FROM walk w
        WHERE w.place < coalesce($2::bigint, 9223372036854775807)
        ORDER BY w.place DESC LIMIT $3::bigint + 1
    ), sized AS (
        SELECT s.place, sum(count(*)) OVER (ORDER BY s.place DESC) AS through FROM (
            SELECT p.place FROM (SELECT * FROM page ORDER BY place DESC OFFSET 0) p
            CROSS JOIN LATERAL (
                SELECT FROM members m
                WHERE m.convo_id = p.convo_id AND m.left_seq IS NULL OFFSET 0) seat
            ORDER BY p.place DESC LIMIT $4::bigint + 1) s
        GROUP BY s.place
    )
    SELECT c.convo_id, c.creator_did, c.cipher_suite, c.epoch, c.name, c.description,
           c.created_at, c.last_message_at, p.place, (SELECT count(*) FROM page) AS among
    FROM page p JOIN sized s USING (place) JOIN conversations c USING (convo_id)
    WHERE s.through <= $4 OR p.place = (SELECT max(place) FROM page)
    ORDER BY p.place DESC LIMIT $3";

/// Seats on one page: a hundred conversations of a thousand each would be 100 MB.
const PAGE_SEATS_MAX: i64 = 2000;
