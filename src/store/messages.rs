//! Ciphertext out, and the place up to which a client has read.

use bytes::Bytes;
use tokio_postgres::Row;

use super::rows::{count, get, int, outcomes};
use super::{Params, Store, StoreError};
use crate::types::{CoarseTime, ConvoId, Cursor, Did, Epoch, MessageId, unprintable};
use crate::wire::BytesOut;
use crate::wire::calls::MessageView;

outcomes! {
    /// What a stored message is.
    MessageKind {
        Application = "app",
        Commit = "commit",
    }
}

/// A message at rest.
#[derive(Clone)]
pub struct StoredMessage {
    pub message_id: MessageId,
    pub kind: MessageKind,
    pub seq: u64,
    /// The epoch an application message is for; the epoch a commit leads to.
    pub epoch: Epoch,
    pub ciphertext: Bytes,
    pub received_at: CoarseTime,
}

unprintable!(StoredMessage);

impl StoredMessage {
    /// As members get it.
    pub fn into_view(self, convo: &ConvoId) -> MessageView {
        MessageView {
            id: self.message_id,
            convo_id: convo.clone(),
            ciphertext: BytesOut(self.ciphertext),
            epoch: self.epoch,
            seq: self.seq,
            created_at: self.received_at,
            message_type: match self.kind {
                MessageKind::Application => "app",
                MessageKind::Commit => "commit",
            },
        }
    }
}

impl Store {
    /// Messages after number `after`, oldest first: at most `limit`, and at most
    /// about `PAGE_BYTES_MAX` bytes, but at least one. Only those of the stay that goes on, also
    /// for who came back a moment ago.
    pub async fn messages(
        &self,
        convo: &ConvoId,
        reader: &Did,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let sql = "SELECT * FROM (\
                       SELECT m.seq, m.msg_id, m.kind, m.epoch, m.ciphertext, m.received_at, \
                              sum(m.padded_size) OVER (ORDER BY m.seq) - m.padded_size AS before \
                       FROM messages m WHERE m.convo_id = $1 AND m.seq > $2 \
                       AND m.seq > (SELECT min(s.joined_message_seq) FROM members s \
                           WHERE s.convo_id = $1 AND s.user_did = $5 AND s.left_seq IS NULL) \
                       ORDER BY m.seq LIMIT $3) page \
                   WHERE page.before < $4 ORDER BY page.seq";
        let limit = i64::from(limit);
        let params: Params<'_> = &[convo, &int(after), &limit, &PAGE_BYTES_MAX, reader];
        self.calls().all(sql, params, message).await
    }

    /// The number of the message of this id, if it is still held.
    pub async fn message_seq(
        &self,
        convo: &ConvoId,
        message_id: &MessageId,
    ) -> Result<Option<u64>, StoreError> {
        // First by its id: by their numbers it would be looked for among all of them.
        let sql = "SELECT m.seq FROM (\
                       SELECT m.seq FROM messages m \
                       WHERE m.convo_id = $1 AND m.msg_id = $2 OFFSET 0) m \
                   ORDER BY m.seq LIMIT 1";
        let read = |row: &Row| count(row, "seq");
        self.calls().first(sql, &[convo, message_id], read).await
    }

    /// Commits that lead to the epochs `from` to `to`, in order: at most `limit`, and at
    /// most about `PAGE_BYTES_MAX` bytes, but at least one; of them those of the stay that goes on.
    /// And where the next ones begin, if there are more. None for who is not in.
    pub async fn commits(
        &self,
        convo: &ConvoId,
        reader: &Did,
        from: Epoch,
        to: Epoch,
        limit: u32,
    ) -> Result<(Vec<StoredMessage>, Option<Epoch>), StoreError> {
        let sql = "SELECT * FROM (\
                       SELECT m.*, count(*) OVER () AS among, \
                              sum(m.padded_size) OVER (ORDER BY m.epoch) - m.padded_size AS before \
                       FROM (SELECT m.seq, m.msg_id, m.kind, m.epoch, m.ciphertext, \
                                    m.received_at, m.padded_size \
                             FROM messages m WHERE m.convo_id = $1 AND m.kind = 'commit' \
                             AND m.epoch BETWEEN $2 AND $3 ORDER BY m.epoch LIMIT $4::bigint + 1) m) page \
                   CROSS JOIN (SELECT min(s.joined_message_seq) AS joined FROM members s \
                       WHERE s.convo_id = $1 AND s.user_did = $6 AND s.left_seq IS NULL) stay \
                   WHERE page.before < $5 AND stay.joined IS NOT NULL \
                   ORDER BY page.epoch LIMIT $4";
        let limit = i64::from(limit);
        let params: Params<'_> = &[convo, &from, &to, &limit, &PAGE_BYTES_MAX, reader];
        let (mut among, mut joined) = (0, 0);
        let read = |row: &Row| {
            (among, joined) = (count(row, "among")?, count(row, "joined")?);
            message(row)
        };
        let mut commits = self.calls().all(sql, params, read).await?;
        let last = commits.last().filter(|_| among > commits.len() as u64);
        let next = last.map(|last| last.epoch.next());
        commits.retain(|commit| commit.seq > joined);
        Ok((commits, next))
    }

    /// Remembers how far this account has read, if it is a member; never goes back. What is
    /// compared is the number in a cursor (its last sixteen characters): its time may be unknown,
    /// and zero. Its stay does not end meanwhile.
    pub async fn update_cursor(
        &self,
        convo: &ConvoId,
        did: &Did,
        cursor: Cursor,
    ) -> Result<bool, StoreError> {
        let sql = "WITH seat AS (SELECT FROM members m WHERE m.user_did = $1 AND m.convo_id = $2 \
                       AND m.left_seq IS NULL LIMIT 1 FOR SHARE), \
                   kept AS (INSERT INTO read_cursors AS r (user_did, convo_id, cursor) \
                       SELECT $1, $2, $3 FROM seat \
                       ON CONFLICT (user_did, convo_id) DO UPDATE \
                       SET cursor = excluded.cursor, updated_at = excluded.updated_at \
                       WHERE right(r.cursor, 16) COLLATE \"C\" < right(excluded.cursor, 16)) \
                   SELECT EXISTS (SELECT FROM seat)";
        self.calls()
            .value(sql, &[did, convo, &cursor.expose()])
            .await
    }
}

pub(super) fn message(row: &Row) -> Result<StoredMessage, StoreError> {
    Ok(StoredMessage {
        message_id: get(row, "msg_id")?,
        kind: get(row, "kind")?,
        seq: count(row, "seq")?,
        epoch: get(row, "epoch")?,
        ciphertext: Bytes::copy_from_slice(get(row, "ciphertext")?),
        received_at: get(row, "received_at")?,
    })
}

/// A page of messages of 10 MiB each would be a gigabyte.
const PAGE_BYTES_MAX: i64 = 2 << 20;
