//! Pure. Signed receipts for accepted commits: a chain per conversation. A server
//! that shows two histories of one conversation signs its own proof.

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::types::{ConvoId, Epoch, sha256, unprintable};

/// Signs with the Ed25519 key that the service's DID document publishes.
pub struct ReceiptSigner(Ed25519KeyPair);

unprintable!(ReceiptSigner);

/// What was signed: this commit, and no other, led this conversation to this epoch,
/// and the one before it was that.
pub struct Receipt {
    convo: ConvoId,
    epoch: Epoch,
    commit_hash: [u8; 32],
    previous: Option<[u8; 32]>,
    signature: Vec<u8>,
}

unprintable!(Receipt);

impl ReceiptSigner {
    /// The signer of this seed (RFC 8032 section 5.1.5), which all nodes share.
    pub fn new(seed: &[u8; 32]) -> Result<Self, KeyRejected> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self)
    }

    /// The public key as a Multikey: `z`, base58btc of 0xed 0x01 and the key.
    pub fn multikey(&self) -> String {
        let mut bytes = vec![0xed, 0x01];
        bytes.extend_from_slice(self.0.public_key().as_ref());
        format!("z{}", bs58::encode(bytes).into_string())
    }

    /// Signs for a commit that leads to `epoch`. `previous` is the hash of the
    /// receipt of the commit before it, if there was one.
    pub fn sign(
        &self,
        convo: &ConvoId,
        epoch: Epoch,
        commit: &[u8],
        previous: Option<[u8; 32]>,
    ) -> Receipt {
        let mut receipt = Receipt {
            convo: convo.clone(),
            epoch,
            commit_hash: sha256(commit),
            previous,
            signature: Vec::new(),
        };
        receipt.signature = self.0.sign(&receipt.signed_bytes()).as_ref().to_vec();
        receipt
    }
}

impl Receipt {
    /// What the signature covers: a name and a zero byte, the conversation's id as
    /// text and a zero byte, the epoch in 8 bytes, the commit's SHA-256, and the hash
    /// of the receipt before, or 32 zero bytes.
    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = CONTEXT.to_vec();
        bytes.extend_from_slice(self.convo.expose().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&self.epoch.get().to_be_bytes());
        bytes.extend_from_slice(&self.commit_hash);
        bytes.extend_from_slice(&self.previous.unwrap_or_default());
        bytes
    }

    /// By what the next receipt names this one: SHA-256 of what was signed, and of
    /// the signature after it.
    pub fn hash(&self) -> [u8; 32] {
        let mut bytes = self.signed_bytes();
        bytes.extend_from_slice(&self.signature);
        sha256(&bytes)
    }

    /// As members see it (`blue.catbird.mls.defs#commitReceipt`): hashes and the
    /// signature in base64url.
    pub fn to_json(&self) -> String {
        let mut value = json!({
            "convoId": self.convo.expose(),
            "epoch": self.epoch.get(),
            "commitHash": URL_SAFE_NO_PAD.encode(self.commit_hash),
            "signature": URL_SAFE_NO_PAD.encode(&self.signature),
        });
        if let (Some(previous), Some(fields)) = (self.previous, value.as_object_mut()) {
            let previous = URL_SAFE_NO_PAD.encode(previous);
            fields.insert("previousReceiptHash".to_owned(), previous.into());
        }
        value.to_string()
    }
}

/// Keeps a receipt's signature from meaning anything else.
const CONTEXT: &[u8] = b"mls-relay commit receipt v1\0";

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    fn convo() -> ConvoId {
        ConvoId::parse("ab01").unwrap()
    }

    #[test]
    fn a_receipt_verifies_under_the_published_key_and_nothing_else_does() {
        let signer = ReceiptSigner::new(&[7; 32]).unwrap();
        let receipt = signer.sign(&convo(), Epoch::default().next(), b"commit", None);
        let multikey = signer.multikey();
        let key = bs58::decode(&multikey[1..]).into_vec().unwrap();
        assert_eq!(key[..2], [0xed, 0x01]);
        let key = UnparsedPublicKey::new(&ED25519, &key[2..]);
        assert!(
            key.verify(&receipt.signed_bytes(), &receipt.signature)
                .is_ok()
        );
        let other = signer.sign(&convo(), Epoch::default().next(), b"other", None);
        assert!(
            key.verify(&other.signed_bytes(), &receipt.signature)
                .is_err()
        );
    }

    #[test]
    fn receipts_form_a_chain() {
        let signer = ReceiptSigner::new(&[7; 32]).unwrap();
        let first = signer.sign(&convo(), Epoch::default().next(), b"a", None);
        let next = first.epoch.next();
        let second = signer.sign(&convo(), next, b"b", Some(first.hash()));
        let json: serde_json::Value = serde_json::from_str(&second.to_json()).unwrap();
        let previous = URL_SAFE_NO_PAD.encode(first.hash());
        assert_eq!(json["previousReceiptHash"], previous);
        assert_ne!(first.hash(), second.hash());
        assert!(!first.to_json().contains("previousReceiptHash"));
    }

    #[test]
    fn the_longest_receipt_leaves_room_in_an_envelope() {
        let signer = ReceiptSigner::new(&[7; 32]).unwrap();
        let convo = ConvoId::parse(&"ab".repeat(64)).unwrap();
        let epoch = Epoch::try_from(Epoch::MAX).unwrap();
        let receipt = signer.sign(&convo, epoch, b"a", Some([255; 32]));
        assert!(receipt.to_json().len() < 500);
    }
}
