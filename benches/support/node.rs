//! A node's store on a Postgres of its own, with conversations in it: what most
//! benches stand on.

#![allow(dead_code, reason = "each program uses its part of this")]

use std::time::Duration;

use bytes::Bytes;
use mls_relay::runtime::Shutdown;
use mls_relay::store::{NewMessage, Store};
use mls_relay::types::{CoarseTime, ConvoId, Did, Epoch, MessageId};

use crate::database::Database;

/// What is measured.
pub(crate) struct Node {
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) shutdown: Shutdown,
}

impl Node {
    /// Starts Postgres with these settings, fsync on, and opens a store on it.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        Self::on(Database::with_settings(settings).await).await
    }

    /// Opens a store on this Postgres.
    pub(crate) async fn on(database: Database) -> Self {
        let (store, shutdown) = database.store().await;
        Self {
            database,
            store,
            shutdown,
        }
    }

    /// Founds conversations with members that a query finds: numbers of conversations and
    /// of accounts.
    pub(crate) async fn populate(&self, members: &str) {
        let members = format!(
            "SELECT lpad(to_hex(convo), 32, '0'), 'did:plc:' || lpad(account::text, 24, '0')
             FROM ({members}) AS m (convo, account)"
        );
        self.database.seat(&members).await;
    }

    pub(crate) async fn stop(self) {
        self.shutdown.drain(Duration::ZERO).await;
    }
}

/// The conversation of this number, from 1.
pub(crate) fn convo(number: usize) -> ConvoId {
    ConvoId::parse(&format!("{number:032x}")).unwrap()
}

/// The account of this number, from 1.
pub(crate) fn account(number: usize) -> Did {
    Did::parse(&format!("did:plc:{number:024}")).unwrap()
}

/// A message of `len` bytes that nobody has sent before.
pub(crate) fn message(convo: ConvoId, sender: Did, len: usize) -> NewMessage {
    NewMessage {
        convo,
        sender,
        message_id: MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000)),
        epoch: Epoch::default(),
        ciphertext: Bytes::from(vec![0x5a; len]),
        nonce: None,
    }
}
