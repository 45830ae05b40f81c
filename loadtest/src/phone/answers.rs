//! The answers of the relay's calls, as far as a phone reads them, and the two
//! forms that bytes have in JSON.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

/// The lexicon type `bytes`.
pub(super) fn bytes(bytes: &[u8]) -> Value {
    json!({"$bytes": STANDARD_NO_PAD.encode(bytes)})
}

/// Bytes in a lexicon string.
pub(super) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[derive(Deserialize)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registered {
    pub mls_did: String,
}

#[derive(Deserialize)]
pub(super) struct Published {
    pub failed: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyPackages {
    pub key_packages: Vec<KeyPackageRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyPackageRef {
    pub did: String,
    #[serde(deserialize_with = "from_base64url")]
    pub key_package: Vec<u8>,
}

#[derive(Deserialize)]
pub(super) struct Welcome {
    #[serde(deserialize_with = "from_base64url")]
    pub welcome: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewEpoch {
    pub new_epoch: u64,
    pub receipt: Option<crate::receipt::Receipt>,
}

#[derive(Deserialize)]
pub(super) struct Page {
    pub messages: Vec<MessageView>,
    /// Not on the last page, which is the only one that may be taken for the end: also others
    /// may be short.
    pub cursor: Option<String>,
}

#[derive(Clone, Deserialize)]
pub(super) struct MessageView {
    pub id: String,
    pub seq: u64,
    #[serde(deserialize_with = "from_bytes")]
    pub ciphertext: Vec<u8>,
}

fn from_base64url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    URL_SAFE_NO_PAD.decode(text).map_err(de::Error::custom)
}

fn from_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    #[derive(Deserialize)]
    struct Bytes {
        #[serde(rename = "$bytes")]
        base64: String,
    }
    let Bytes { base64 } = Bytes::deserialize(deserializer)?;
    STANDARD_NO_PAD.decode(base64).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_both_forms() {
        let view: MessageView = serde_json::from_value(
            json!({"id": "m", "seq": 3, "ciphertext": bytes(&[0xfb, 0xff, 1]), "epoch": 1}),
        )
        .unwrap();
        assert_eq!(view.ciphertext, [0xfb, 0xff, 1]);
        let welcome: Welcome =
            serde_json::from_value(json!({"welcome": base64url(&[0xfb, 0xff, 1])})).unwrap();
        assert_eq!(welcome.welcome, [0xfb, 0xff, 1]);
    }
}
