//! Everything that a subscription tells, in both framings, is what its lexicon says, and
//! the same in both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use mls_relay::types::{CoarseTime, ConvoId, Cursor, Epoch, MessageId, Seq};
use mls_relay::wire::calls::{MessageView, TicketText};
use mls_relay::wire::{
    BytesOut, Envelope, Frame, Framing, Info, LimitsNotice, Notice, Passing, Standing, Standings,
    event_frame, notice_frame, passing_frame,
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::lexicon::Lexicons;

const CURSOR: &str = "01HF4Y8R000000000000000019";
const ULID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const DEVICE: &str = "9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e5f";

/// What there is to tell.
enum News {
    /// What the stream stores of it, less what all have; and the message that comes along.
    Event(Value, Option<MessageView>),
    Notice(Notice),
    Passing(Passing),
}

impl News {
    fn frame(&self, framing: Framing) -> Frame {
        match self {
            Self::Event(fields, message) => {
                let mut stored = json!({"cursor": CURSOR, "convoId": "abcd"});
                let stored = stored.as_object_mut().unwrap();
                for (name, value) in fields.as_object().unwrap() {
                    stored.insert(name.clone(), value.clone());
                }
                stored.retain(|_, value| !value.is_null());
                let text = Value::from(stored.clone()).to_string();
                let envelope = Envelope::parse(&text).unwrap();
                event_frame(framing, Seq::new(41), &envelope, message.as_ref()).unwrap()
            }
            Self::Notice(notice) => notice_frame(framing, notice).unwrap(),
            Self::Passing(passing) => passing_frame(framing, passing).unwrap(),
        }
    }
}

/// All of it, with and without what may be absent.
fn news() -> Vec<(&'static str, News)> {
    let event = |fields| News::Event(fields, None);
    let passing = |fields| News::Passing(serde_json::from_value(fields).unwrap());
    let (user, id) = ("did:plc:bob", json!({"messageId": ULID}));
    let receipt = json!({"convoId": "abcd", "epoch": 3, "commitHash": "A".repeat(43),
        "previousReceiptHash": "A".repeat(43), "signature": "A".repeat(86)});
    let epoch = json!({"type": "epochAdvanced", "epoch": 3, "messageId": ULID, "receipt": receipt});
    let joined = json!({"type": "membershipChange", "did": user, "action": "joined", "epoch": 3});
    let device = json!({"type": "newDevice", "did": user, "deviceId": DEVICE});
    let asked = json!({"type": "readditionRequested", "userDid": user, "deviceId": DEVICE,
        "requestedAt": "2026-01-31T12:00:00Z"});
    let stock = json!({"type": "keyPackages", "convoId": null, "did": user, "deviceId": DEVICE,
        "remaining": 3, "lastResortUsed": false});
    vec![
        ("#messageEvent", event(id.clone())),
        ("#messageEvent", News::Event(id, Some(message()))),
        ("#membershipChangeEvent", event(joined)),
        ("#epochAdvanced", event(epoch)),
        (
            "#conversationUpdated",
            event(json!({"type": "conversationUpdated"})),
        ),
        ("#newDeviceEvent", event(device)),
        ("#readditionRequestedEvent", event(asked.clone())),
        ("#readditionRequestedEvent", event(without_device(asked))),
        ("#keyPackages", event(stock.clone())),
        ("#keyPackages", event(without_device(stock))),
        (
            "#typingEvent",
            passing(json!({"typing": {"convoId": "abcd", "did": user, "isTyping": true}})),
        ),
        (
            "#ephemeralEvent",
            passing(json!({"ephemeral": {"convoId": "abcd", "epoch": 3,
                "ciphertext": {"$bytes": STANDARD_NO_PAD.encode([0xfe; 512])}}})),
        ),
        ("#info", info(None, None)),
        ("#info", info(Some(Duration::from_secs(3)), Some("eyJ"))),
        ("#synced", News::Notice(Notice::Synced(standings()))),
        ("#gap", News::Notice(Notice::Gap(standings()))),
        (
            "#limits",
            News::Notice(Notice::Limits(LimitsNotice {
                policy: "frames",
                remaining: 3,
                reset: Duration::from_millis(1500),
            })),
        ),
        ("#pong", News::Notice(Notice::Pong)),
    ]
}

fn without_device(mut fields: Value) -> Value {
    fields["deviceId"] = Value::Null;
    fields
}

fn message() -> MessageView {
    MessageView {
        id: MessageId::parse(ULID).unwrap(),
        convo_id: ConvoId::parse("abcd").unwrap(),
        ciphertext: BytesOut(Bytes::from_static(&[0xfe; 512])),
        epoch: Epoch::default(),
        seq: 7,
        created_at: CoarseTime::from_unix_seconds(1_800_000_000),
        message_type: "app",
    }
}

fn info(reconnect_after: Option<Duration>, ticket: Option<&str>) -> News {
    News::Notice(Notice::Info(Info {
        name: "Draining",
        message: "this node is going away; reconnect with your cursor",
        reconnect_after,
        resume_ticket: ticket.map(|ticket| TicketText::new(ticket.to_owned())),
    }))
}

fn standings() -> Box<Standings> {
    Box::new(Standings {
        seq: Seq::new(41),
        cursor: Cursor::parse(CURSOR).unwrap(),
        conversations: vec![Standing {
            convo_id: ConvoId::parse("abcd").unwrap(),
            epoch: Epoch::default(),
            last_seq: 7,
        }],
    })
}

#[test]
fn both_framings_tell_the_same_and_what_the_lexicon_says() {
    let lexicons = Lexicons::load();
    let mut told: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, news) in news() {
        let json: Value = serde_json::from_slice(news.frame(Framing::Json).payload()).unwrap();
        let cbor = news.frame(Framing::DagCbor);
        let (header, body) = two_objects(cbor.payload());
        assert_eq!(header, json!({"op": 1, "t": name}));
        assert_eq!(json, json!({"op": 1, "t": name, "body": body}));
        let faults = lexicons.event_faults(name, &body);
        assert!(faults.is_empty(), "{name}: {faults:?}");
        let fields = body.as_object().unwrap().keys().cloned();
        told.entry(name).or_default().extend(fields);
    }
    let described = lexicons.events();
    assert_eq!(told, described.collect(), "nothing is left out here");
}

/// A DAG-CBOR frame: a header and a body, and nothing after them.
fn two_objects(bytes: &[u8]) -> (Value, Value) {
    let mut reader = serde_ipld_dagcbor::de::Deserializer::from_slice(bytes);
    let Json(header) = Json::deserialize(&mut reader).unwrap();
    let Json(body) = Json::deserialize(&mut reader).unwrap();
    reader.end().unwrap();
    (header, body)
}

/// The data model as its JSON form says it.
struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the data model")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(json!({ "$bytes": STANDARD_NO_PAD.encode(value) }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Json(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Json(value))) = entries.next_entry()? {
            map.insert(name, value);
        }
        Ok(map.into())
    }
}
