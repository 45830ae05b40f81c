//! Conversations, and who is in them.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::connect::Params;
use super::{Store, StoreError, rows};
use crate::types::{CipherSuite, CoarseTime, ConvoId, DeviceId, Did, Epoch};

/// A conversation as its members may see it.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub convo: ConvoId,
    pub creator: Did,
    pub cipher_suite: CipherSuite,
    pub epoch: Epoch,
    pub last_seq: u64,
    pub name: Option<String>,
    pub description: Option<String>,
    pub created_at: CoarseTime,
    pub last_message_at: Option<CoarseTime>,
    pub members: Vec<Member>,
    /// Where the next page of a list begins: before this place.
    pub place: u64,
}

/// One device's seat, or a whole account's where it has no devices.
#[derive(Clone, Debug)]
pub struct Member {
    pub user: Did,
    pub device: Option<DeviceId>,
    pub device_name: Option<String>,
    pub joined_at: CoarseTime,
    pub is_admin: bool,
    pub promoted_at: Option<CoarseTime>,
    pub promoted_by: Option<Did>,
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
        let found = self
            .query(
                "SELECT c.epoch, c.cipher_suite, c.last_seq, c.receipt_hash, m.joined_after, \
                 m.is_admin \
                 FROM conversations c CROSS JOIN LATERAL (\
                     SELECT min(m.joined_message_seq) AS joined_after, bool_or(m.is_admin) AS is_admin \
                     FROM members m WHERE m.convo_id = c.convo_id AND m.user_did = $2 \
                     AND m.left_seq IS NULL) m \
                 WHERE c.convo_id = $1 AND m.joined_after IS NOT NULL",
                &[&convo.expose(), &did.expose()],
            )
            .await?;
        found
            .first()
            .map(|row| {
                let receipt_hash: Option<&[u8]> = rows::get(row, "receipt_hash")?;
                Ok(Standing {
                    receipt_hash: receipt_hash
                        .map(|hash| hash.try_into().map_err(|_| StoreError::Shape))
                        .transpose()?,
                    epoch: rows::epoch(row, "epoch")?,
                    cipher_suite: rows::suite(row, "cipher_suite")?,
                    last_seq: rows::count(row, "last_seq")?,
                    joined_after: rows::count(row, "joined_after")?,
                    is_admin: rows::get(row, "is_admin")?,
                })
            })
            .transpose()
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
        let before = before.map(rows::int);
        let params: Params<'_> = &[&did.expose(), &before, &i64::from(limit), &PAGE_SEATS_MAX];
        let found = self.query(CONVERSATIONS, params).await?;
        let among = match found.first() {
            Some(row) => rows::count(row, "among")?,
            None => 0,
        };
        let page = self.with_members(&found).await?;
        let has_more = among > u64::try_from(page.len()).unwrap_or(u64::MAX);
        Ok((page, has_more))
    }

    /// One conversation, whoever asks: check the standing first.
    pub async fn conversation(&self, convo: &ConvoId) -> Result<Option<Conversation>, StoreError> {
        let found = self
            .query(
                "SELECT c.convo_id, c.creator_did, c.cipher_suite, c.epoch, c.last_seq, c.name, \
                        c.description, c.created_at, c.last_message_at, 0::bigint AS place \
                 FROM conversations c WHERE c.convo_id = $1",
                &[&convo.expose()],
            )
            .await?;
        Ok(self.with_members(&found).await?.pop())
    }

    async fn with_members(&self, found: &[Row]) -> Result<Vec<Conversation>, StoreError> {
        let ids: Vec<&str> = found
            .iter()
            .map(|row| rows::get(row, "convo_id"))
            .collect::<Result<_, _>>()?;
        let seats = self
            .query(
                "SELECT m.convo_id, m.user_did, m.device_id, m.joined_at, m.is_admin, m.promoted_at, \
                        m.promoted_by, d.name AS device_name FROM members m \
                 LEFT JOIN devices d ON d.user_did = m.user_did AND d.device_id = m.device_id \
                 WHERE m.convo_id = ANY ($1) AND m.left_seq IS NULL \
                 ORDER BY m.joined_seq, m.user_did, m.device_id",
                &[&ids],
            )
            .await?;
        let mut members: HashMap<&str, Vec<Member>> = HashMap::new();
        for row in &seats {
            members
                .entry(rows::get(row, "convo_id")?)
                .or_default()
                .push(member(row)?);
        }
        found
            .iter()
            .map(|row| {
                Ok(Conversation {
                    convo: rows::convo(row, "convo_id")?,
                    creator: rows::did(row, "creator_did")?,
                    cipher_suite: rows::suite(row, "cipher_suite")?,
                    epoch: rows::epoch(row, "epoch")?,
                    last_seq: rows::count(row, "last_seq")?,
                    name: rows::get(row, "name")?,
                    description: rows::get(row, "description")?,
                    created_at: rows::time(row, "created_at")?,
                    last_message_at: rows::optional_time(row, "last_message_at")?,
                    members: members
                        .remove(rows::get::<&str>(row, "convo_id")?)
                        .unwrap_or_default(),
                    place: rows::count(row, "place")?,
                })
            })
            .collect()
    }
}

fn member(row: &Row) -> Result<Member, StoreError> {
    let promoted_by: Option<&str> = rows::get(row, "promoted_by")?;
    Ok(Member {
        user: rows::did(row, "user_did")?,
        device: rows::device(row, "device_id")?,
        device_name: rows::get(row, "device_name")?,
        joined_at: rows::time(row, "joined_at")?,
        is_admin: rows::get(row, "is_admin")?,
        promoted_at: rows::optional_time(row, "promoted_at")?,
        promoted_by: promoted_by
            .map(|_| rows::did(row, "promoted_by"))
            .transpose()?,
    })
}

/// The account's active conversations with the first event of the stay that goes on, those of
/// the page, and of them as many as the seats allow. A stay goes on while its account has a seat
/// and none has begun after it. Seats are looked at from the latest on, no more of them than fill
/// the page, and counted in order, no more of them than are allowed.
const CONVERSATIONS: &str = "
    WITH page AS MATERIALIZED (
        SELECT DISTINCT ON (s.place) s.place, s.convo_id
        FROM (SELECT m.joined_seq AS place, m.convo_id, m.left_seq, m.begins FROM stays m
              WHERE m.user_did = $1 AND m.joined_seq < coalesce($2::bigint, 9223372036854775807)
              ORDER BY m.joined_seq DESC OFFSET 0) s
        WHERE CASE
            WHEN NOT s.begins THEN false
            WHEN s.left_seq IS NULL THEN true
            ELSE EXISTS (
                SELECT FROM stays n
                WHERE n.user_did = $1 AND n.convo_id = s.convo_id AND n.joined_seq >= s.place
                  AND n.left_seq IS NULL)
            AND NOT EXISTS (
                SELECT FROM stays n
                WHERE n.user_did = $1 AND n.convo_id = s.convo_id AND n.joined_seq > s.place
                  AND n.begins) END
        ORDER BY s.place DESC LIMIT $3::bigint + 1
    ), sized AS (
        SELECT s.place, sum(count(*)) OVER (ORDER BY s.place DESC) AS through FROM (
            SELECT p.place FROM (SELECT * FROM page ORDER BY place DESC OFFSET 0) p
            CROSS JOIN LATERAL (
                SELECT FROM members m
                WHERE m.convo_id = p.convo_id AND m.left_seq IS NULL OFFSET 0) seat
            ORDER BY p.place DESC LIMIT $4::bigint + 1) s
        GROUP BY s.place
    )
    SELECT c.convo_id, c.creator_did, c.cipher_suite, c.epoch, c.last_seq, c.name, c.description,
           c.created_at, c.last_message_at, p.place, (SELECT count(*) FROM page) AS among
    FROM page p JOIN sized s USING (place) JOIN conversations c USING (convo_id)
    WHERE s.through <= $4 OR p.place = (SELECT max(place) FROM page)
    ORDER BY p.place DESC LIMIT $3";

/// Seats on one page: a hundred conversations of a thousand each would be 100 MB.
const PAGE_SEATS_MAX: i64 = 2000;
