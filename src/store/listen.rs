//! LISTEN and NOTIFY: one connection of its own that hears, and calls that ring.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connect::connect_alone;
use super::{Store, StoreError, query, query_one, rows};
use crate::types::unprintable;

type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

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
        let settings = self.settings();
        let url = settings.listen_url.as_ref();
        let url = url.unwrap_or(&settings.database_url);
        let sql: String = channels
            .iter()
            .map(|name| format!("LISTEN {name};"))
            .collect();
        let connect = async {
            let (client, connection) = connect_alone(url, settings, self.tls()).await?;
            let mut notifications = Notifications {
                client,
                connection,
                heard: VecDeque::new(),
            };
            notifications.execute(&sql).await?;
            Ok(notifications)
        };
        let deadline = settings.statement_timeout + CONNECT_MARGIN;
        let connected = tokio::time::timeout(deadline, connect).await;
        connected.unwrap_or(Err(StoreError::Timeout))
    }

    /// Rings a channel, once for each payload. Asynchronous commit: a notification is
    /// lost in a crash of Postgres anyway, so nothing is gained by waiting for a disk.
    pub async fn notify(&self, channel: &str, payloads: &[String]) -> Result<(), StoreError> {
        let sql = "SELECT set_config('synchronous_commit', 'off', true), \
                          (SELECT count(pg_notify($1, p)) FROM unnest($2::text[]) AS p)";
        let rung = query(&self.0.stream, sql, &[&channel, &payloads]).await;
        rung.map(drop)
    }

    /// How full Postgres' queue of notifications is, from 0 to 1. A listener that
    /// is stuck fills it, and a full one stops every commit that notifies.
    pub async fn notification_queue_usage(&self) -> Result<f64, StoreError> {
        let sql = "SELECT pg_notification_queue_usage() AS usage";
        let row = &query_one(&self.0.stream, sql, &[]).await?;
        rows::get(row, "usage")
    }
}

impl Notifications {
    /// The next notification. Cancel-safe.
    pub async fn next(&mut self) -> Result<Notification, StoreError> {
        poll_fn(|context| {
            if self.heard.is_empty() {
                match self.poll_message(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match self.heard.pop_front() {
                Some(notification) => Poll::Ready(Ok(notification)),
                None => {
                    // Another message than a notification: look again.
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Runs statements while the connection is driven here.
    async fn execute(&mut self, sql: &str) -> Result<(), StoreError> {
        let Self {
            client,
            connection,
            heard,
        } = self;
        let mut statement = pin!(client.batch_execute(sql));
        poll_fn(|context| {
            if let Poll::Ready(done) = statement.as_mut().poll(context) {
                return Poll::Ready(done.map_err(StoreError::from));
            }
            loop {
                match poll_connection(connection, heard, context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            statement.as_mut().poll(context).map_err(StoreError::from)
        })
        .await
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        poll_connection(&mut self.connection, &mut self.heard, context)
    }
}

/// Reads one message; notifications are added to `heard`, notices are not for us.
fn poll_connection(
    connection: &mut Connection<Socket, Stream>,
    heard: &mut VecDeque<Notification>,
    context: &mut Context<'_>,
) -> Poll<Result<(), StoreError>> {
    match connection.poll_message(context) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(None) => Poll::Ready(Err(StoreError::Unavailable)),
        Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error.into())),
        Poll::Ready(Some(Ok(message))) => {
            if let AsyncMessage::Notification(notification) = message {
                heard.push_back(Notification {
                    channel: notification.channel().to_owned(),
                    payload: notification.payload().to_owned(),
                });
            }
            Poll::Ready(Ok(()))
        }
    }
}

/// Connecting has its own limit, below this; the statement another.
const CONNECT_MARGIN: Duration = Duration::from_secs(5);
