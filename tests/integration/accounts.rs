//! A device or an account that is deleted takes what hangs on it along: at once, in one
//! transaction, and also what was given out and not yet used.

use std::collections::BTreeMap;

use chrono::Utc;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use mls_relay::auth::{self, Authenticator};
use mls_relay::edge::{self, Admin, Health};
use mls_relay::limits::{Clock, Limits, Settings};
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::telemetry::Metrics;
use mls_relay::types::Did;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::event_stream::EventStream;
use crate::phone::{Phone, people};
use crate::relay::SERVICE_DID;
use crate::world::{World, text};

/// What is stored of an account, table by table.
async fn stored(world: &World, did: &str) -> BTreeMap<&'static str, i64> {
    let mut found = BTreeMap::new();
    for (table, owned) in [
        ("devices", "user_did = $1"),
        ("key_packages", "user_did = $1"),
        ("welcomes", "user_did = $1"),
        ("read_cursors", "user_did = $1"),
        ("opt_ins", "user_did = $1"),
        ("blocks", "$1 IN (blocker_did, blocked_did)"),
        ("block_conflicts", "$1 IN (blocker_did, blocked_did)"),
        ("members", "user_did = $1 AND left_seq IS NULL"),
        ("event_stream", "user_did = $1"),
    ] {
        let sql = format!("SELECT count(*) FROM {table} WHERE {owned}");
        found.insert(table, world.database.one(&sql, &[&did]).await);
    }
    found
}

/// Bob with two devices in a conversation of Alice's, of which one has a Welcome
/// waiting; with a cursor, his consent, and a block.
struct Story {
    world: World,
    alice: Phone,
    bob: Phone,
    tablet: Phone,
    convo: String,
}

impl Story {
    async fn begin() -> Self {
        let (world, [alice, bob]) = people().await;
        let tablet = Phone::of(&bob).await;
        bob.post("publishKeyPackage", &bob.key_package()).await;
        let group = alice.found(&[bob.did()]).await;
        tablet.join(&group).await;
        let convo = group.id();
        let cursor = json!({"convoId": convo, "cursor": "00000000000000000000000001"});
        bob.post("updateCursor", &cursor).await;
        bob.post("optIn", &json!({})).await;
        for (blocker, blocked) in [("did:plc:x", bob.did()), (bob.did(), alice.did())] {
            let block = "INSERT INTO blocks (blocker_did, blocked_did) VALUES ($1, $2)";
            world.database.change(block, &[&blocker, &blocked]).await;
            let told = "SELECT change_block($1, $2, true)";
            world.database.change(told, &[&blocker, &blocked]).await;
        }
        Self {
            world,
            alice,
            bob,
            tablet,
            convo,
        }
    }

    /// Whether a ticket that Bob got just now is still good after `deletion`.
    async fn ticket_after(&self, deletion: impl AsyncFnOnce()) -> bool {
        let settings = auth::Settings {
            service_did: SERVICE_DID.to_owned(),
            plc_url: self.world.directory.url(),
            ..auth::Settings::default()
        };
        let node = Authenticator::start(
            Live::new(settings),
            self.world.store.clone(),
            Shutdown::default(),
        );
        let node = node.await.unwrap();
        let given = self.bob.post("getSubscriptionTicket", &json!({})).await;
        deletion().await;
        let ticket = given["ticket"].as_str().unwrap();
        let ticket = node.check_ticket(ticket).unwrap();
        node.redeem(ticket).await.is_ok()
    }

    /// Makes the last step of every deletion fail.
    async fn break_the_end(&self) {
        let refusal = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON members
                 FOR EACH ROW EXECUTE FUNCTION refuse()";
        self.world.database.run(refusal).await;
    }

    /// What is stored of him.
    async fn of_bob(&self) -> BTreeMap<&'static str, i64> {
        stored(&self.world, self.bob.did()).await
    }

    async fn events(&self) -> Vec<String> {
        let sql = "SELECT payload::text FROM event_stream ORDER BY seq";
        self.world.database.all(sql, &[]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_deleted_takes_everything_along_at_once() {
    let story = Story::begin().await;
    let before = story.of_bob().await;
    assert!(before.values().all(|count| *count > 0), "{before:?}");
    let admin = Operator::of(&story.world);
    let target = format!("/accounts?did={}", story.bob.did());

    let is_good = story
        .ticket_after(async || {
            let (status, gone) = admin.ask(Method::DELETE, &target).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(gone["devices"], 2);
            assert_eq!(gone["keyPackages"], before["key_packages"]);
            assert_eq!(gone["welcomes"], before["welcomes"]);
            assert_eq!(gone["conversations"], 1);
            assert_eq!(gone["optIns"], before["opt_ins"]);
        })
        .await;
    assert!(!is_good, "a ticket from before opens nothing");
    let after = story.of_bob().await;
    assert!(after.values().all(|count| *count == 0), "{after:?}");

    // Alice is told, once, and has all that is hers.
    let left = format!(r#""did":"{}","action":"left""#, story.bob.did());
    let told = story.events().await;
    assert_eq!(told.iter().filter(|event| event.contains(&left)).count(), 1);
    let members = story.alice.seats().await;
    assert_eq!(members.len(), 1);
    let named = [("convoId", story.convo.as_str())];
    let refused = story.bob.get_refused("getEpoch", &named).await;
    assert_eq!(refused.name, "ConvoNotFound");

    // There is nothing left to delete; and nobody is deleted by mistake.
    let (status, gone) = admin.ask(Method::DELETE, &target).await;
    assert_eq!((status, &gone["devices"]), (StatusCode::OK, &json!(0)));
    for (method, target, wanted, word) in [
        (Method::DELETE, "/accounts", 400, "did: "),
        (Method::DELETE, "/accounts?did=bob", 400, "did: "),
        (Method::PUT, "/penalties?address=bob", 400, "address"),
        (Method::GET, target.as_str(), 405, "DELETE"),
        (Method::POST, "/health", 405, "GET or HEAD"),
    ] {
        let (status, told) = admin.ask(method, target).await;
        assert_eq!(
            (status.as_u16(), &told["error"]),
            (wanted, &json!("InvalidRequest"))
        );
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
    }
    let of_alice = stored(&story.world, story.alice.did()).await;
    assert_eq!((of_alice["devices"], of_alice["members"]), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_the_past_name_nobodys_devices_when_the_account_is_gone() {
    let story = Story::begin().await;
    // A claim has told Bob that few packages are left; now the members hear of his devices.
    let watch = Phone::of(&story.bob).await;
    let package = text(&story.bob.device.key_package().unwrap());
    let request = json!({"convoId": story.convo, "keyPackage": package});
    story.bob.post("requestRejoin", &request).await;
    let naming = async || {
        let sql = "SELECT kind FROM event_stream WHERE user_did = $1 \
                   OR strpos(payload::text, $1) > 0 ORDER BY seq";
        let mut kinds: Vec<String> = story.world.database.all(sql, &[&story.bob.did()]).await;
        kinds.dedup();
        kinds
    };
    let device = watch.device.device_id();
    let told = async || {
        let told = story.events().await;
        told.iter().filter(|event| event.contains(device)).count()
    };
    let before = naming().await;
    for kind in ["keyPackages", "newDevice", "readditionRequested"] {
        assert!(before.iter().any(|known| known == kind), "{before:?}");
    }
    assert_eq!(told().await, 1);
    let count = story.events().await.len();
    let admin = Operator::of(&story.world);
    let target = format!("/accounts?did={}", story.bob.did());
    assert_eq!(admin.ask(Method::DELETE, &target).await.0, StatusCode::OK);
    // Only who came and went is left, as the conversation must know.
    assert_eq!(naming().await, ["membershipChange"]);
    assert_eq!(told().await, 0);
    // One event more, that he left, and no number is missing: Alice reads it all, of a node
    // that remembers nothing.
    assert_eq!(story.events().await.len(), count + 1);
    let node = story.world.another_node().await;
    let alice = node.client(&story.alice);
    let mut alices = EventStream::open(&alice, &[("cursor", "0")]).await;
    let mut names = Vec::new();
    loop {
        let event = alices.next().await.unwrap();
        names.push(event.name().to_owned());
        if event.name() == "#synced" {
            break;
        }
    }
    assert!(!names.iter().any(|name| name == "#gap"), "{names:?}");
    let changes = names.iter().filter(|name| *name == "#conversationUpdated");
    assert!(changes.count() >= 2, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_repeated_looks_at_what_came_since() {
    let story = Story::begin().await;
    let did = Did::parse(story.bob.did()).unwrap();
    let delete = async || {
        let gone = story.world.store.delete_account(&did, Utc::now()).await;
        gone.unwrap()
    };
    // An event that names him, at the very beginning.
    let name = async || {
        let old = "UPDATE event_stream SET kind = 'newDevice', payload = format(
                '{\"cursor\":\"%s\",\"convoId\":\"%s\",\"type\":\"newDevice\",\"did\":\"%s\"}',
                payload ->> 'cursor', convo_id, $1::text)::json
            WHERE seq = (SELECT min(seq) FROM event_stream WHERE convo_id IS NOT NULL)";
        assert_eq!(story.world.database.change(old, &[&did.expose()]).await, 1);
    };
    let named = async || {
        let told = "SELECT count(*) FROM event_stream WHERE kind = 'newDevice'";
        story.world.database.one::<i64>(told, &[]).await
    };
    let later = async || {
        let later = "UPDATE used_jti SET expires_at = expires_at + interval '1 hour'";
        story.world.database.run(later).await;
    };
    name().await;
    delete().await;
    assert_eq!(named().await, 0);
    // Where everything was looked through, it is not looked through anew.
    later().await;
    name().await;
    delete().await;
    assert_eq!(named().await, 1);
    let forgotten = "DELETE FROM used_jti";
    story.world.database.run(forgotten).await;
    delete().await;
    assert_eq!(named().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_deleted_takes_its_own_along_and_the_last_one_the_rest() {
    let story = Story::begin().await;
    let before = story.of_bob().await;
    let is_good = story
        .ticket_after(async || {
            story.bob.delete(&story.bob).await;
        })
        .await;
    assert!(!is_good, "a ticket from before opens nothing");
    let after = story.of_bob().await;
    assert_eq!((after["devices"], after["members"]), (1, 1));
    assert!(after["key_packages"] < before["key_packages"]);
    let own = after["welcomes"] < before["welcomes"];
    assert!(own, "it waited for nobody else");
    assert_eq!(after["read_cursors"], 1, "the tablet reads on");

    story.bob.delete(&story.tablet).await;
    let after = story.of_bob().await;
    for table in [
        "devices",
        "key_packages",
        "welcomes",
        "read_cursors",
        "members",
    ] {
        assert_eq!(after[table], 0, "{table}");
    }
    assert_eq!(after["opt_ins"], 1, "the account lives");
}

/// Its name may have come to lead to this machine (DNS rebinding): then it asks for nothing that
/// is not its own, and its browser lets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_on_the_web_changes_nothing_on_the_operators_listener() {
    let story = Story::begin().await;
    let admin = Operator::of(&story.world);
    let before = story.of_bob().await;
    let account = format!("/accounts?did={}", story.bob.did());
    let penalty = "/penalties?address=192.0.2.1";
    for (method, target) in [
        (Method::DELETE, account.as_str()),
        (Method::PUT, penalty),
        (Method::DELETE, penalty),
    ] {
        for origin in ["http://page.example:9090", "null"] {
            let page = [("host", "page.example:9090"), ("origin", origin)];
            let (status, _) = admin.ask_with(method.clone(), target, &page).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {target}");
        }
    }
    assert_eq!(story.of_bob().await, before);
    let (_, penalties) = admin.ask(Method::GET, "/penalties").await;
    assert_eq!(penalties["penalties"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_fails_deletes_nothing() {
    let story = Story::begin().await;
    story.break_the_end().await;
    let before = story.of_bob().await;
    let did = Did::parse(story.bob.did()).unwrap();
    let is_good = story
        .ticket_after(async || {
            let deleted = story.world.store.delete_account(&did, Utc::now()).await;
            assert!(deleted.is_err());
            let input = json!({"deviceId": story.bob.device.device_id()});
            let refused = story.bob.post_refused("deleteDevice", &input).await;
            assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
        })
        .await;
    assert!(is_good, "nor are tickets revoked");
    assert_eq!(story.of_bob().await, before);
}

/// An operator at a relay's own listener.
struct Operator {
    address: std::net::SocketAddr,
    _shutdown: Shutdown,
}

impl Operator {
    fn of(world: &World) -> Self {
        let shutdown = Shutdown::default();
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = admin.address().unwrap();
        admin.serve(
            Health::new(shutdown.clone(), []),
            Metrics::install().unwrap(),
            Limits::new(Live::new(Settings::default()), Clock::system()),
            world.store.clone(),
            Live::new(edge::Settings::default()),
            &shutdown,
        );
        Self {
            address,
            _shutdown: shutdown,
        }
    }

    async fn ask(&self, method: Method, target: &str) -> (StatusCode, Value) {
        self.ask_with(method, target, &[]).await
    }

    async fn ask_with(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, Value) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, driver) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(driver);
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in [("host", "admin")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}
