//! Pure. Leaf nodes (RFC 9420 section 7.2): a device's keys and its credential.

use super::reader::{MlsError, Reader};
use crate::types::Did;

/// Who a leaf claims to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Credential<'a> {
    Basic { identity: &'a [u8] },
    X509,
}

impl<'a> Credential<'a> {
    /// The device part of the identity, for an identity of this account: `None` within
    /// for the account as a whole, `did#device` otherwise.
    pub fn device_of(&self, account: &Did) -> Option<Option<&'a str>> {
        let Self::Basic { identity } = self else {
            return None;
        };
        match str::from_utf8(identity)
            .ok()?
            .strip_prefix(account.expose())?
        {
            "" => Some(None),
            fragment => {
                let device = fragment.strip_prefix('#')?;
                (!device.is_empty()).then_some(Some(device))
            }
        }
    }
}

/// When a key package may be used, in seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetime {
    pub not_before: u64,
    pub not_after: u64,
}

/// A leaf of the ratchet tree.
#[derive(Clone, Copy, Debug)]
pub struct LeafNode<'a> {
    pub encryption_key: &'a [u8],
    pub signature_key: &'a [u8],
    pub credential: Credential<'a>,
    /// Of a leaf that is in a key package; one of an update or a commit has none.
    pub lifetime: Option<Lifetime>,
    /// What the signature covers, as long as the leaf is in a key package: an
    /// update's or commit's signature also covers its place in the tree.
    pub(super) to_be_signed: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl<'a> LeafNode<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        let (mut leaf, to_be_signed) = reader.spanned(|reader| {
            let encryption_key = reader.opaque()?;
            let signature_key = reader.opaque()?;
            let credential = read_credential(reader)?;
            read_capabilities(reader)?;
            let lifetime = read_source(reader)?;
            reader.extensions(|_, _| ())?;
            Ok(Self {
                encryption_key,
                signature_key,
                credential,
                lifetime,
                to_be_signed: &[],
                signature: &[],
            })
        })?;
        leaf.to_be_signed = to_be_signed;
        leaf.signature = reader.opaque()?;
        Ok(leaf)
    }
}

fn read_credential<'a>(reader: &mut Reader<'a>) -> Result<Credential<'a>, MlsError> {
    match reader.u16()? {
        1 => Ok(Credential::Basic {
            identity: reader.opaque()?,
        }),
        // Certificates, which nobody reads.
        2 => reader.opaque().map(|_| Credential::X509),
        _ => Err(MlsError::Unknown("a credential type")),
    }
}

/// `Capabilities`: versions, cipher suites, extensions, proposals, credentials,
/// each a list of 16-bit numbers. What they promise is the members' to check.
fn read_capabilities(reader: &mut Reader<'_>) -> Result<(), MlsError> {
    for _ in 0..5 {
        reader.vector(CAPABILITIES_MAX, |reader| reader.u16().map(drop))?;
    }
    Ok(())
}

/// How the leaf came into the tree: its lifetime, if that was by a key package.
fn read_source(reader: &mut Reader<'_>) -> Result<Option<Lifetime>, MlsError> {
    match reader.u8()? {
        1 => Ok(Some(Lifetime {
            not_before: reader.u64()?,
            not_after: reader.u64()?,
        })),
        2 => Ok(None),
        3 => {
            let _parent_hash = reader.opaque()?;
            Ok(None)
        }
        _ => Err(MlsError::Unknown("a leaf node source")),
    }
}

/// Of one leaf; real ones carry a handful.
const CAPABILITIES_MAX: usize = 512;
