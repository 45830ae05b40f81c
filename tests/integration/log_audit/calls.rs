//! Calls, good and bad, of accounts and of operators.

use std::sync::Arc;
use std::time::Instant;

use mls_relay::types::{Kind, Nsid};
use mls_relay_loadtest::frame::Framing;
use mls_relay_loadtest::subscription::Subscribe;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::relay::eventually;

use super::sockets::hears;
use super::{CLIENTS, Cast, MARK, PATIENCE, SERVICE_DID, Stage};

impl Stage {
    /// A message in each framing, to somebody who listens.
    pub(super) async fn messages_are_followed(&mut self, cast: &mut Cast) {
        for framing in [Framing::DagCbor, Framing::Json] {
            let wanted = Subscribe {
                framing,
                cursor: Some("0".to_owned()),
                convo: Some(cast.convo.clone()),
            };
            let mut stream = cast.bob.subscribe(wanted).await.unwrap();
            let id = self.message_id();
            let mut readings = Vec::new();
            let sent = cast.alice.send(&id, MARK.as_bytes(), &mut readings);
            sent.await.unwrap();
            let deadline = Instant::now() + PATIENCE;
            loop {
                assert!(Instant::now() < deadline, "the message did not come");
                let event = stream.next().await.unwrap().unwrap();
                if let Some(cursor) = event.body.cursor.as_deref().filter(|_| event.is_durable()) {
                    self.secrets.add("a cursor", cursor);
                }
                if event.body.message_id.as_ref() == Some(&id) {
                    break;
                }
            }
            stream.close().await.unwrap();
        }
        let mut read = Vec::new();
        cast.bob.read_on(&mut read).await.unwrap();
        assert!(!read.is_empty());
    }

    /// What is kept nowhere is not kept in the log either.
    pub(super) async fn something_passes(&mut self, cast: &mut Cast) {
        let id = self.message_id();
        let mut passing = cast.alice.seal(&id, MARK.as_bytes()).unwrap();
        let fields = passing.as_object_mut().unwrap();
        fields.remove("msgId");
        let ciphertext = fields["ciphertext"]["$bytes"].as_str().unwrap();
        self.secrets.add("a ciphertext", ciphertext);
        let client = Arc::clone(cast.alice.client());
        let told: Value = client.procedure("sendEphemeral", &passing).await.unwrap();
        assert!(told["receivedAt"].is_string());
    }

    /// The same stream as server-sent events.
    pub(super) async fn events_are_streamed(&mut self, cast: &Cast) {
        let call = Nsid::StreamConvoEvents.as_str();
        let token = self.token(&cast.accounts[0], call);
        let convo = &cast.convo;
        let request = format!(
            "GET /xrpc/{call}?cursor=0&convoId={convo}&hydrate=true HTTP/1.1\r\n\
             host: {MARK}.test\r\nlast-event-id: 0\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let mut stream = self.relay.connect(&[b"http/1.1"]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        hears(&mut stream, r#""message":{"#).await;
    }

    /// A block, about which the AppView is asked.
    pub(super) async fn a_block_is_told(&mut self, cast: &Cast) {
        let [alice, bob] = [cast.accounts[0].did(), cast.accounts[1].did()];
        self.appview.block(alice, bob);
        let change = json!({ "blockerDid": alice, "blockedDid": bob, "action": "created" });
        let client = Arc::clone(cast.alice.client());
        let told: Value = client
            .procedure("handleBlockChange", &change)
            .await
            .unwrap();
        assert_eq!(told["affectedConvos"][0]["convoId"], cast.convo);
    }

    /// Every call with every kind of bad credential and bad input.
    pub(super) async fn calls_go_wrong(&mut self, cast: &Cast) {
        let account = &cast.accounts[0];
        for call in Nsid::ALL {
            let good = self.token(account, call.as_str());
            let header = json!({"typ": "JWT", "alg": account.key().alg()});
            let claims = json!({
                "iss": account.did(), "aud": SERVICE_DID, "exp": 1, "lxm": call.as_str(), "jti": MARK,
            });
            let expired = account.sign_token(&header, &claims).unwrap();
            let broken = format!("{}x", &good[..good.len() - 9]);
            for token in [&good, &good, &expired, &broken] {
                self.secrets.add("a token", token);
                let request = bad_request(*call, &cast.convo, account.did(), token);
                let answer = self.raw(&request).await;
                let is_answer = answer.starts_with("HTTP/1.1 ");
                assert!(is_answer, "no answer to {}", call.name());
            }
        }
    }

    pub(super) async fn postgres_is_away(&mut self, cast: &mut Cast) {
        self.database.down("immediate");
        let id = self.message_id();
        let lost = cast.alice.send(&id, b"lost", &mut Vec::new()).await;
        assert!(lost.is_err());
        self.database.up().await;
    }

    /// Operators name people, well and badly.
    pub(super) async fn operators_act(&mut self, cast: &Cast) {
        let did = cast.accounts[1].did();
        let account = format!("/accounts?did={did}");
        eventually("the account is deleted", async || {
            self.admin("DELETE", &account).await.contains(" 200 ")
        })
        .await;
        for (method, target, status) in [
            ("DELETE", format!("/accounts?did={MARK}"), 400),
            ("PUT", format!("/penalties?did={did}"), 204),
            ("PUT", format!("/penalties?address={}", CLIENTS[0]), 204),
            ("PUT", format!("/penalties?address={}", CLIENTS[1]), 204),
            ("PUT", format!("/penalties?address={MARK}"), 400),
            ("GET", "/penalties".to_owned(), 200),
            ("DELETE", format!("/penalties?address={}", CLIENTS[0]), 204),
        ] {
            let answer = self.admin(method, &target).await;
            let wanted = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&wanted), "{method} {target}: {answer}");
        }
    }
}

fn bad_request(call: Nsid, convo: &str, did: &str, token: &str) -> String {
    let (verb, query) = match call.kind() {
        Kind::Procedure => ("POST", String::new()),
        Kind::Query | Kind::Subscription => {
            ("GET", format!("?convoId={convo}&dids={did}&{MARK}={MARK}"))
        }
    };
    let body = format!(r#"{{"convoId":"{convo}","targetDid":"{did}","{MARK}":"{MARK}"}}"#);
    format!(
        "{verb} /xrpc/{}{query} HTTP/1.1\r\nhost: {MARK}.test\r\nuser-agent: {MARK}\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        call.as_str(),
        body.len(),
    )
}
