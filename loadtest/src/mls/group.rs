//! A group as one of its devices sees it. Commits are staged, not merged, when
//! they are made: the relay's order decides, and the device merges its own
//! commit when it meets it there, like everyone else's.

use std::fmt;
use std::sync::Arc;

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    BasicCredential, Credential, KeyPackage, KeyPackageIn, LeafNodeIndex, MlsGroup, MlsMessageIn,
    MlsMessageOut, OpenMlsProvider as _, ProcessedMessageContent, ProtocolMessage, ProtocolVersion,
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

/// A commit of ours for the relay to order, with the Welcome for whom it adds.
#[derive(Clone, Debug)]
pub struct Commit {
    pub commit: Vec<u8>,
    pub welcome: Option<Vec<u8>>,
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
        let (commit, welcome, _) = self
            .mls
            .add_members(&self.device.provider, &self.device.signer, &key_packages)
            .map_err(MlsError::at("commit an add"))?;
        self.staged(&commit, Some(&welcome))
    }

    /// Stages a commit that removes every device of an account.
    pub fn remove(&mut self, did: &str) -> Result<Commit, MlsError> {
        let leaves = self.leaves_of(did);
        if leaves.is_empty() {
            return Err(MlsError::NoSuchMember);
        }
        let (commit, _, _) = self
            .mls
            .remove_members(&self.device.provider, &self.device.signer, &leaves)
            .map_err(MlsError::at("commit a removal"))?;
        self.staged(&commit, None)
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
    ) -> Result<Commit, MlsError> {
        let commit = serialize(commit)?;
        self.pending = Some(commit.clone());
        Ok(Commit {
            commit,
            welcome: welcome.map(serialize).transpose()?,
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
mod tests {
    use super::*;

    const ALICE: &str = "did:plc:alice";
    const BOB: &str = "did:plc:bob";
    const CAROL: &str = "did:plc:carol";

    fn device(did: &str, id: &str) -> Arc<Device> {
        Arc::new(Device::new(did, id).unwrap())
    }

    /// Alice and Bob in one group at epoch 1.
    fn pair() -> (Group, Group) {
        let (alice, bob) = (device(ALICE, "phone"), device(BOB, "phone"));
        let mut hers = alice.create_group().unwrap();
        let commit = hers.add(&[bob.key_package().unwrap()]).unwrap();
        hers.merge_commit().unwrap();
        let his = bob.join(&commit.welcome.unwrap()).unwrap();
        (hers, his)
    }

    fn text(received: &Received) -> &[u8] {
        match received {
            Received::Application { plaintext, .. } => plaintext,
            other => panic!("not an application message: {other:?}"),
        }
    }

    #[test]
    fn two_devices_share_a_group_and_read_each_other() {
        let (mut alice, mut bob) = pair();
        assert_eq!(alice.id(), bob.id());
        assert_eq!(alice.authenticator(), bob.authenticator());
        let sent = alice
            .encrypt("01ARZ3NDEKTSV4RRFFQ69G5FAV", b"hello")
            .unwrap();
        assert_eq!(sent.len(), 512);
        assert_eq!(
            bob.receive(&sent).unwrap(),
            Received::Application {
                sender: format!("{ALICE}#phone"),
                message_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
                plaintext: b"hello".to_vec(),
            }
        );
        assert_eq!(alice.receive(&sent).unwrap(), Received::Own);
        let answer = bob.encrypt("m2", b"hi").unwrap();
        assert_eq!(text(&alice.receive(&answer).unwrap()), b"hi");
    }

    #[test]
    fn a_message_cannot_be_read_twice() {
        let (mut alice, mut bob) = pair();
        let sent = alice.encrypt("m", b"once").unwrap();
        bob.receive(&sent).unwrap();
        assert!(bob.receive(&sent).is_err());
    }

    #[test]
    fn a_member_reads_from_its_join_to_its_removal_and_nothing_else() {
        let (mut alice, mut bob) = pair();
        let carol = device(CAROL, "phone");
        let before = alice.encrypt("m1", b"before").unwrap();
        bob.receive(&before).unwrap();

        let add = alice.add(&[carol.key_package().unwrap()]).unwrap();
        for group in [&mut alice, &mut bob] {
            assert_eq!(group.receive(&add.commit).unwrap(), Received::Epoch(2));
        }
        let mut hers = carol.join(&add.welcome.unwrap()).unwrap();
        assert_eq!(hers.members().len(), 3);
        assert!(hers.receive(&before).is_err());
        let during = bob.encrypt("m2", b"during").unwrap();
        assert_eq!(text(&hers.receive(&during).unwrap()), b"during");
        alice.receive(&during).unwrap();

        let removal = alice.remove(CAROL).unwrap();
        assert!(removal.welcome.is_none());
        for group in [&mut alice, &mut bob] {
            assert_eq!(group.receive(&removal.commit).unwrap(), Received::Epoch(3));
        }
        let after = bob.encrypt("m3", b"after").unwrap();
        assert!(hers.receive(&after).is_err());
        assert_eq!(hers.receive(&removal.commit).unwrap(), Received::Removed);
        assert!(hers.receive(&after).is_err());
        assert_eq!(text(&alice.receive(&after).unwrap()), b"after");
    }

    #[test]
    fn the_loser_of_an_epoch_takes_the_winners_commit_and_can_try_again() {
        let (mut alice, mut bob) = pair();
        let carol = device(CAROL, "phone");
        let lost = bob.add(&[carol.key_package().unwrap()]).unwrap();
        let won = alice.add(&[carol.key_package().unwrap()]).unwrap();
        bob.abandon_commit().unwrap();
        for group in [&mut alice, &mut bob] {
            assert_eq!(group.receive(&won.commit).unwrap(), Received::Epoch(2));
        }
        assert!(alice.receive(&lost.commit).is_err());
        assert_eq!(alice.authenticator(), bob.authenticator());
        assert!(bob.remove(CAROL).is_ok());
    }

    #[test]
    fn all_devices_of_an_account_leave_together() {
        let (mut alice, _) = pair();
        let tablet = device(BOB, "tablet");
        alice.add(&[tablet.key_package().unwrap()]).unwrap();
        alice.merge_commit().unwrap();
        assert_eq!(alice.members().len(), 3);
        alice.remove(BOB).unwrap();
        alice.merge_commit().unwrap();
        assert_eq!(alice.members(), [format!("{ALICE}#phone")]);
        assert!(matches!(alice.remove(BOB), Err(MlsError::NoSuchMember)));
    }

    #[test]
    fn something_else_than_zeros_after_the_message_is_refused() {
        let (mut alice, mut bob) = pair();
        let mut sent = alice.encrypt("m", b"hello").unwrap();
        *sent.last_mut().unwrap() = 1;
        assert!(matches!(bob.receive(&sent), Err(MlsError::Malformed)));
    }

    #[test]
    fn a_last_resort_key_package_joins_more_than_once() {
        let (alice, bob) = (device(ALICE, "phone"), device(BOB, "phone"));
        let key_package = bob.last_resort_key_package().unwrap();
        for _ in 0..2 {
            let mut group = alice.create_group().unwrap();
            let commit = group.add(std::slice::from_ref(&key_package)).unwrap();
            group.merge_commit().unwrap();
            bob.join(&commit.welcome.unwrap()).unwrap();
        }
    }
}
