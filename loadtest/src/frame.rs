//! Pure. The frames of a subscription as a client reads them: ATProto event
//! streams in DAG-CBOR (header and body back to back in one binary message), and
//! the same in JSON text.

use serde::Deserialize;
use serde_ipld_dagcbor::de::Deserializer;

use crate::receipt::Receipt;

/// The WebSocket subprotocol that asks for JSON.
pub const JSON_SUBPROTOCOL: &str = "mls-relay.json.v1";

/// How a subscription is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    DagCbor,
    Json,
}

/// One frame from the relay.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all frames are events, and a box each would cost the generator its speed"
)]
pub enum Frame {
    Event(Event),
    /// The stream ends after this.
    Error(ErrorBody),
    /// An `op` that this client does not know, which it must pass over.
    Unknown,
}

/// A frame with `op` 1. Which fields there are depends on `name`; a name or a
/// field that is not known here is passed over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// `#messageEvent`, `#synced`, and so on.
    pub name: String,
    pub body: EventBody,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct EventBody {
    /// The place in the relay's durable sequence; notices have none.
    pub seq: Option<u64>,
    /// The same place as the text to resume from.
    pub cursor: Option<String>,
    pub convo_id: Option<String>,
    pub message_id: Option<String>,
    pub did: Option<String>,
    pub action: Option<String>,
    pub epoch: Option<u64>,
    /// Of the commit that led to this epoch.
    pub receipt: Option<Receipt>,
    /// Which `#info` this is.
    pub name: Option<String>,
    /// How long to stay away, in milliseconds.
    pub reconnect_after_ms: Option<u64>,
    /// Opens the next stream.
    pub resume_ticket: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    pub error: String,
    #[serde(default)]
    pub message: String,
    pub cursor: Option<String>,
    pub retry_after_ms: Option<u64>,
}

/// What a well-behaved client drops the connection for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a frame breaks the framing")]
pub struct BadFrame;

#[derive(Deserialize)]
struct Header {
    op: i64,
    t: Option<String>,
}

impl Event {
    /// Whether this is an event of the log, which a cursor can resume after, and
    /// not a notice about the stream.
    pub fn is_durable(&self) -> bool {
        self.body.convo_id.is_some() && self.body.seq.is_some() && self.body.cursor.is_some()
    }

    pub fn is_message(&self) -> bool {
        self.name == "#messageEvent"
    }

    /// The relay goes away: the stream ends after this, to be resumed elsewhere.
    pub fn is_draining(&self) -> bool {
        self.name == "#info" && self.body.name.as_deref() == Some("Draining")
    }

    /// The end of the replay: what comes next is live.
    pub fn is_synced(&self) -> bool {
        self.name == "#synced"
    }
}

/// Reads a binary frame: exactly two DAG-CBOR objects.
pub fn decode_cbor(bytes: &[u8]) -> Result<Frame, BadFrame> {
    let mut header = Deserializer::from_slice(bytes);
    let Header { op, t } = Deserialize::deserialize(&mut header).map_err(|_| BadFrame)?;
    frame(op, t, &mut header).and_then(|frame| {
        header.end().map_err(|_| BadFrame)?;
        Ok(frame)
    })
}

/// Reads a text frame: `{"op", "t", "body"}`.
pub fn decode_json(text: &str) -> Result<Frame, BadFrame> {
    #[derive(Deserialize)]
    struct Whole {
        op: i64,
        t: Option<String>,
        body: serde_json::Value,
    }
    let Whole { op, t, body } = serde_json::from_str(text).map_err(|_| BadFrame)?;
    frame(op, t, body)
}

fn frame<'de, D: serde::Deserializer<'de>>(
    op: i64,
    name: Option<String>,
    body: D,
) -> Result<Frame, BadFrame> {
    match (op, name) {
        (1, Some(name)) => {
            let body = EventBody::deserialize(body).map_err(|_| BadFrame)?;
            Ok(Frame::Event(Event { name, body }))
        }
        (-1, None) => {
            let body = ErrorBody::deserialize(body).map_err(|_| BadFrame)?;
            Ok(Frame::Error(body))
        }
        (1 | -1, _) => Err(BadFrame),
        _ => {
            serde::de::IgnoredAny::deserialize(body).map_err(|_| BadFrame)?;
            Ok(Frame::Unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cbor(header: &Value, body: &Value) -> Vec<u8> {
        let mut bytes = serde_ipld_dagcbor::to_vec(header).unwrap();
        bytes.extend(serde_ipld_dagcbor::to_vec(body).unwrap());
        bytes
    }

    fn message() -> Value {
        json!({"seq": 41, "cursor": "01J", "convoId": "aa", "messageId": "m", "later": [1]})
    }

    fn expected() -> Frame {
        Frame::Event(Event {
            name: "#messageEvent".to_owned(),
            body: EventBody {
                seq: Some(41),
                cursor: Some("01J".to_owned()),
                convo_id: Some("aa".to_owned()),
                message_id: Some("m".to_owned()),
                ..EventBody::default()
            },
        })
    }

    #[test]
    fn both_framings_carry_the_same_event() {
        let bytes = cbor(&json!({"op": 1, "t": "#messageEvent"}), &message());
        assert_eq!(decode_cbor(&bytes).unwrap(), expected());
        let text = json!({"op": 1, "t": "#messageEvent", "body": message()}).to_string();
        assert_eq!(decode_json(&text).unwrap(), expected());
    }

    #[test]
    fn an_event_of_the_log_has_a_place_in_it_and_a_notice_has_none_to_resume_from() {
        let Frame::Event(event) = expected() else {
            panic!("not an event");
        };
        assert!(event.is_durable() && event.is_message());
        let synced = cbor(
            &json!({"op": 1, "t": "#synced"}),
            &json!({"seq": 41, "cursor": "01J", "conversations": []}),
        );
        let Frame::Event(synced) = decode_cbor(&synced).unwrap() else {
            panic!("not an event");
        };
        assert!(synced.is_synced() && !synced.is_durable());
    }

    #[test]
    fn an_error_says_why_and_where_to_resume() {
        let bytes = cbor(
            &json!({"op": -1}),
            &json!({"error": "ConsumerTooSlow", "message": "slow", "cursor": "01J"}),
        );
        let Frame::Error(error) = decode_cbor(&bytes).unwrap() else {
            panic!("not an error");
        };
        assert_eq!(error.error, "ConsumerTooSlow");
        assert_eq!(error.cursor.as_deref(), Some("01J"));
    }

    #[test]
    fn what_is_unknown_is_passed_over_and_what_is_broken_is_not() {
        let unknown = cbor(&json!({"op": 7, "t": "#x"}), &json!({}));
        assert_eq!(decode_cbor(&unknown), Ok(Frame::Unknown));
        let whole = cbor(&json!({"op": 1, "t": "#messageEvent"}), &message());
        let mut third = whole.clone();
        third.push(0xa0);
        assert_eq!(decode_cbor(&third), Err(BadFrame));
        for len in 0..whole.len() {
            assert_eq!(decode_cbor(&whole[..len]), Err(BadFrame), "{len}");
        }
        let nameless = cbor(&json!({"op": 1}), &json!({}));
        assert_eq!(decode_cbor(&nameless), Err(BadFrame));
        assert_eq!(decode_json("{}"), Err(BadFrame));
    }
}
