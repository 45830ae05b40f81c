//! A cluster of relays on one Postgres, and what can happen to it.

#![allow(dead_code, reason = "each program uses its part of this")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::relay as remote;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::spawn_blocking;

use crate::database::Database;
use crate::relay::{Home, Relay};

/// What a crowd that lives at one address must have more of.
pub(crate) const LIMITS: [&str; 10] = [
    "CONNECTIONS_PER_IP",
    "CONNECTIONS_PER_IP_PER_SECOND",
    "HANDSHAKES_MAX",
    "RATE_LIMIT_DID_DEFAULT",
    "RATE_LIMIT_IP_PER_MINUTE",
    "RATE_LIMIT_SEND_MESSAGE",
    "SOCKETS_PER_IP",
    "UPGRADES_PER_DID",
    "UPGRADES_PER_IP",
    "VERIFICATIONS_PER_MINUTE",
];

/// Accounts, and the conversations each is in.
pub(crate) struct Crowd {
    accounts: Vec<Arc<Account>>,
    convos: Vec<String>,
}

impl Crowd {
    pub(crate) fn new(accounts: usize, convos: usize) -> Self {
        Self {
            accounts: (0..accounts)
                .map(|_| Arc::new(Account::generate(Curve::P256).unwrap()))
                .collect(),
            convos: (1..=convos).map(|i| format!("{i:032x}")).collect(),
        }
    }

    pub(crate) fn account(&self, index: usize) -> Arc<Account> {
        Arc::clone(&self.accounts[index])
    }

    /// Two conversations for everyone: about eight members each.
    pub(crate) fn convos_of(&self, index: usize) -> BTreeSet<String> {
        let count = self.convos.len();
        [index % count, (index * 7 + 3) % count]
            .map(|i| self.convos[i].clone())
            .into()
    }
}

/// Long enough for those who were cut off to come back.
const BETWEEN_FAULTS: Duration = Duration::from_millis(1500);

struct Node {
    process: Option<Relay>,
    reached: Arc<remote::Relay>,
}

/// Relays on one Postgres.
pub(crate) struct Cluster {
    database: AsyncMutex<Database>,
    _directory: Directory,
    home: Home,
    nodes: Mutex<Vec<Node>>,
}

impl Cluster {
    pub(crate) async fn start(nodes: usize, crowd: &Crowd) -> Self {
        let database = Database::start().await;
        let directory = Directory::start().await.unwrap();
        for account in &crowd.accounts {
            directory.publish(account);
        }
        let cluster = Self {
            home: Home::on(&database.url())
                .knowing(&directory)
                .with_all(LIMITS.map(|limit| (limit, "10000"))),
            database: AsyncMutex::new(database),
            _directory: directory,
            nodes: Mutex::default(),
        };
        for _ in 0..nodes {
            let node = cluster.spawn().await;
            cluster.nodes.lock().push(node);
        }
        populate(&*cluster.database.lock().await, crowd).await;
        cluster
    }

    async fn spawn(&self) -> Node {
        let home = self.home.clone();
        let process = spawn_blocking(move || home.start()).await.unwrap();
        Node {
            reached: process.reach(),
            process: Some(process),
        }
    }

    /// One of the nodes, dead or alive.
    pub(crate) fn node(&self, turn: usize) -> Arc<remote::Relay> {
        let nodes = self.nodes.lock();
        Arc::clone(&nodes[turn % nodes.len()].reached)
    }

    /// Every message that Postgres holds.
    pub(crate) async fn stored_messages(&self) -> BTreeSet<(String, String)> {
        stored_messages(&*self.database.lock().await).await
    }

    /// Each kind of fault twice, one after another; then everything stands again.
    pub(crate) async fn torment(&self) {
        for round in 0..8 {
            tokio::time::sleep(BETWEEN_FAULTS).await;
            match round % 4 {
                0 => self.kill_a_relay(round).await,
                1 => self.cut_off_listeners().await,
                2 => self.restart_postgres("fast").await,
                _ => self.restart_postgres("immediate").await,
            }
        }
        tokio::time::sleep(BETWEEN_FAULTS).await;
    }

    async fn kill_a_relay(&self, round: usize) {
        let victim = {
            let mut nodes = self.nodes.lock();
            let index = round % nodes.len();
            nodes[index].process.take().map(|process| (index, process))
        };
        let Some((index, process)) = victim else {
            return;
        };
        process.kill();
        let node = self.spawn().await;
        self.nodes.lock()[index] = node;
    }

    async fn cut_off_listeners(&self) {
        let cut_off = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE query ILIKE 'listen%' AND pid <> pg_backend_pid()";
        self.database.lock().await.run(cut_off).await;
    }

    async fn restart_postgres(&self, mode: &str) {
        let mut database = self.database.lock().await;
        database.down(mode);
        database.up().await;
    }
}

/// Puts the crowd into its conversations, once a node has made the tables.
pub(crate) async fn populate(database: &Database, crowd: &Crowd) {
    let accounts = crowd.accounts.iter().enumerate();
    let seats = accounts.flat_map(|(index, account)| {
        let convos = crowd.convos_of(index).into_iter();
        convos.map(|convo| format!("('{convo}', '{}')", account.did()))
    });
    let seats = seats.collect::<Vec<_>>().join(", ");
    database.seat(&format!("VALUES {seats}")).await;
}

/// Every message that Postgres holds, with its conversation.
pub(crate) async fn stored_messages(database: &Database) -> BTreeSet<(String, String)> {
    let client = database.client().await;
    let sql = "SELECT convo_id, msg_id FROM messages";
    let found = client.query(sql, &[]).await.unwrap();
    found.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// An application message of this conversation in epoch 0, as MLS frames it (RFC
/// 9420 section 6): to the relay the rest is ciphertext.
pub(crate) fn send_message_input(convo: &str, message_id: &str) -> serde_json::Value {
    let group: Vec<u8> = (0..convo.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&convo[i..i + 2], 16).unwrap())
        .collect();
    let mut bytes = vec![0, 1, 0, 2]; // mls10, mls_private_message
    let vector = |bytes: &mut Vec<u8>, content: &[u8]| {
        bytes.push(u8::try_from(content.len()).unwrap());
        bytes.extend_from_slice(content);
    };
    vector(&mut bytes, &group);
    bytes.extend_from_slice(&0_u64.to_be_bytes());
    bytes.push(1); // application
    vector(&mut bytes, message_id.as_bytes());
    vector(&mut bytes, &[7; 28]);
    vector(&mut bytes, &[9; 60]);
    bytes.resize(512, 0);
    serde_json::json!({
        "convoId": convo,
        "msgId": message_id,
        "ciphertext": { "$bytes": STANDARD_NO_PAD.encode(&bytes) },
        "epoch": 0,
        "declaredSize": 60,
        "paddedSize": 512,
    })
}
