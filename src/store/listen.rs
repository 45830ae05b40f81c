//! LISTEN and NOTIFY: one connection of its own that hears, and calls that ring.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;

use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};

use super::connect::Stream;
use super::{Store, StoreError};
use crate::types::unprintable;

/// What arrives on the channels listened to, in commit order. Whoever holds it
/// must keep reading: a listener that does not read holds up Postgres' vacuum.
pub struct Notifications {
    // The connection ends when its client is dropped.
    client: Client,
    connection: Connection<Socket, Stream>,
    heard: VecDeque<Notification>,
}

unprintable!(Notifications);

/// One NOTIFY. The payload holds identities.
pub struct Notification {
    pub channel: String,
    pub payload: String,
}

unprintable!(Notification);

impl Store {
    /// Listens on its own connection, past any pooler: what commits from now on is
    /// heard; what committed before must be read from the tables after this returns.
    pub async fn listen(&self, channels: &[&str]) -> Result<Notifications, StoreError> {
        let mut sql: String = channels
            .iter()
            .map(|name| format!("LISTEN {name};"))
            .collect();
        // Whoever listens says nothing for as long as nothing is wrong.
        sql.push_str("SET idle_session_timeout = 0");
        let (client, connection) = self.connect_directly().await?;
        let mut notifications = Notifications {
            client,
            connection,
            heard: VecDeque::new(),
        };
        let patience = self.settings().statement_timeout;
        let listening = timeout(patience, notifications.execute(&sql)).await;
        listening.unwrap_or(Err(StoreError::Timeout))?;
        Ok(notifications)
    }

    /// Rings a channel, once for each payload. Asynchronous commit: a notification is
    /// lost in a crash of Postgres anyway, so nothing is gained by waiting for a disk.
    pub async fn notify(&self, channel: &str, payloads: &[String]) -> Result<(), StoreError> {
        let sql = "SELECT set_config('synchronous_commit', 'off', true), \
                          (SELECT count(pg_notify($1, p)) FROM unnest($2::text[]) AS p)";
        self.0.stream.execute(sql, &[&channel, &payloads]).await
    }

    /// How full Postgres' queue of notifications is, from 0 to 1. A listener that
    /// is stuck fills it, and a full one stops every commit that notifies.
    pub async fn notification_queue_usage(&self) -> Result<f64, StoreError> {
        let sql = "SELECT pg_notification_queue_usage()";
        self.0.stream.value(sql, &[]).await
    }
}

impl Notifications {
    /// The next notification. Cancel-safe.
    pub async fn next(&mut self) -> Result<Notification, StoreError> {
        loop {
            if let Some(notification) = self.heard.pop_front() {
                return Ok(notification);
            }
            let message = hear(&mut self.connection).await?;
            self.heard.extend(message);
        }
    }

    /// Runs statements while the connection is driven here.
    async fn execute(&mut self, sql: &str) -> Result<(), StoreError> {
        let mut done = pin!(self.client.batch_execute(sql));
        loop {
            tokio::select! {
                done = &mut done => return Ok(done?),
                message = hear(&mut self.connection) => self.heard.extend(message?),
            }
        }
    }
}

/// Reads one message. Notices are not for us. Cancel-safe.
async fn hear(
    connection: &mut Connection<Socket, Stream>,
) -> Result<Option<Notification>, StoreError> {
    let message = poll_fn(|context| connection.poll_message(context)).await;
    match message.ok_or(StoreError::Unavailable)?? {
        AsyncMessage::Notification(said) => Ok(Some(Notification {
            channel: said.channel().to_owned(),
            payload: said.payload().to_owned(),
        })),
        _ => Ok(None),
    }
}
