//! The relay and the naive one as processes on the same Postgres, each with a database of
//! its own and the same conversations.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use mls_relay::store::{DatabaseUrl, Settings, Store};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::load::raised_limits;
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::relay_process::{RelayOptions, RelayProcess, built_relay};
use tempfile::TempDir;

use crate::database::Database;
use crate::naive::NAIVE_SCHEMA;
use crate::people::{self, Conversation};
use crate::processor::parent_of;
use crate::server::Server;
use crate::usual::USUAL_SCHEMA;

/// Two at once would be beside each other's numbers: one waits while the other works.
pub(crate) struct Pair {
    pub(crate) database: Database,
    pub(crate) conversations: Arc<Vec<Conversation>>,
    /// The process of Postgres whose children do the work.
    pub(crate) postmaster: u32,
    process: RelayProcess,
    _directory: Directory,
}

/// The naive relay; it ends with this.
pub(crate) struct NaiveProcess {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let settings = [
            "shared_buffers=512MB",
            "max_wal_size=4GB",
            "track_commit_timestamp=on",
        ];
        let database = Database::with_settings(&settings).await;
        let client = database.client().await;
        client.batch_execute("CREATE DATABASE naive").await.unwrap();
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
        let backend = u32::try_from(row.unwrap().get::<_, i32>(0)).unwrap();

        let directory = Directory::start().await.unwrap();
        let mut environment = raised_limits();
        environment.push(("DATABASE_URL".to_owned(), database.url()));
        let process = RelayProcess::start(&RelayOptions {
            binary: built_relay().unwrap(),
            service_did: SERVICE_DID.to_owned(),
            plc_url: directory.url(),
            environment,
        })
        .await
        .unwrap();
        let relay = process.relay().unwrap();
        let conversations = people::found(&Arc::new(relay), &directory, CONVERSATIONS).await;
        let pair = Self {
            postmaster: parent_of(backend).unwrap(),
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
        Server::connect("the relay", process.pid(), Arc::new(relay), conversations).await
    }

    /// Starts the naive one with a pool of this size, and connects everybody.
    pub(crate) async fn naive(&self, pool: usize) -> (NaiveProcess, Server) {
        let directory = TempDir::with_prefix("mls-naive-").unwrap();
        let certificate = directory.path().join("certificate.pem");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["naive", &self.naive_url(), &pool.to_string()])
            .arg(&certificate)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        let process = NaiveProcess {
            port: port.trim().parse().unwrap(),
            child,
            directory,
        };
        let address = format!("localhost:{}", process.port);
        let certificate = process.directory.path().join("certificate.pem");
        let relay = Arc::new(Relay::new(&address, SERVICE_DID, &certificate).unwrap());
        let conversations = Arc::clone(&self.conversations);
        let pid = process.child.id();
        let server = Server::connect("the naive one", pid, relay, conversations).await;
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
        let schema = format!("{USUAL_SCHEMA}; {NAIVE_SCHEMA}; SELECT ensure_partitions(1)");
        client.batch_execute(&schema).await.unwrap();
        for conversation in self.conversations.iter() {
            let convo = "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch) \
                         VALUES ($1, $2, 1, 1)";
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
                [&conversation.id, &conversation.writer.did()];
            client.execute(convo, &values).await.unwrap();
            for account in [&conversation.writer, &conversation.reader] {
                let member = "INSERT INTO members (convo_id, user_did, joined_seq, \
                              joined_message_seq) VALUES ($1, $2, 0, 0)";
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
                    [&conversation.id, &account.did()];
                client.execute(member, &values).await.unwrap();
                let known = "INSERT INTO naive_accounts VALUES ($1, $2)";
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
                    [&account.did(), &account.key().uncompressed()];
                client.execute(known, &values).await.unwrap();
            }
        }
        client.batch_execute("ANALYZE").await.unwrap();
    }
}

impl Drop for NaiveProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CONVERSATIONS: usize = 50;
const SERVICE_DID: &str = "did:web:localhost";
