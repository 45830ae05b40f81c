//! Pure. Everything the relay says on a subscription, as whole WebSocket frames.
//!
//! Two framings carry the same two parts, a header and a body:
//!
//! - **DAG-CBOR** (the default, ATProto event streams): one binary message, the
//!   header `{op: 1, t: "#name"}` and then the body, back to back.
//! - **JSON** (WebSocket subprotocol `mls-relay.json.v1`): one text message,
//!   `{"op": 1, "t": "#name", "body": {…}}`.
//!
//! An error has `op` -1 and no `t`; its body is `{error, message}` and says where
//! to resume or when to come back. The connection closes after it.
//!
//! A frame is encoded with its WebSocket header (RFC 6455 section 5.2; a server
//! masks nothing), so that all recipients share its bytes as they go to the socket.

use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::calls::{MessageView, Nothing, TicketText};
use super::envelope::Envelope;
use super::field::Numbered;
use super::passing::Passing;
use crate::types::{ConvoId, Cursor, Epoch, Seq, unprintable};

/// The WebSocket subprotocol that asks for JSON text frames.
pub const JSON_SUBPROTOCOL: &str = "mls-relay.json.v1";

/// How a session's frames are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    DagCbor,
    Json,
}

/// One WebSocket frame, complete and shared.
#[derive(Clone, Eq, PartialEq)]
pub struct Frame(Bytes);

unprintable!(Frame);

impl Frame {
    /// The bytes as they go to the socket.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Without the WebSocket header, for those who send it in something else.
    pub fn payload(&self) -> &[u8] {
        let header = match self.0.get(1) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        };
        self.0.get(header..).unwrap_or_default()
    }
}

/// A frame that is not an event of the stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// The end of the stream, and why.
    Error(ErrorNotice),
    /// Events between the client's cursor and here may be lost to it; these
    /// conversations are touched, and here is where each stands.
    Gap(Box<Standings>),
    /// News about the stream itself.
    Info(Info),
    /// Little of a budget is left.
    Limits(LimitsNotice),
    /// The answer to a client's ping.
    Pong,
    /// The replay is over and the session is live: here is where each
    /// conversation stands.
    Synced(Box<Standings>),
}

/// `op` -1 (ATProto event streams): a close follows, unless it says when to try again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorNotice {
    pub error: &'static str,
    pub message: &'static str,
    /// Where to resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    #[serde(
        rename = "retryAfterMs",
        skip_serializing_if = "Option::is_none",
        serialize_with = "millis_of_some"
    )]
    pub retry_after: Option<Duration>,
}

/// `#info` of the lexicon, with milliseconds: a note about the stream itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    pub name: &'static str,
    pub message: &'static str,
    #[serde(
        rename = "reconnectAfterMs",
        skip_serializing_if = "Option::is_none",
        serialize_with = "millis_of_some"
    )]
    pub reconnect_after: Option<Duration>,
    /// Opens a stream like this one, once, on any node.
    #[serde(rename = "resumeTicket", skip_serializing_if = "Option::is_none")]
    pub resume_ticket: Option<TicketText>,
}

/// `#limits` of the lexicon: what is left of a budget, and in how many milliseconds more
/// comes back.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsNotice {
    pub policy: &'static str,
    pub remaining: u64,
    #[serde(rename = "resetMs", serialize_with = "millis")]
    pub reset: Duration,
}

/// Where conversations stood when the session was at `cursor`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Standings {
    pub seq: Seq,
    pub cursor: Cursor,
    pub conversations: Vec<Standing>,
}

/// Where one conversation stands: its epoch and its last sequence number, the one
/// that `getMessages` pages by.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    pub convo_id: ConvoId,
    pub epoch: Epoch,
    pub last_seq: u64,
}

/// A frame could not be written. Nothing the relay itself makes comes to this: it
/// means an envelope whose bytes are no base64.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a value has no form in this framing")]
pub struct FrameError;

/// The frame of a stored event, with the message that it is about if that is given.
pub fn event_frame(
    framing: Framing,
    seq: Seq,
    envelope: &Envelope<'_>,
    message: Option<&MessageView>,
) -> Result<Frame, FrameError> {
    let body = Numbered {
        seq: seq.get(),
        fields: &envelope.fields,
        message,
    };
    encode(framing, Some(&envelope.name()), &body)
}

/// The frame of what is told to those who listen now: it has no place in the stream.
pub fn passing_frame(framing: Framing, passing: &Passing) -> Result<Frame, FrameError> {
    match passing {
        Passing::Ephemeral(body) => encode(framing, Some("#ephemeralEvent"), body),
        Passing::Typing(body) => encode(framing, Some("#typingEvent"), body),
    }
}

/// The frame of anything else.
pub fn notice_frame(framing: Framing, notice: &Notice) -> Result<Frame, FrameError> {
    match notice {
        Notice::Error(body) => encode(framing, None, body),
        Notice::Gap(body) => encode(framing, Some("#gap"), body),
        Notice::Info(body) => encode(framing, Some("#info"), body),
        Notice::Limits(body) => encode(framing, Some("#limits"), body),
        Notice::Pong => encode(framing, Some("#pong"), &Nothing {}),
        Notice::Synced(body) => encode(framing, Some("#synced"), body),
    }
}

/// The header of a frame; errors have no `t`.
#[derive(Serialize)]
struct Header<'a> {
    op: i8,
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<&'a str>,
}

#[derive(Serialize)]
struct Whole<'a, B> {
    #[serde(flatten)]
    header: Header<'a>,
    body: &'a B,
}

fn encode<B: Serialize>(
    framing: Framing,
    name: Option<&str>,
    body: &B,
) -> Result<Frame, FrameError> {
    let op = if name.is_some() { 1 } else { -1 };
    let header = Header { op, t: name };
    // Room for the longest WebSocket header, so that nothing moves when its
    // length is known.
    let mut bytes = Vec::with_capacity(CAPACITY);
    bytes.resize(WS_HEADER_MAX, 0);
    match framing {
        Framing::DagCbor => {
            serde_ipld_dagcbor::to_writer(&mut bytes, &header).map_err(|_| FrameError)?;
            serde_ipld_dagcbor::to_writer(&mut bytes, body).map_err(|_| FrameError)?;
        }
        Framing::Json => {
            serde_json::to_writer(&mut bytes, &Whole { header, body }).map_err(|_| FrameError)?;
        }
    }
    Ok(Frame(with_ws_header(framing, bytes)))
}

/// Puts the WebSocket header before a payload that has room for it, and cuts
/// what room is left.
fn with_ws_header(framing: Framing, mut bytes: Vec<u8>) -> Bytes {
    let first = match framing {
        Framing::DagCbor => 0x82, // FIN, binary
        Framing::Json => 0x81,    // FIN, text
    };
    let payload_len = bytes.len() - WS_HEADER_MAX;
    let mut header = Vec::with_capacity(WS_HEADER_MAX);
    header.push(first);
    if let Ok(short) = u8::try_from(payload_len)
        && short < 126
    {
        header.push(short);
    } else if let Ok(middle) = u16::try_from(payload_len) {
        header.push(126);
        header.extend(middle.to_be_bytes());
    } else {
        header.push(127);
        header.extend((payload_len as u64).to_be_bytes());
    }
    let start = WS_HEADER_MAX - header.len();
    bytes.splice(start..WS_HEADER_MAX, header);
    bytes.shrink_to_fit();
    Bytes::from(bytes).slice(start..)
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn millis_of_some<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    millis(&time.unwrap_or_default(), serializer)
}

/// Two bytes and a 64-bit length (RFC 6455 section 5.2, unmasked).
const WS_HEADER_MAX: usize = 10;
/// An ordinary message's frame is about 150 bytes.
const CAPACITY: usize = 192;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"cursor":"01HF4Y8R000000000000000019","convoId":"ab01","messageId":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}"#;

    #[test]
    fn a_message_in_dag_cbor_is_a_header_and_a_body_with_sorted_keys() {
        let envelope = Envelope::parse(TEXT).unwrap();
        let frame = event_frame(Framing::DagCbor, Seq::new(41), &envelope, None).unwrap();
        let bytes = frame.bytes();
        assert_eq!(bytes[0], 0x82);
        assert_eq!(usize::from(bytes[1]), bytes.len() - 2);
        let expected = [
            b"\xa2\x61t\x6d#messageEvent\x62op\x01".as_slice(),
            b"\xa4\x63seq\x18\x29",
            b"\x66cursor\x78\x1a01HF4Y8R000000000000000019",
            b"\x67convoId\x64ab01",
            b"\x69messageId\x78\x1a01ARZ3NDEKTSV4RRFFQ69G5FAV",
        ]
        .concat();
        assert_eq!(bytes[2..], expected);
    }

    #[test]
    fn a_message_in_json_is_one_object() {
        let envelope = Envelope::parse(TEXT).unwrap();
        let frame = event_frame(Framing::Json, Seq::new(41), &envelope, None).unwrap();
        let bytes = frame.bytes();
        // 126 or more: the length takes two bytes more.
        assert_eq!(bytes[..2], [0x81, 126]);
        let len = u16::from_be_bytes([bytes[2], bytes[3]]);
        assert_eq!(usize::from(len), bytes.len() - 4);
        let body = &TEXT[1..];
        let expected = format!(r##"{{"op":1,"t":"#messageEvent","body":{{"seq":41,{body}}}"##);
        assert_eq!(bytes[4..], *expected.as_bytes());
    }

    #[test]
    fn the_type_moves_from_the_envelope_to_the_header() {
        let text = TEXT.replace("\"messageId\"", "\"type\":\"epochAdvanced\",\"messageId\"");
        let envelope = Envelope::parse(&text).unwrap();
        let frame = event_frame(Framing::Json, Seq::new(41), &envelope, None).unwrap();
        let json = String::from_utf8(frame.bytes()[4..].to_vec()).unwrap();
        assert!(json.contains(r##""t":"#epochAdvanced""##));
        assert!(!json.contains("\"type\""));
    }

    #[test]
    fn an_error_has_no_type_and_says_where_to_resume() {
        let notice = Notice::Error(ErrorNotice {
            error: "ConsumerTooSlow",
            message: "slow",
            cursor: Some(Cursor::parse("41").unwrap()),
            retry_after: None,
        });
        let frame = notice_frame(Framing::Json, &notice).unwrap();
        assert_eq!(
            frame.bytes()[2..],
            *br#"{"op":-1,"body":{"error":"ConsumerTooSlow","message":"slow","cursor":"00000000000000000000000019"}}"#
        );
        let frame = notice_frame(Framing::DagCbor, &notice).unwrap();
        assert_eq!(frame.bytes()[2..8], *b"\xa1\x62op\x20\xa3");
    }

    #[test]
    fn a_length_takes_the_shortest_form() {
        for (len, header) in [
            (125, &[125][..]),
            (126, &[126, 0, 126]),
            (65_535, &[126, 0xff, 0xff]),
            (65_536, &[127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = Frame(with_ws_header(
                Framing::DagCbor,
                vec![7; WS_HEADER_MAX + len],
            ));
            assert_eq!(
                frame.bytes()[..1 + header.len()],
                [&[0x82], header].concat()
            );
            assert_eq!(frame.payload(), vec![7; len]);
        }
    }
}
