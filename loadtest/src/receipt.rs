//! The relay's signed receipts, as a client checks them: every accepted commit has one,
//! and each names the one before. A relay that shows two histories of a conversation has
//! signed both.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::ask::{self, AskError};
use crate::relay::Relay;

/// What a receipt's signature begins with.
const CONTEXT: &[u8] = b"mls-relay commit receipt v1\0";

/// `blue.catbird.mls.defs#commitReceipt`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    pub convo_id: String,
    pub epoch: u64,
    pub commit_hash: String,
    pub previous_receipt_hash: Option<String>,
    pub signature: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("the DID document did not come")]
    Document(#[source] AskError),
    #[error("the DID document has no Ed25519 key #mls_receipts")]
    NoKey,
    #[error("the receipt is for another commit")]
    WrongCommit,
    #[error("the receipt does not follow the one before it")]
    WrongPlace,
    #[error("the relay has not signed this receipt")]
    BadSignature,
}

/// The key that the relay's DID document publishes for its receipts.
#[derive(Clone)]
pub struct ReceiptKey(Vec<u8>);

impl ReceiptKey {
    /// Fetches the document over the relay's public port.
    pub async fn fetch(relay: &Relay) -> Result<Self, ReceiptError> {
        let answer = ask::public(relay, "/.well-known/did.json").await;
        let (_, document) = answer.map_err(ReceiptError::Document)?;
        Self::of_document(&document, relay.service_did())
    }

    fn of_document(document: &[u8], service_did: &str) -> Result<Self, ReceiptError> {
        let document: Value = serde_json::from_slice(document).map_err(|_| ReceiptError::NoKey)?;
        let id = format!("{service_did}#mls_receipts");
        let methods = document["verificationMethod"].as_array();
        let method = methods.and_then(|methods| methods.iter().find(|m| m["id"] == id));
        let multikey = method.and_then(|method| method["publicKeyMultibase"].as_str());
        let base58 = multikey.and_then(|text| text.strip_prefix('z'));
        let bytes = base58.and_then(|text| bs58::decode(text).into_vec().ok());
        let key = bytes.as_deref().and_then(|b| b.strip_prefix(&[0xed, 0x01]));
        key.map(|key| Self(key.to_vec())).ok_or(ReceiptError::NoKey)
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptKey")
    }
}

/// The receipts of one conversation, as far as they were checked.
#[derive(Clone, Debug)]
pub struct Chain {
    key: ReceiptKey,
    last: Option<(u64, [u8; 32])>,
    len: usize,
}

impl Chain {
    pub fn new(key: ReceiptKey) -> Self {
        Self {
            key,
            last: None,
            len: 0,
        }
    }

    /// How many receipts it has.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What members compare inside the conversation: the last receipt's hash.
    pub fn head(&self) -> Option<[u8; 32]> {
        self.last.map(|(_, hash)| hash)
    }

    /// Checks the receipt of a commit: that it is for this commit, follows the one before
    /// (if that was seen), and is signed.
    pub fn extend(&mut self, receipt: &Receipt, commit: &[u8]) -> Result<(), ReceiptError> {
        let commit_hash = sha256(commit);
        if decode(&receipt.commit_hash) != Some(commit_hash) {
            return Err(ReceiptError::WrongCommit);
        }
        let previous = receipt.previous_receipt_hash.as_deref().map(decode);
        let previous = match previous {
            None => None,
            Some(Some(hash)) => Some(hash),
            Some(None) => return Err(ReceiptError::WrongPlace),
        };
        if let Some((epoch, hash)) = self.last
            && (receipt.epoch != epoch + 1 || previous != Some(hash))
        {
            return Err(ReceiptError::WrongPlace);
        }
        let mut signed = [CONTEXT, receipt.convo_id.as_bytes(), &[0]].concat();
        signed.extend(receipt.epoch.to_be_bytes());
        signed.extend(commit_hash);
        signed.extend(previous.unwrap_or_default());
        let signature = URL_SAFE_NO_PAD.decode(&receipt.signature);
        let signature = signature.map_err(|_| ReceiptError::BadSignature)?;
        UnparsedPublicKey::new(&ED25519, &self.key.0)
            .verify(&signed, &signature)
            .map_err(|_| ReceiptError::BadSignature)?;
        signed.extend(signature);
        self.last = Some((receipt.epoch, sha256(&signed)));
        self.len += 1;
        Ok(())
    }
}

fn decode(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    struct Relay(Ed25519KeyPair);

    impl Relay {
        fn new() -> Self {
            Self(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
        }

        fn chain(&self) -> Chain {
            let bytes = [&[0xed, 0x01], self.0.public_key().as_ref()].concat();
            let document = serde_json::json!({"verificationMethod": [{
                "id": "did:web:r#mls_receipts",
                "publicKeyMultibase": format!("z{}", bs58::encode(bytes).into_string()),
            }]});
            let key = ReceiptKey::of_document(document.to_string().as_bytes(), "did:web:r");
            Chain::new(key.unwrap())
        }

        fn sign(&self, epoch: u64, commit: &[u8], previous: Option<[u8; 32]>) -> Receipt {
            let mut signed = [CONTEXT, b"ab01\0"].concat();
            signed.extend(epoch.to_be_bytes());
            signed.extend(sha256(commit));
            signed.extend(previous.unwrap_or_default());
            Receipt {
                convo_id: "ab01".to_owned(),
                epoch,
                commit_hash: URL_SAFE_NO_PAD.encode(sha256(commit)),
                previous_receipt_hash: previous.map(|hash| URL_SAFE_NO_PAD.encode(hash)),
                signature: URL_SAFE_NO_PAD.encode(self.0.sign(&signed)),
            }
        }
    }

    #[test]
    fn a_chain_grows_by_what_the_relay_signed_and_by_nothing_else() {
        let relay = Relay::new();
        let mut chain = relay.chain();
        chain.extend(&relay.sign(2, b"a", None), b"a").unwrap();
        let head = chain.head();
        let good = relay.sign(3, b"b", head);
        let wrong_commit = chain.clone().extend(&good, b"c");
        assert!(matches!(wrong_commit, Err(ReceiptError::WrongCommit)));
        for other in [relay.sign(3, b"b", None), relay.sign(4, b"b", head)] {
            let error = chain.clone().extend(&other, b"b");
            assert!(matches!(error, Err(ReceiptError::WrongPlace)));
        }
        let mut forged = good.clone();
        forged.signature = relay.sign(3, b"c", head).signature;
        let error = chain.clone().extend(&forged, b"b");
        assert!(matches!(error, Err(ReceiptError::BadSignature)));
        chain.extend(&good, b"b").unwrap();
        assert_eq!(chain.len(), 2);
    }
}
