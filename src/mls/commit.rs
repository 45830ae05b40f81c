//! Pure. Proposals and commits in the clear (RFC 9420 section 12): who is added,
//! and which leaves go.

use super::key_package::KeyPackage;
use super::leaf_node::LeafNode;
use super::reader::{MlsError, Reader};

/// A proposal, as far as a delivery service cares.
#[derive(Clone, Debug)]
pub enum ProposalKind<'a> {
    Add(Box<KeyPackage<'a>>),
    Update,
    Remove,
    PreSharedKey,
    ReInit,
    ExternalInit,
    GroupContextExtensions,
    /// A member asks to go (MLS extensions): it has no content.
    SelfRemove,
}

impl<'a> ProposalKind<'a> {
    /// A type that is not known has no known length: refused.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        match reader.u16()? {
            1 => Ok(Self::Add(Box::new(KeyPackage::read(reader)?))),
            2 => LeafNode::read(reader).map(|_| Self::Update),
            3 => reader.u32().map(|_| Self::Remove),
            4 => read_pre_shared_key_id(reader).map(|()| Self::PreSharedKey),
            5 => read_re_init(reader).map(|()| Self::ReInit),
            6 => reader.opaque().map(|_| Self::ExternalInit),
            7 => reader
                .extensions(|_, _| ())
                .map(|()| Self::GroupContextExtensions),
            SELF_REMOVE => Ok(Self::SelfRemove),
            _ => Err(MlsError::Unknown("a proposal type")),
        }
    }
}

/// A commit in the clear.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    pub proposals: Vec<ProposalKind<'a>>,
    /// How many proposals the commit names by reference only.
    pub references: usize,
    /// The committer's new leaf, if the commit has a path.
    pub path: Option<LeafNode<'a>>,
}

impl<'a> Commit<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        let mut proposals = Vec::new();
        let mut references = 0;
        reader.vector(PROPOSALS_MAX, |reader| {
            match reader.u8()? {
                1 => proposals.push(ProposalKind::read(reader)?),
                2 => {
                    reader.opaque()?;
                    references += 1;
                }
                _ => return Err(MlsError::Unknown("a proposal or reference")),
            }
            Ok(())
        })?;
        Ok(Self {
            proposals,
            references,
            path: reader.optional(read_update_path)?,
        })
    }

    /// The key packages of the members that this commit adds by value.
    pub fn added(&self) -> impl Iterator<Item = &KeyPackage<'a>> {
        self.proposals.iter().filter_map(|proposal| match proposal {
            ProposalKind::Add(package) => Some(package.as_ref()),
            _ => None,
        })
    }

    /// Whether it takes a leaf out by value.
    pub fn removes(&self) -> bool {
        let is_removal = |p: &ProposalKind<'_>| matches!(p, ProposalKind::Remove);
        self.proposals.iter().any(is_removal)
    }

    /// Whether these are the proposals of an external commit (section 12.4.3.2): one
    /// external init, at most one removal, pre-shared keys, none by reference, and a
    /// path with the new leaf.
    pub fn is_external(&self) -> bool {
        let count = |wanted: fn(&ProposalKind<'_>) -> bool| {
            self.proposals.iter().filter(|p| wanted(p)).count()
        };
        let inits = count(|p| matches!(p, ProposalKind::ExternalInit));
        let removals = count(|p| matches!(p, ProposalKind::Remove));
        let keys = count(|p| matches!(p, ProposalKind::PreSharedKey));
        inits == 1
            && removals <= 1
            && inits + removals + keys == self.proposals.len()
            && self.references == 0
            && self.path.is_some()
    }
}

fn read_update_path<'a>(reader: &mut Reader<'a>) -> Result<LeafNode<'a>, MlsError> {
    let leaf = LeafNode::read(reader)?;
    reader.vector(TREE_DEPTH_MAX, |node| {
        node.opaque()?; // encryption_key
        node.vector(PROPOSALS_MAX, read_hpke_ciphertext)
    })?;
    Ok(leaf)
}

/// `HPKECiphertext` (section 7.6).
pub(super) fn read_hpke_ciphertext(reader: &mut Reader<'_>) -> Result<(), MlsError> {
    reader.opaque()?; // kem_output
    reader.opaque()?; // ciphertext
    Ok(())
}

/// `PreSharedKeyID` (section 8.4).
fn read_pre_shared_key_id(reader: &mut Reader<'_>) -> Result<(), MlsError> {
    match reader.u8()? {
        1 => {
            reader.opaque()?; // psk_id
        }
        2 => {
            reader.u8()?; // usage
            reader.opaque()?; // psk_group_id
            reader.u64()?; // psk_epoch
        }
        _ => return Err(MlsError::Unknown("a pre-shared key type")),
    }
    reader.opaque()?; // psk_nonce
    Ok(())
}

/// `ReInit` (section 12.1.5).
fn read_re_init(reader: &mut Reader<'_>) -> Result<(), MlsError> {
    reader.opaque()?; // group_id
    reader.version()?;
    reader.u16()?; // cipher_suite
    reader.extensions(|_, _| ())
}

const SELF_REMOVE: u16 = 0x000a;
/// Proposals of one commit, and copath resolutions of one node.
const PROPOSALS_MAX: usize = 4096;
/// 2^32 leaves.
const TREE_DEPTH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mls::leaf_node::Credential;

    /// Bytes of every kind, whose content nobody reads but for two.
    #[test]
    fn a_proposal_is_read_to_its_end() {
        for bytes in [
            &[0, 3, 0, 0, 0, 1][..],
            &[0, 4, 1, 1, 7, 1, 7],
            &[0, 4, 2, 1, 1, 7, 0, 0, 0, 0, 0, 0, 0, 1, 1, 7],
            &[0, 5, 1, 7, 0, 1, 0, 1, 0],
            &[0, 6, 1, 7],
            &[0, 7, 0],
            &[0, 10],
        ] {
            let mut reader = Reader::new(bytes);
            ProposalKind::read(&mut reader).unwrap();
            assert_eq!(reader.end(), Ok(()), "{bytes:?}");
        }
    }

    #[test]
    fn an_external_commit_has_one_init_one_removal_at_most_and_nothing_but_keys_beside() {
        use ProposalKind::{ExternalInit as Init, PreSharedKey as Key, Remove, Update};
        for (proposals, references, is_external) in [
            (vec![Init], 0, true),
            (vec![Key, Remove, Init, Key], 0, true),
            (vec![], 0, false),
            (vec![Remove], 0, false),
            (vec![Init, Init], 0, false),
            (vec![Init, Remove, Remove], 0, false),
            (vec![Init, Update], 0, false),
            (vec![Init], 1, false),
        ] {
            let removes = proposals.iter().any(|one| matches!(one, Remove));
            let mut commit = Commit {
                proposals,
                references,
                path: Some(LEAF),
            };
            assert_eq!(commit.is_external(), is_external, "{commit:?}");
            assert_eq!(commit.removes(), removes);
            commit.path = None;
            assert!(!commit.is_external());
        }
    }

    const LEAF: LeafNode<'_> = LeafNode {
        encryption_key: &[],
        signature_key: &[],
        credential: Credential::X509,
        lifetime: None,
        to_be_signed: &[],
        signature: &[],
    };
}
