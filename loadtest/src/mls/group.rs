//! A group as one of its devices sees it. Commits are staged, not merged, when
//! they are made: the relay's order decides, and the device merges its own
//! commit when it meets it there, like everyone else's.

use std::fmt;
use std::sync::Arc;

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    BasicCredential, Credential, KeyPackage, KeyPackageIn, LeafNodeIndex, LeafNodeParameters,
    MlsGroup, MlsMessageIn, MlsMessageOut, OpenMlsProvider as _, ProcessedMessageContent,
    ProtocolMessage, ProtocolVersion,
};

use super::padding;
use super::{Device, MlsError};

/// One device's state of one group.
pub struct Group {
    device: Arc<Device>,
    mls: MlsGroup,
    /// The bytes of our own commit that the relay has not ordered yet.
    pending: Option<Vec<u8>>,
}

/// A commit of ours for the relay to order, with the Welcome for whom it adds, and what
/// others need to join the epoch that it leads to by an external commit.
#[derive(Clone, Debug)]
pub struct Commit {
    pub commit: Vec<u8>,
    pub welcome: Option<Vec<u8>>,
    pub group_info: Option<Vec<u8>>,
}

/// What a message turned out to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Received {
    /// Somebody wrote. `message_id` is from the authenticated data.
    Application {
        sender: String,
        message_id: String,
        plaintext: Vec<u8>,
    },
    /// The group moved to this epoch.
    Epoch(u64),
    /// Our own application message: its keys are gone, as they should be.
    Own,
    /// A commit took this device out of the group.
    Removed,
}

impl Group {
    pub(super) fn new(device: Arc<Device>, mls: MlsGroup) -> Self {
        Self {
            device,
            mls,
            pending: None,
        }
    }

    /// The group id in lower-case hex, which is also the conversation's id.
    pub fn id(&self) -> String {
        let id = self.mls.group_id().as_slice();
        id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn epoch(&self) -> u64 {
        self.mls.epoch().as_u64()
    }

    /// Whether this device is still a member, as far as it has read.
    pub fn is_active(&self) -> bool {
        self.mls.is_active()
    }

    /// A value that two members share exactly if they are in the same state.
    pub fn authenticator(&self) -> Vec<u8> {
        self.mls.epoch_authenticator().as_slice().to_vec()
    }

    /// The tag in the commit that led to this epoch: two histories have two.
    pub fn confirmation_tag(&self) -> Result<Vec<u8>, MlsError> {
        let tag = self.mls.confirmation_tag().tls_serialize_detached();
        tag.map_err(MlsError::at("write a confirmation tag"))
    }

    /// The identities of all members, in the order of their leaves.
    pub fn members(&self) -> Vec<String> {
        let members = self.mls.members();
        members.map(|member| identity(&member.credential)).collect()
    }

    /// What others need to join by an external commit.
    pub fn group_info(&self) -> Result<Vec<u8>, MlsError> {
        let crypto = self.device.provider.crypto();
        let info = self
            .mls
            .export_group_info(crypto, &self.device.signer, true)
            .map_err(MlsError::at("export the group's info"))?;
        serialize(&info)
    }

    /// Stages a commit that adds the owners of these key packages.
    pub fn add(&mut self, key_packages: &[Vec<u8>]) -> Result<Commit, MlsError> {
        let key_packages = key_packages
            .iter()
            .map(|bytes| self.parse_key_package(bytes))
            .collect::<Result<Vec<_>, _>>()?;
        let (commit, welcome, info) = self
            .mls
            .add_members(&self.device.provider, &self.device.signer, &key_packages)
            .map_err(MlsError::at("commit an add"))?;
        self.staged(&commit, Some(&welcome), info.map(MlsMessageOut::from))
    }

    /// Stages a commit that removes every device of an account, or one: `did#deviceId`.
    pub fn remove(&mut self, did: &str) -> Result<Commit, MlsError> {
        let leaves = self.leaves_of(did);
        if leaves.is_empty() {
            return Err(MlsError::NoSuchMember);
        }
        let (commit, _, info) = self
            .mls
            .remove_members(&self.device.provider, &self.device.signer, &leaves)
            .map_err(MlsError::at("commit a removal"))?;
        self.staged(&commit, None, info.map(MlsMessageOut::from))
    }

    /// Stages a commit that gives this device's leaf fresh keys.
    pub fn update(&mut self) -> Result<Commit, MlsError> {
        let leaf = LeafNodeParameters::default();
        let (commit, _, info) = self
            .mls
            .self_update(&self.device.provider, &self.device.signer, leaf)
            .map_err(MlsError::at("commit an update"))?
            .into_messages();
        self.staged(&commit, None, info)
    }

    /// Stages a commit that removes one leaf of a device and adds it anew.
    pub fn replace(&mut self, identity: &str, key_package: &[u8]) -> Result<Commit, MlsError> {
        let leaves: Vec<_> = self
            .mls
            .members()
            .filter(|member| self::identity(&member.credential) == identity)
            .map(|member| member.index)
            .collect();
        let key_package = self.parse_key_package(key_package)?;
        let provider = &self.device.provider;
        let bundle = self
            .mls
            .commit_builder()
            .propose_removals(leaves)
            .propose_adds([key_package])
            .load_psks(provider.storage())
            .map_err(MlsError::at("load no keys"))?
            .build(
                provider.rand(),
                provider.crypto(),
                &self.device.signer,
                |_| true,
            )
            .map_err(MlsError::at("commit a replacement"))?
            .stage_commit(provider)
            .map_err(MlsError::at("stage a replacement"))?;
        let (commit, welcome, info) = bundle.into_messages();
        self.staged(&commit, welcome.as_ref(), info)
    }

    /// Forgets our staged commit: the relay refused it.
    pub fn abandon_commit(&mut self) -> Result<(), MlsError> {
        self.pending = None;
        self.mls
            .clear_pending_commit(self.device.provider.storage())
            .map_err(MlsError::at("clear a commit"))
    }

    /// Merges our staged commit, for a group that the relay does not know yet.
    pub fn merge_commit(&mut self) -> Result<(), MlsError> {
        self.pending = None;
        self.mls
            .merge_pending_commit(&self.device.provider)
            .map_err(MlsError::at("merge our commit"))
    }

    /// Encrypts for the current epoch, with the message's id as authenticated
    /// data, and pads to a bucket.
    pub fn encrypt(&mut self, message_id: &str, plaintext: &[u8]) -> Result<Vec<u8>, MlsError> {
        self.mls.set_aad(message_id.as_bytes().to_vec());
        let message = self
            .mls
            .create_message(&self.device.provider, &self.device.signer, plaintext)
            .map_err(MlsError::at("encrypt"))?;
        padding::pad(serialize(&message)?).map_err(|_| MlsError::Malformed)
    }

    /// The epoch that a message was made in, as its framing says. A device that
    /// reads in order meets earlier epochs only from before it joined.
    pub fn epoch_of(bytes: &[u8]) -> Option<u64> {
        parse(bytes).ok().map(|message| message.epoch().as_u64())
    }

    /// Takes the next message of the conversation, padded or not.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Received, MlsError> {
        if self.pending.as_deref() == Some(bytes) {
            self.merge_commit()?;
            return Ok(Received::Epoch(self.epoch()));
        }
        let processed = self
            .mls
            .process_message(&self.device.provider, parse(bytes)?)
            .map_err(MlsError::at("read a message"))?;
        let sender = identity(processed.credential());
        let message_id = String::from_utf8_lossy(processed.aad()).into_owned();
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => Ok(Received::Application {
                sender,
                message_id,
                plaintext: message.into_bytes(),
            }),
            ProcessedMessageContent::StagedCommitMessage(commit) => {
                // Somebody else's commit won this epoch; ours is for nothing.
                self.pending = None;
                self.mls
                    .merge_staged_commit(&self.device.provider, *commit)
                    .map_err(MlsError::at("merge a commit"))?;
                Ok(if self.is_active() {
                    Received::Epoch(self.epoch())
                } else {
                    Received::Removed
                })
            }
            ProcessedMessageContent::OwnPrivateMessage => Ok(Received::Own),
            _ => Err(MlsError::Malformed),
        }
    }

    fn staged(
        &mut self,
        commit: &MlsMessageOut,
        welcome: Option<&MlsMessageOut>,
        group_info: Option<MlsMessageOut>,
    ) -> Result<Commit, MlsError> {
        let commit = serialize(commit)?;
        self.pending = Some(commit.clone());
        Ok(Commit {
            commit,
            welcome: welcome.map(serialize).transpose()?,
            group_info: group_info.as_ref().map(serialize).transpose()?,
        })
    }

    fn leaves_of(&self, did: &str) -> Vec<LeafNodeIndex> {
        let of_account = |identity: &str| {
            identity
                .strip_prefix(did)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
        };
        self.mls
            .members()
            .filter(|member| of_account(&identity(&member.credential)))
            .map(|member| member.index)
            .collect()
    }

    fn parse_key_package(&self, bytes: &[u8]) -> Result<KeyPackage, MlsError> {
        KeyPackageIn::tls_deserialize_exact(bytes)
            .map_err(|_| MlsError::Malformed)?
            .validate(self.device.provider.crypto(), ProtocolVersion::Mls10)
            .map_err(MlsError::at("check a key package"))
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

fn serialize(message: &MlsMessageOut) -> Result<Vec<u8>, MlsError> {
    message
        .tls_serialize_detached()
        .map_err(MlsError::at("write a message"))
}

/// Strips the padding by reading the MLSMessage and looking at what is left.
fn parse(bytes: &[u8]) -> Result<ProtocolMessage, MlsError> {
    let mut rest = bytes;
    let message = MlsMessageIn::tls_deserialize(&mut rest).map_err(|_| MlsError::Malformed)?;
    if !padding::is_padding(rest) {
        return Err(MlsError::Malformed);
    }
    message
        .try_into_protocol_message()
        .map_err(|_| MlsError::Malformed)
}

fn identity(credential: &Credential) -> String {
    match BasicCredential::try_from(credential.clone()) {
        Ok(basic) => String::from_utf8_lossy(basic.identity()).into_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
