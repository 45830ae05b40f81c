//! Conversations of two people with real MLS groups, and ready requests of theirs: a
//! token may be used once, and signing it would measure the generator.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::load::tally::message_id;
use mls_relay_loadtest::phone::Phone;
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::xrpc_client::{HttpVersion, NAMESPACE, XrpcClient};

/// One conversation: who writes, and who listens.
pub(crate) struct Conversation {
    pub(crate) id: String,
    pub(crate) writer: Arc<Account>,
    pub(crate) reader: Arc<Account>,
    /// A send of it around the message's id. The ciphertext is the same each time: no
    /// server can tell.
    send: [String; 2],
}

/// A request that is ready to go.
pub(crate) struct Send {
    pub(crate) number: usize,
    pub(crate) request: Request<Full<Bytes>>,
}

/// Founds conversations at the relay.
pub(crate) async fn found(
    relay: &Arc<Relay>,
    directory: &Directory,
    count: usize,
) -> Vec<Conversation> {
    let mut conversations = Vec::new();
    for _ in 0..count {
        let phone = || {
            let account = Arc::new(directory.account(Curve::P256).unwrap());
            let client = XrpcClient::new(Arc::clone(relay), account, HttpVersion::One);
            Phone::new("phone", client).unwrap()
        };
        let (mut writer, reader) = (phone(), phone());
        writer.register().await.unwrap();
        reader.register().await.unwrap();
        let id = writer.create_conversation(&[reader.did()]).await.unwrap();
        let placeholder = message_id(0);
        let body = writer.seal(&placeholder, &[b'x'; PLAINTEXT]).unwrap();
        assert_eq!(body["paddedSize"], CIPHERTEXT);
        let body = body.to_string();
        let (before, after) = body.split_once(&placeholder).unwrap();
        conversations.push(Conversation {
            id,
            writer: Arc::clone(writer.client().account()),
            reader: Arc::clone(reader.client().account()),
            send: [before.to_owned(), after.to_owned()],
        });
    }
    conversations
}

impl Conversation {
    /// A send of the message with this number.
    pub(crate) fn send(&self, number: usize, relay: &Relay) -> Send {
        let call = format!("{NAMESPACE}.sendMessage");
        let token = self
            .writer
            .service_token(relay.service_did(), &call, TOKEN_LIFE);
        let id = message_id(number);
        let [before, after] = &self.send;
        let body = [before, id.as_str(), after].concat();
        let request = Request::post(format!("/xrpc/{call}"))
            .header(HOST, relay.authority())
            .header(AUTHORIZATION, format!("Bearer {}", token.unwrap()))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        Send { number, request }
    }
}

/// What a message has in it, and what that makes after MLS and padding.
const PLAINTEXT: usize = 600;
const CIPHERTEXT: usize = 1024;
/// From its signing to the end of the phase that it is for.
const TOKEN_LIFE: Duration = Duration::from_secs(120);
