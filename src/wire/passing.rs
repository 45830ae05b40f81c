//! Pure. What is told to those who listen now and kept nowhere, and how nodes tell each other.

use serde::{Deserialize, Serialize};

use super::Blob;
use super::envelope::envelopes;
use crate::types::{ConvoId, Did, Epoch};

/// The largest ephemeral message: the largest bucket whose base64 fits one notification
/// of Postgres, which is the only way between nodes that leaves nothing in a table.
pub const EPHEMERAL_BYTES_MAX: usize = 4096;

/// Something without a place in the stream.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Passing {
    Ephemeral(Ephemeral),
    Typing(Typing),
}

/// A ciphertext for this moment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ephemeral {
    pub convo_id: ConvoId,
    pub epoch: Epoch,
    pub ciphertext: Blob<1, EPHEMERAL_BYTES_MAX>,
}

/// Somebody types, or has stopped.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    pub convo_id: ConvoId,
    pub did: Did,
    pub is_typing: bool,
}

impl Passing {
    /// Whose members hear of it.
    pub fn convo(&self) -> &ConvoId {
        match self {
            Self::Ephemeral(ephemeral) => &ephemeral.convo_id,
            Self::Typing(typing) => &typing.convo_id,
        }
    }

    /// Bytes of ciphertext in it.
    pub fn ciphertext_len(&self) -> usize {
        match self {
            Self::Ephemeral(ephemeral) => ephemeral.ciphertext.as_slice().len(),
            Self::Typing(_) => 0,
        }
    }

    /// What nodes tell each other: JSON arrays, each short enough for a notification.
    pub fn payloads<'a>(list: impl IntoIterator<Item = &'a Self>) -> Vec<String> {
        let mut payloads: Vec<String> = Vec::new();
        for passing in list {
            // Texts, numbers and bytes always serialize.
            let text = serde_json::to_string(passing).unwrap_or_default();
            match payloads.last_mut() {
                Some(last) if last.len() + 1 + text.len() < PAYLOAD_BYTES_MAX => {
                    last.push(',');
                    last.push_str(&text);
                }
                _ => payloads.push(format!("[{text}")),
            }
        }
        for payload in &mut payloads {
            payload.push(']');
        }
        payloads
    }

    /// Reads one. What a newer node says and this one does not know is passed over.
    pub fn list(payload: &str) -> Vec<Self> {
        let texts = envelopes(payload).unwrap_or_default().into_iter();
        texts
            .filter_map(|text| serde_json::from_str(text).ok())
            .collect()
    }
}

/// A notification of Postgres holds 7,999 bytes.
const PAYLOAD_BYTES_MAX: usize = 7_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn ephemeral(size: usize) -> Passing {
        let json = serde_json::json!({"ephemeral": {
            "convoId": "ab".repeat(64),
            "epoch": Epoch::MAX,
            "ciphertext": crate::wire::BytesOut(vec![0xff; size].into()),
        }});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_largest_of_the_longest_group_fits_one_notification() {
        let largest = ephemeral(EPHEMERAL_BYTES_MAX);
        let payloads = Passing::payloads([&largest]);
        assert_eq!(payloads.len(), 1);
        assert!(payloads[0].len() < 6_000, "{}", payloads[0].len());
        assert_eq!(Passing::list(&payloads[0]), [largest]);
    }

    #[test]
    fn many_are_packed_into_few_notifications_and_none_is_too_long() {
        let many: Vec<_> = (0..40)
            .map(|number| ephemeral(if number % 3 == 0 { 4096 } else { 512 }))
            .collect();
        let payloads = Passing::payloads(&many);
        assert!(payloads.len() < many.len());
        assert!(payloads.iter().all(|one| one.len() <= PAYLOAD_BYTES_MAX));
        let read: Vec<_> = payloads.iter().flat_map(|one| Passing::list(one)).collect();
        assert_eq!(read, many);
        assert!(Passing::payloads([]).is_empty());
    }

    #[test]
    fn what_a_newer_node_says_hides_nothing_else() {
        let typing = r#"{"typing":{"convoId":"ab","did":"did:plc:bob","isTyping":true}}"#;
        let read = Passing::list(&format!(r#"[{{"dancing":{{}}}},{typing}]"#));
        assert!(matches!(read.as_slice(), [Passing::Typing(_)]));
        assert!(Passing::list("nonsense").is_empty());
    }
}
