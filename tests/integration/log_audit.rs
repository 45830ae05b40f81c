//! No log line and no metric holds an identity, whatever is called, however it ends,
//! and however much is logged: our own code and its dependencies at `trace`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mls_relay::types::{CoarseTime, Kind, MessageId, Nsid};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::frame::Framing;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::phone::Phone;
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::relay_process::{RelayOptions, RelayProcess};
use mls_relay_loadtest::subscription::Subscribe;
use mls_relay_loadtest::xrpc_client::{HttpVersion, XrpcClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::appview::AppView;
use crate::database::Database;
use crate::secrets::Secrets;

const SERVICE_DID: &str = "did:web:relay.test";
/// Stands wherever a stranger can put text of its own choice.
const MARK: &str = "planted0mark0of0a0stranger";

/// One raw request; the answer's bytes.
async fn raw(relay: &Relay, request: &str) -> String {
    let mut stream = relay.connect(&[b"http/1.1"]).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A relay that refuses may close without a TLS goodbye; a stream of events does not
    // end, and what came of it until then is the answer.
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Every call with every kind of bad credential and bad input.
async fn call_badly(relay: &Relay, account: &Account, convo: &str, secrets: &mut Secrets) {
    for call in Nsid::ALL {
        let (verb, target) = match call.kind() {
            Kind::Procedure => ("POST", String::new()),
            Kind::Query | Kind::Subscription => (
                "GET",
                format!("?convoId={convo}&dids={}&{MARK}={MARK}", account.did()),
            ),
        };
        let good = account
            .service_token(SERVICE_DID, call.as_str(), Duration::from_secs(60))
            .unwrap();
        let expired = account
            .sign_token(
                &serde_json::json!({"typ": "JWT", "alg": account.key().alg()}),
                &serde_json::json!({"iss": account.did(), "aud": SERVICE_DID, "exp": 1, "lxm": call.as_str(), "jti": MARK}),
            )
            .unwrap();
        for token in [
            &good,
            &good,
            &expired,
            &format!("{}x", &good[..good.len() - 9]),
        ] {
            secrets.add("a token", token);
            let body = format!(
                r#"{{"convoId":"{convo}","targetDid":"{}","{MARK}":"{MARK}"}}"#,
                account.did()
            );
            let answer = raw(
                relay,
                &format!(
                    "{verb} /xrpc/{}{target} HTTP/1.1\r\nhost: {MARK}.test\r\nuser-agent: {MARK}\r\n\
                     authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
                     content-length: {}\r\nconnection: close\r\n\r\n{body}",
                    call.as_str(),
                    body.len(),
                ),
            )
            .await;
            assert!(
                answer.starts_with("HTTP/1.1 "),
                "no answer to {}",
                call.name()
            );
        }
    }
}

async fn metrics(relay: &RelayProcess) -> String {
    let mut stream = tokio::net::TcpStream::connect(relay.admin()).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_and_no_metric_holds_an_identity() {
    let mut database = Database::start().await;
    let directory = Directory::start().await.unwrap();
    let appview = AppView::start().await;
    let mut environment = vec![
        ("APPVIEW_URL".to_owned(), appview.url()),
        ("DATABASE_URL".to_owned(), database.url()),
        ("RUST_LOG".to_owned(), "trace".to_owned()),
        ("LOG_FORMAT".to_owned(), "json".to_owned()),
    ];
    for limit in [
        "RATE_LIMIT_IP_PER_MINUTE",
        "RATE_LIMIT_DID_DEFAULT",
        "PENALTY_STRIKES",
        "VERIFICATIONS_PER_MINUTE",
        "CONNECTIONS_PER_IP_PER_SECOND",
    ] {
        environment.push((limit.to_owned(), "10000".to_owned()));
    }
    let process = RelayProcess::start(&RelayOptions {
        binary: env!("CARGO_BIN_EXE_mls-relay").into(),
        service_did: SERVICE_DID.to_owned(),
        plc_url: directory.url(),
        environment,
    })
    .await
    .unwrap();
    let relay = process.relay().unwrap();
    let relay = Arc::new(relay);
    let mut secrets = Secrets::default();
    secrets.add("a planted text", MARK);

    // Good calls: two people, a group, messages both ways, a subscription.
    let accounts: Vec<Arc<Account>> = [Curve::P256, Curve::Secp256k1]
        .map(|curve| Arc::new(Account::generate(curve).unwrap()))
        .into();
    let mut phones = Vec::new();
    for account in &accounts {
        directory.publish(account);
        secrets.add("an account", account.did());
        let client = XrpcClient::new(relay.clone(), account.clone(), HttpVersion::One);
        let phone = Phone::new(MARK, client).unwrap();
        secrets.add("a device", phone.identity().split_once('#').unwrap().1);
        phone.register().await.unwrap();
        phone.publish_key_packages(2).await.unwrap();
        phones.push(phone);
    }
    let [alice, bob] = phones.as_mut_slice() else {
        unreachable!()
    };
    let convo = alice.create_conversation(&[bob.did()]).await.unwrap();
    secrets.add("a conversation", &convo);
    bob.join(&convo).await.unwrap();
    for framing in [Framing::DagCbor, Framing::Json] {
        let wanted = Subscribe {
            framing,
            cursor: Some("0".to_owned()),
            convo: Some(convo.clone()),
        };
        let mut stream = bob.subscribe(wanted).await.unwrap();
        let id = MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000));
        secrets.add("a message", id.expose());
        alice
            .send(id.expose(), MARK.as_bytes(), &mut Vec::new())
            .await
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < deadline, "the message did not come");
            let event = stream.next().await.unwrap().unwrap();
            if let Some(cursor) = event.body.cursor.as_deref().filter(|_| event.is_durable()) {
                secrets.add("a cursor", cursor);
            }
            if event.body.message_id.as_deref() == Some(id.expose()) {
                break;
            }
        }
        stream.close().await.unwrap();
    }
    // What is kept nowhere is not kept in the log either.
    let mut passing = alice
        .seal(
            MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000)).expose(),
            MARK.as_bytes(),
        )
        .unwrap();
    let fields = passing.as_object_mut().unwrap();
    fields.remove("msgId");
    secrets.add(
        "a ciphertext",
        fields["ciphertext"]["$bytes"].as_str().unwrap(),
    );
    let told: serde_json::Value = Arc::clone(alice.client())
        .procedure("sendEphemeral", &passing)
        .await
        .unwrap();
    assert!(told["receivedAt"].is_string());

    let mut read = Vec::new();
    bob.read_on(&mut read).await.unwrap();
    assert!(!read.is_empty());

    // The same stream as server-sent events.
    let call = Nsid::StreamConvoEvents.as_str();
    let life = Duration::from_secs(60);
    let token = accounts[0].service_token(SERVICE_DID, call, life).unwrap();
    secrets.add("a token", &token);
    let request = format!(
        "GET /xrpc/{call}?cursor=0&convoId={convo}&hydrate=true HTTP/1.1\r\nhost: {MARK}.test\r\n\
         last-event-id: 0\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let told = raw(&relay, &request).await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(told.contains(r#""message":{"#), "{told}");
    // A block, about which the AppView is asked.
    appview.block(accounts[0].did(), accounts[1].did());
    let change = serde_json::json!({
        "blockerDid": accounts[0].did(), "blockedDid": accounts[1].did(), "action": "created",
    });
    let client = Arc::clone(alice.client());
    let told: serde_json::Value = client
        .procedure("handleBlockChange", &change)
        .await
        .unwrap();
    assert_eq!(told["affectedConvos"][0]["convoId"], convo);

    // Bad calls, and calls while Postgres is away.
    call_badly(&relay, &accounts[0], &convo, &mut secrets).await;
    database.down("immediate");
    let id = MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000));
    secrets.add("a message", id.expose());
    assert!(
        alice
            .send(id.expose(), b"lost", &mut Vec::new())
            .await
            .is_err()
    );
    database.up().await;

    let log = process.said();
    let lines = log.lines().filter(|line| line.starts_with('{')).count();
    // An audit of nothing proves nothing: the outage at least must be in it.
    assert!(lines > 5, "only {lines} lines were logged");
    assert!(
        log.contains("Did~") && log.contains("ClientIp~"),
        "nobody can be followed through the log"
    );
    let found = secrets.found_in(&log);
    assert!(found.is_empty(), "the log holds {found:?}");
    let metrics = metrics(&process).await;
    assert!(metrics.contains("relay_auth_checks_total"));
    let found = secrets.found_in(&metrics);
    assert!(found.is_empty(), "metrics hold {found:?}");
    // The peer's address is in no line but the one that says where we listen.
    let addressed = log
        .lines()
        .filter(|line| line.starts_with('{') && line.contains("127.0.0.1"));
    let addressed: Vec<_> = addressed.collect();
    assert!(addressed.is_empty(), "an address is logged: {addressed:?}");
}
