//! Pure. Key packages (RFC 9420 section 10): what a device leaves with the relay
//! so that others can add it while it sleeps.

use crate::types::{CipherSuite, Did};

use super::leaf_node::LeafNode;
use super::reader::{MlsError, Reader};
use super::signature::{is_forged, key_package_ref};

/// A key package and the bytes it was read from.
#[derive(Clone, Copy, Debug)]
pub struct KeyPackage<'a> {
    /// The IANA number of its cipher suite.
    pub suite_number: u16,
    pub init_key: &'a [u8],
    pub leaf: LeafNode<'a>,
    /// Whether it may be used again when no other is left (`last_resort`).
    pub last_resort: bool,
    /// The bare structure, without the MLSMessage around it.
    pub bytes: &'a [u8],
    to_be_signed: &'a [u8],
    signature: &'a [u8],
}

/// Why a key package that parses is still of no use to the one who would take it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyPackageFault {
    #[error("has another cipher suite than cipherSuite says")]
    Suite,
    #[error("has a leaf whose source is not a key package")]
    Source,
    #[error("must have a basic credential of your account")]
    Credential,
    #[error("has a lifetime that is over, or begins more than an hour from now")]
    Lifetime,
    #[error("has one key for both joining and encryption")]
    Keys,
    #[error("has a signature that does not verify")]
    Signature,
}

impl<'a> KeyPackage<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        let ((mut package, to_be_signed), bytes) = reader.spanned(|reader| {
            let (mut package, to_be_signed) = reader.spanned(Self::read_to_be_signed)?;
            package.signature = reader.opaque()?;
            Ok((package, to_be_signed))
        })?;
        package.to_be_signed = to_be_signed;
        package.bytes = bytes;
        Ok(package)
    }

    fn read_to_be_signed(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        reader.version()?;
        let suite_number = reader.u16()?;
        let init_key = reader.opaque()?;
        let leaf = LeafNode::read(reader)?;
        let mut last_resort = false;
        reader.extensions(|kind, _| last_resort |= kind == LAST_RESORT)?;
        Ok(Self {
            suite_number,
            init_key,
            leaf,
            last_resort,
            bytes: &[],
            to_be_signed: &[],
            signature: &[],
        })
    }

    /// The name by which a Welcome refers to it (section 5.2). `None` when its
    /// suite is not one of ours.
    pub fn reference(&self) -> Option<Vec<u8>> {
        let suite = CipherSuite::from_number(self.suite_number)?;
        Some(key_package_ref(suite, self.bytes))
    }

    /// The device part of the credential's identity, for an identity of this
    /// account: `None` within for the account as a whole, `did#device` otherwise.
    pub fn device_of(&self, account: &Did) -> Result<Option<&'a str>, KeyPackageFault> {
        let credential = &self.leaf.credential;
        credential
            .device_of(account)
            .ok_or(KeyPackageFault::Credential)
    }

    /// Every rule of section 10.1 that can be checked without a group.
    pub fn check(
        &self,
        suite: CipherSuite,
        account: &Did,
        now_unix: u64,
    ) -> Result<(), KeyPackageFault> {
        if CipherSuite::from_number(self.suite_number) != Some(suite) {
            return Err(KeyPackageFault::Suite);
        }
        let lifetime = self.leaf.lifetime.ok_or(KeyPackageFault::Source)?;
        self.device_of(account)?;
        let begun = lifetime.not_before <= now_unix.saturating_add(CLOCK_SKEW_SECONDS);
        if !begun || lifetime.not_after <= now_unix {
            return Err(KeyPackageFault::Lifetime);
        }
        if self.init_key == self.leaf.encryption_key {
            return Err(KeyPackageFault::Keys);
        }
        self.check_signatures(suite)
    }

    fn check_signatures(&self, suite: CipherSuite) -> Result<(), KeyPackageFault> {
        let key = self.leaf.signature_key;
        let signed = [
            ("LeafNodeTBS", self.leaf.to_be_signed, self.leaf.signature),
            ("KeyPackageTBS", self.to_be_signed, self.signature),
        ];
        for (label, content, signature) in signed {
            if is_forged(suite, key, label, content, signature) {
                return Err(KeyPackageFault::Signature);
            }
        }
        Ok(())
    }
}

/// `last_resort` of the MLS extensions registry.
const LAST_RESORT: u16 = 0x000a;
/// Phones whose clock runs a little fast still get their packages in.
const CLOCK_SKEW_SECONDS: u64 = 3600;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;
    use crate::mls::leaf_node::{Credential, Lifetime};
    use crate::mls::signature::labelled;

    #[test]
    fn both_signatures_hold_and_joining_and_encryption_have_a_key_each() {
        use KeyPackageFault::{Keys, Signature};
        let key = Ed25519KeyPair::generate().unwrap();
        let sign = |label| key.sign(&labelled(label, b"content")).as_ref().to_vec();
        let (of_leaf, of_package) = (sign("LeafNodeTBS"), sign("KeyPackageTBS"));
        let account = Did::parse("did:plc:b").unwrap();
        let check = |init_key: &[u8], of_leaf: &[u8], of_package: &[u8]| {
            let leaf = LeafNode {
                encryption_key: b"encryption",
                signature_key: key.public_key().as_ref(),
                credential: Credential::Basic {
                    identity: b"did:plc:b",
                },
                lifetime: Some(Lifetime {
                    not_before: 0,
                    not_after: 2,
                }),
                to_be_signed: b"content",
                signature: of_leaf,
            };
            let package = KeyPackage {
                suite_number: 1,
                init_key,
                leaf,
                last_resort: false,
                bytes: &[],
                to_be_signed: b"content",
                signature: of_package,
            };
            package.check(CipherSuite::X25519Aes128Ed25519, &account, 1)
        };
        assert_eq!(check(b"joining", &of_leaf, &of_package), Ok(()));
        assert_eq!(check(b"joining", &of_package, &of_package), Err(Signature));
        assert_eq!(check(b"joining", &of_leaf, &of_leaf), Err(Signature));
        assert_eq!(check(b"encryption", &of_leaf, &of_package), Err(Keys));
    }
}
