//! Pure. What a client may say on a subscription: JSON in a text message or one
//! DAG-CBOR object in a binary one, whatever the framing of the answers.

use serde::Deserialize;

use super::object::Object;
use crate::types::ConvoId;

/// One client frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientFrame {
    /// Something has arrived. Up to which cursor is the client's to remember.
    Ack,
    Ping,
    Typing {
        convo: ConvoId,
        is_typing: bool,
    },
    /// Not for us: event streams are one-way, and what is not understood is
    /// ignored, not an error (ATProto event streams).
    Unknown,
}

/// `$type` is the whole name (`blue.catbird.mls.subscribeConvoEvents#ping`), its
/// fragment (`#ping`) or the bare word.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(rename = "$type")]
    kind: String,
    convo_id: Option<String>,
    is_typing: Option<bool>,
}

impl ClientFrame {
    /// Reads JSON. What cannot be read is [`Self::Unknown`], as below.
    pub fn from_text(text: &str) -> Self {
        serde_json::from_str(text).map_or(Self::Unknown, Self::from_raw)
    }

    /// Reads DAG-CBOR (ATProto data model).
    pub fn from_binary(bytes: &[u8]) -> Self {
        serde_ipld_dagcbor::from_slice(bytes).map_or(Self::Unknown, Self::from_raw)
    }

    fn from_raw(Object(raw): Object<Raw>) -> Self {
        let word = raw.kind.rsplit('#').next().unwrap_or_default();
        match (word, raw.convo_id) {
            ("ack", _) => Self::Ack,
            ("ping", _) => Self::Ping,
            ("typing", Some(convo)) => {
                ConvoId::parse(&convo).map_or(Self::Unknown, |convo| Self::Typing {
                    convo,
                    is_typing: raw.is_typing.unwrap_or(true),
                })
            }
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_frames_are_understood_in_both_framings() {
        let ping = ClientFrame::from_text(r##"{"$type":"#ping"}"##);
        assert_eq!(ping, ClientFrame::Ping);
        let ack = ClientFrame::from_text(r#"{"$type":"ack","seq":7}"#);
        assert_eq!(ack, ClientFrame::Ack);
        let typing = serde_json::json!({
            "$type": "blue.catbird.mls.subscribeConvoEvents#typing",
            "convoId": "ab01",
            "isTyping": false,
        });
        let cbor = serde_ipld_dagcbor::to_vec(&typing).unwrap();
        assert_eq!(
            ClientFrame::from_binary(&cbor),
            ClientFrame::Typing {
                convo: ConvoId::parse("ab01").unwrap(),
                is_typing: false
            }
        );
        let bare = ClientFrame::from_text(r##"{"$type":"#typing","convoId":"ab01"}"##);
        let says_so = matches!(
            bare,
            ClientFrame::Typing {
                is_typing: true,
                ..
            }
        );
        assert!(says_so, "who sends it and says no more is typing");
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for text in [
            "",
            "{}",
            "1",
            r#"{"$type":"subscribe"}"#,
            r#"{"$type":"typing"}"#,
            r#"["ping",null,null]"#,
        ] {
            assert_eq!(ClientFrame::from_text(text), ClientFrame::Unknown, "{text}");
        }
        assert_eq!(ClientFrame::from_binary(b"\xff\x00"), ClientFrame::Unknown);
    }
}
