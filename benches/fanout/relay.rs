//! The relay, with everything in it: TLS, tokens, membership, Postgres, order.

use std::sync::Arc;

use mls_relay::store::Store;
use mls_relay::types::{ConvoId, Did, MessageId};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::load::raised_limits;
use mls_relay_loadtest::load::tally::message_id;
use mls_relay_loadtest::mls::{Device, Group};
use mls_relay_loadtest::phone::seal;
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::relay_process::{RelayProcess, SERVICE_DID};
use mls_relay_loadtest::xrpc_client::{HttpVersion, NAMESPACE, TOKEN_LIFE, XrpcClient};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::node::{Node, message};
use crate::server::{OTHER_CORE, Posts, Publisher, SERVER_CORE, Server, Upgrade, keep_to, next};
use crate::stream::{Numbering, Packing};

/// Where events come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Entrance {
    /// Through another node on the same Postgres: the measured one only delivers.
    AnotherNode,
    /// As calls of `sendMessage` to the measured one.
    Calls,
}

/// A relay with `groups` conversations of `members` accounts.
pub(crate) async fn start(entrance: Entrance, groups: usize, members: usize) -> Server {
    // Its append path is the other node.
    let node = Node::start(&["shared_buffers=256MB"]).await;
    let directory = Directory::start().await.unwrap();
    let convos: Vec<_> = (0..groups).map(|_| Convo::new(members)).collect();
    for account in convos.iter().flat_map(|convo| &convo.accounts) {
        directory.publish(account);
    }
    populate(&node, &convos).await;
    let process = start_process(&node, &directory).await;
    let relay = Arc::new(process.relay().unwrap());
    let (publisher, posts) = Publisher::new();
    let convos = Arc::new(convos);
    for _ in 0..PUBLISHERS {
        match entrance {
            Entrance::AnotherNode => {
                tokio::spawn(append(node.store.clone(), posts.clone(), convos.clone()));
            }
            Entrance::Calls => {
                tokio::spawn(call(relay.clone(), posts.clone(), convos.clone()));
            }
        }
    }
    Server {
        name: match entrance {
            Entrance::AnotherNode => "relay",
            Entrance::Calls => "relay_with_sends",
        },
        address: process.public(),
        certificate: process.certificate(),
        packing: Packing::Messages,
        numbering: Numbering::MessageId,
        upgrade: Box::new(move |group, member| {
            let call = format!("{NAMESPACE}.subscribeConvoEvents");
            let account = &convos[group].accounts[member];
            Upgrade {
                path: format!("/xrpc/{call}"),
                token: Some(
                    account
                        .service_token(SERVICE_DID, &call, TOKEN_LIFE)
                        .unwrap(),
                ),
                greeting: None,
            }
        }),
        publisher,
        pid: process.pid(),
        _life: Box::new((process, directory, node)),
    }
}

/// One conversation. Its group has one member as MLS sees it, for the relay holds no
/// tree and cannot tell.
struct Convo {
    accounts: Vec<Arc<Account>>,
    id: ConvoId,
    group: Mutex<Group>,
}

impl Convo {
    fn new(members: usize) -> Self {
        let accounts: Vec<_> = (0..members)
            .map(|_| Arc::new(Account::generate(Curve::P256).unwrap()))
            .collect();
        let device = Arc::new(Device::new(accounts[0].did(), "phone").unwrap());
        let group = device.create_group().unwrap();
        Self {
            accounts,
            id: ConvoId::parse(&group.id()).unwrap(),
            group: Mutex::new(group),
        }
    }

    fn writer(&self) -> &Arc<Account> {
        &self.accounts[0]
    }
}

async fn populate(node: &Node, convos: &[Convo]) {
    let seats = convos.iter().flat_map(|convo| {
        let id = convo.id.expose();
        let accounts = convo.accounts.iter();
        accounts.map(move |account| format!("('{id}', '{}')", account.did()))
    });
    let seats = seats.collect::<Vec<_>>().join(", ");
    node.database.seat(&format!("VALUES {seats}")).await;
}

async fn start_process(node: &Node, directory: &Directory) -> RelayProcess {
    let mut environment = raised_limits();
    environment.push(("DATABASE_URL".to_owned(), node.database.url()));
    // The process inherits this thread's core.
    keep_to(SERVER_CORE);
    let process = RelayProcess::start_built(directory.url(), environment).await;
    keep_to(OTHER_CORE);
    process.unwrap()
}

async fn append(store: Store, posts: Posts, convos: Arc<Vec<Convo>>) {
    while let Some((group, number)) = next(&posts).await {
        let convo = &convos[group];
        let sender = Did::parse(convo.writer().did()).unwrap();
        let mut message = message(convo.id.clone(), sender, CIPHERTEXT_LEN);
        message.message_id = MessageId::parse(&message_id(number)).unwrap();
        store.append(message).await.unwrap();
    }
}

async fn call(relay: Arc<Relay>, posts: Posts, convos: Arc<Vec<Convo>>) {
    let clients: Vec<_> = convos
        .iter()
        .map(|convo| XrpcClient::new(relay.clone(), convo.writer().clone(), HttpVersion::Two))
        .collect();
    while let Some((group, number)) = next(&posts).await {
        let id = message_id(number);
        let input = seal(&mut *convos[group].group.lock().await, &id, b"load").unwrap();
        let answer = clients[group].procedure::<Value>("sendMessage", &input);
        if answer.await.is_err() {
            // The relay ends, or else the event does not reach anyone, which the crowd
            // does not overlook.
            return;
        }
    }
}

/// More than events are under way in a window, and enough for a rate.
const PUBLISHERS: usize = 32;
/// The smallest bucket. Subscribers hear only that it is there.
const CIPHERTEXT_LEN: usize = 512;
