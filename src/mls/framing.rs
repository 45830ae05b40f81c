//! Pure. Framed content (RFC 9420 section 6): the header that says group, epoch
//! and kind, in the clear in both a PublicMessage and a PrivateMessage.

use super::commit::{Commit, ProposalKind};
use super::reader::{MlsError, Reader};

/// What a framed message carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ContentType {
    Application,
    Proposal,
    Commit,
}

impl ContentType {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MlsError> {
        match reader.u8()? {
            1 => Ok(Self::Application),
            2 => Ok(Self::Proposal),
            3 => Ok(Self::Commit),
            _ => Err(MlsError::Unknown("a content type")),
        }
    }
}

/// Who claims to have sent a PublicMessage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sender {
    Member,
    External,
    NewMemberProposal,
    NewMemberCommit,
}

impl Sender {
    fn read(reader: &mut Reader<'_>) -> Result<Self, MlsError> {
        match reader.u8()? {
            1 => reader.u32().map(|_| Self::Member),
            2 => reader.u32().map(|_| Self::External),
            3 => Ok(Self::NewMemberProposal),
            4 => Ok(Self::NewMemberCommit),
            _ => Err(MlsError::Unknown("a sender type")),
        }
    }
}

/// What stands in front of every framed message.
#[derive(Clone, Copy, Debug)]
pub struct Framing<'a> {
    pub group_id: &'a [u8],
    pub epoch: u64,
    /// Only members see who sent a PrivateMessage.
    pub sender: Option<Sender>,
    pub content_type: ContentType,
}

impl<'a> Framing<'a> {
    /// That of a PrivateMessage (section 6.3), of which nobody but members can read more.
    pub(super) fn of_private(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        let framing = Self {
            group_id: reader.opaque()?,
            epoch: reader.u64()?,
            sender: None,
            content_type: ContentType::read(reader)?,
        };
        // Readable by everyone on the way; clients put the message id here.
        let _authenticated_data = reader.opaque()?;
        let _encrypted_sender_data = reader.opaque()?;
        let _ciphertext = reader.opaque()?;
        Ok(framing)
    }
}

/// A signed message in the clear (section 6.2). Its signature is the members'
/// business: the relay does not hold the tree.
#[derive(Clone, Debug)]
pub struct PublicMessage<'a> {
    pub framing: Framing<'a>,
    /// What it carries, if that is a commit.
    pub commit: Option<Commit<'a>>,
}

impl<'a> PublicMessage<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        let group_id = reader.opaque()?;
        let epoch = reader.u64()?;
        let sender = Sender::read(reader)?;
        let _authenticated_data = reader.opaque()?;
        let content_type = ContentType::read(reader)?;
        let mut commit = None;
        match content_type {
            ContentType::Application => _ = reader.opaque()?,
            ContentType::Proposal => _ = ProposalKind::read(reader)?,
            ContentType::Commit => commit = Some(Commit::read(reader)?),
        }
        let _signature = reader.opaque()?;
        if commit.is_some() {
            let _confirmation_tag = reader.opaque()?;
        }
        if sender == Sender::Member {
            let _membership_tag = reader.opaque()?;
        }
        Ok(Self {
            framing: Framing {
                group_id,
                epoch,
                sender: Some(sender),
                content_type,
            },
            commit,
        })
    }
}
