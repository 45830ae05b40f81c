//! The relay and the naive one as processes on the same Postgres, each with a database of
//! its own and the same conversations.

use std::sync::Arc;

use mls_relay::store::{DatabaseUrl, Settings, Store};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::load::raised_limits;
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::relay_process::{RelayProcess, SERVICE_DID};
use tempfile::TempDir;

use crate::database::Database;
use crate::naive::NAIVE_SCHEMA;
use crate::own_server::OwnServer;
use crate::people::{self, Conversation};
use crate::server::Server;
use crate::usual::USUAL_SCHEMA;

/// Two at once would be beside each other's numbers: one waits while the other works.
pub(crate) struct Pair {
    pub(crate) database: Database,
    pub(crate) conversations: Arc<Vec<Conversation>>,
    process: RelayProcess,
    _directory: Directory,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let settings = [
            "shared_buffers=512MB",
            "max_wal_size=4GB",
            "track_commit_timestamp=on",
        ];
        let database = Database::within(&std::env::temp_dir(), &settings).await;
        database.run("CREATE DATABASE naive").await;
        let directory = Directory::start().await.unwrap();
        let mut environment = raised_limits();
        environment.push(("DATABASE_URL".to_owned(), database.url()));
        let process = RelayProcess::start_built(directory.url(), environment).await;
        let process = process.unwrap();
        let relay = process.relay().unwrap();
        let conversations = people::found(&Arc::new(relay), &directory, CONVERSATIONS).await;
        let pair = Self {
            conversations: Arc::new(conversations),
            _directory: directory,
            database,
            process,
        };
        pair.populate_naive().await;
        pair
    }

    /// Connects everybody to the relay.
    pub(crate) async fn relay(&self) -> Server {
        let process = &self.process;
        let relay = process.relay().unwrap();
        let conversations = Arc::clone(&self.conversations);
        let processes = (process.pid(), self.database.postmaster());
        Server::connect("the relay", processes, Arc::new(relay), conversations).await
    }

    /// Starts the naive one with a pool of this size, and connects everybody.
    pub(crate) async fn naive(&self, pool: usize) -> (OwnServer, Server) {
        let directory = TempDir::with_prefix("mls-naive-").unwrap();
        let certificate = directory.path().join("certificate.pem");
        let arguments = ["naive", &self.naive_url(), &pool.to_string()];
        let process = OwnServer::start(&arguments, &certificate);
        let address = format!("localhost:{}", process.port);
        let relay = Arc::new(Relay::new(&address, SERVICE_DID, &certificate).unwrap());
        let conversations = Arc::clone(&self.conversations);
        let processes = (process.pid(), self.database.postmaster());
        let server = Server::connect("the naive one", processes, relay, conversations).await;
        (process, server)
    }

    fn naive_url(&self) -> String {
        self.database
            .url()
            .replace("dbname=postgres", "dbname=naive")
    }

    /// The relay's schema, and the same conversations with the same members.
    async fn populate_naive(&self) {
        let url = DatabaseUrl::parse(&self.naive_url()).unwrap();
        Store::migrate(&Settings::for_database(url)).await.unwrap();
        let (client, connection) =
            tokio_postgres::connect(&self.naive_url(), tokio_postgres::NoTls)
                .await
                .unwrap();
        tokio::spawn(connection);
        let mut seed = format!("{USUAL_SCHEMA}; {NAIVE_SCHEMA}; SELECT ensure_partitions(1);");
        for Conversation {
            id, writer, reader, ..
        } in self.conversations.iter()
        {
            seed += &format!(
                "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
                     VALUES ('{id}', '{}', 1, 1);",
                writer.did()
            );
            for account in [writer, reader] {
                let (did, key) = (account.did(), account.key().uncompressed());
                let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
                seed += &format!(
                    "INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
                         VALUES ('{id}', '{did}', 0, 0);
                     INSERT INTO naive_accounts VALUES ('{did}', '\\x{key}');"
                );
            }
        }
        client.batch_execute(&(seed + "ANALYZE")).await.unwrap();
    }
}

const CONVERSATIONS: usize = 50;
