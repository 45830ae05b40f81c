//! OpenMLS phones that take orders over a socket, a JSON object a line and an
//! answer a line, so that clients in other languages can meet them in a
//! conversation. A connection is a phone.

use std::net::SocketAddr;
use std::sync::Arc;

use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::mls::Received;
use mls_relay_loadtest::phone::{Content, Phone, PhoneError, Reading};
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::xrpc_client::{HttpVersion, XrpcClient};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const KEY_PACKAGES: usize = 2;

#[derive(Deserialize)]
#[serde(
    tag = "order",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Order {
    /// Who the phone is, and the DID document that the directory should serve.
    Introduce,
    Register,
    Found {
        dids: Vec<String>,
    },
    Join {
        convo_id: String,
    },
    Add {
        did: String,
    },
    Remove {
        did: String,
    },
    Send {
        message_id: String,
        text: String,
    },
    /// Everything that was read since the last time.
    Read,
    /// The group as this phone sees it.
    Describe,
}

/// Listens for those who want a phone, until the runtime ends.
pub(super) async fn listen(relay: Arc<Relay>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(obey(stream, Arc::clone(&relay)));
        }
    });
    Ok(address)
}

async fn obey(mut stream: TcpStream, relay: Arc<Relay>) {
    let account = Arc::new(Account::generate(Curve::P256).unwrap());
    let client = XrpcClient::new(relay, Arc::clone(&account), HttpVersion::Two);
    let mut phone = Phone::new("OpenMLS", client).unwrap();
    let mut readings = Vec::new();
    let (from, mut to) = stream.split();
    let mut orders = BufReader::new(from).lines();
    while let Ok(Some(line)) = orders.next_line().await {
        let order = serde_json::from_str(&line).unwrap();
        let answer = match carry_out(order, &account, &mut phone, &mut readings).await {
            Ok(done) => json!({"done": done}),
            Err(error) => json!({"failed": error.to_string()}),
        };
        if to
            .write_all(format!("{answer}\n").as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn carry_out(
    order: Order,
    account: &Account,
    phone: &mut Phone,
    readings: &mut Vec<Reading>,
) -> Result<Value, PhoneError> {
    Ok(match order {
        Order::Introduce => json!({"did": phone.did(), "document": account.document()}),
        Order::Register => {
            phone.register().await?;
            json!(phone.publish_key_packages(KEY_PACKAGES).await?)
        }
        Order::Found { dids } => {
            let dids: Vec<&str> = dids.iter().map(String::as_str).collect();
            json!(phone.create_conversation(&dids).await?)
        }
        Order::Join { convo_id } => json!(phone.join(&convo_id).await?),
        Order::Add { did } => json!(phone.add(&[&did], readings).await?),
        Order::Remove { did } => json!(phone.remove(&did, readings).await?),
        Order::Send { message_id, text } => {
            json!(
                phone
                    .send(&message_id, text.as_bytes(), readings)
                    .await?
                    .seq
            )
        }
        Order::Read => {
            phone.read_on(readings).await?;
            readings.drain(..).filter_map(told).collect()
        }
        Order::Describe => {
            let group = phone.group().ok_or(PhoneError::NoConversation)?;
            json!({
                "epoch": group.epoch(),
                "authenticator": hex(&group.authenticator()),
                "members": group.members(),
            })
        }
    })
}

/// What a reading is to those who gave the order; commits and our own are nothing.
fn told(reading: Reading) -> Option<Value> {
    match reading.content {
        Content::Read(Received::Application {
            sender,
            message_id,
            plaintext,
        }) => Some(json!({
            "sender": sender,
            "messageId": message_id,
            "text": String::from_utf8_lossy(&plaintext),
        })),
        Content::Unreadable(error) => Some(json!({"unreadable": error.to_string()})),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
