//! The usual design of such a relay: one transaction a send, with NOTIFY inside. The
//! tables are the relay's own, so that both write the same rows and indexes.

#![allow(dead_code, reason = "each program uses its part of this")]

use tokio_postgres::{Client, NoTls, Statement};

/// One connection with its statements prepared.
pub(crate) struct Usual {
    client: Client,
    statements: Vec<Statement>,
}

/// A send as the usual design takes it.
pub(crate) struct Send<'a> {
    pub(crate) convo: &'a str,
    pub(crate) sender: &'a str,
    pub(crate) id: &'a str,
    pub(crate) epoch: i64,
    pub(crate) ciphertext: &'a [u8],
}

/// What the usual design needs beside the relay's tables.
pub(crate) const USUAL_SCHEMA: &str = "CREATE SEQUENCE usual_seq";

/// Where it notifies.
pub(crate) const USUAL_CHANNEL: &str = "usual_events";

impl Usual {
    pub(crate) async fn connect(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut statements = Vec::new();
        for sql in STATEMENTS {
            statements.push(client.prepare(sql).await.unwrap());
        }
        Self { client, statements }
    }

    /// Membership, epoch, sequence, message, event, notification. The message's number;
    /// none if the sender is no member or the epoch is over.
    pub(crate) async fn send(&self, send: &Send<'_>) -> Result<Option<i64>, tokio_postgres::Error> {
        let (client, [member, number, message, event, notify]) = (&self.client, self.statements());
        client.batch_execute("BEGIN").await?;
        let members = client.query(member, &[&send.convo, &send.sender]).await?;
        let numbers = client.query(number, &[&send.convo, &send.epoch]).await?;
        let (Some(_), Some(row)) = (members.first(), numbers.first()) else {
            client.batch_execute("ROLLBACK").await?;
            return Ok(None);
        };
        let seq: i64 = row.get(0);
        client
            .query(
                message,
                &[&send.convo, &seq, &send.id, &send.epoch, &send.ciphertext],
            )
            .await?;
        let payload = envelope(send);
        client.query(event, &[&send.convo, &payload]).await?;
        client.query(notify, &[&payload]).await?;
        client.batch_execute("COMMIT").await?;
        Ok(Some(seq))
    }

    fn statements(&self) -> [&Statement; 5] {
        std::array::from_fn(|index| &self.statements[index])
    }
}

fn envelope(send: &Send<'_>) -> String {
    format!(
        r#"{{"cursor":"{}","convoId":"{}","messageId":"{}"}}"#,
        ulid::Ulid::generate(),
        send.convo,
        send.id
    )
}

/// The event's number here is drawn from a sequence: the usual design does not order.
const STATEMENTS: [&str; 5] = [
    "SELECT 1 FROM members WHERE convo_id = $1 AND user_did = $2 AND left_seq IS NULL",
    "UPDATE conversations SET last_seq = last_seq + 1 WHERE convo_id = $1 AND epoch = $2 \
     RETURNING last_seq",
    "INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size, \
         padded_size, received_at) \
     VALUES ($1, $2, $3, 'app', $4, $5, octet_length($5::bytea), octet_length($5::bytea), \
             coarse_now())",
    "INSERT INTO event_stream (seq, emitted_at, convo_id, kind, payload) \
     VALUES (nextval('usual_seq'), coarse_now(), $1, 'message', $2::text::json)",
    "SELECT pg_notify('usual_events', $1)",
];
