//! Pure. What the relay checks of a commit, a Welcome and a GroupInfo before it
//! lets them near the store: that each is what it claims to be, for this group, and
//! that they belong together.

use crate::mls::{Commit, ContentType, GroupInfo, KeyPackageFault, Message, Sender, Welcome};
use crate::receipt::ReceiptSigner;
use crate::store::{Joining, NewCommit, NewReceipt, Rejoining};
use crate::types::{
    CipherSuite, CoarseTime, ConvoId, DeviceId, Did, Epoch, MessageId, unprintable,
};
use crate::wire::calls::{Handshake, KeyPackageHash};
use crate::wire::{Object, XrpcError, invalid};

/// Who signs for a commit, and the receipt before it.
pub(super) struct Signing<'a> {
    pub(super) signer: &'a ReceiptSigner,
    pub(super) previous: Option<[u8; 32]>,
}

impl Signing<'_> {
    /// Should the commit be accepted, it is the one that led out of its epoch.
    fn sign(&self, convo: &ConvoId, epoch: Epoch, bytes: &[u8], now: CoarseTime) -> NewCommit {
        let receipt = self.signer.sign(convo, epoch.next(), bytes, self.previous);
        NewCommit {
            epoch,
            bytes: bytes.to_vec(),
            message_id: MessageId::random(now),
            receipt: NewReceipt {
                json: receipt.to_json(),
                hash: receipt.hash(),
                previous: self.previous,
            },
        }
    }
}

/// A commit that was read: what to store, and whom it adds if that is in the clear.
pub(super) struct ReadCommit {
    pub(super) commit: NewCommit,
    /// The references of the key packages it adds by value; `None` when a private
    /// commit hides them, or when it only names proposals sent before.
    adds: Option<Vec<Vec<u8>>>,
}

unprintable!(ReadCommit);

impl ReadCommit {
    /// Reads a commit of a member of this group, and signs for it: should it be
    /// accepted, it is the one that led out of its epoch.
    pub(super) fn of(
        commit: &Handshake,
        convo: &ConvoId,
        now: CoarseTime,
        signing: &Signing<'_>,
    ) -> Result<Self, XrpcError> {
        let bytes = commit.as_slice();
        let fault = |what: &str| invalid("commit", what);
        let message = Message::parse(bytes).map_err(|error| invalid("commit", error))?;
        let framing = message
            .framing()
            .filter(|framing| framing.content_type == ContentType::Commit)
            .ok_or_else(|| fault("must be a commit"))?;
        check_group(convo, framing.group_id).map_err(fault)?;
        if framing
            .sender
            .is_some_and(|sender| sender != Sender::Member)
        {
            return Err(fault("must be sent by a member of the group"));
        }
        let epoch = epoch_of_commit(framing.epoch).map_err(fault)?;
        Ok(Self {
            commit: signing.sign(convo, epoch, bytes, now),
            adds: adds_in_the_clear(&message),
        })
    }

    /// Reads an external commit of the caller, and signs for it. Which leaf it may
    /// remove, and whether the signature is right, members check: the relay holds no
    /// tree.
    pub(super) fn external(
        commit: &Handshake,
        convo: &ConvoId,
        caller: &Did,
        now: CoarseTime,
        signing: &Signing<'_>,
    ) -> Result<(NewCommit, Rejoining), XrpcError> {
        let bytes = commit.as_slice();
        let fault = |what: &str| XrpcError::of_field("InvalidCommit", "externalCommit", what);
        let message = Message::parse(bytes).map_err(|error| fault(&error.to_string()))?;
        // RFC 9420 section 12.4.3.2: it is sent in the clear.
        let Message::Public(message) = message else {
            return Err(fault("must be a PublicMessage"));
        };
        let framing = message.framing;
        check_group(convo, framing.group_id).map_err(fault)?;
        let commit = message.commit.filter(Commit::is_external);
        let (leaf, resync) = commit
            .and_then(|commit| Some((commit.path?, commit.removes())))
            .filter(|_| framing.sender == Some(Sender::NewMemberCommit))
            .ok_or_else(|| fault("must be an external commit, with a path and no references"))?;
        let device = leaf.credential.device_of(caller);
        let device = device.ok_or_else(|| fault(&KeyPackageFault::Credential.to_string()))?;
        let device = device.map(DeviceId::parse).transpose();
        let device = device.map_err(|_| fault(NO_UUID))?;
        let epoch = epoch_of_commit(framing.epoch).map_err(fault)?;
        Ok((
            signing.sign(convo, epoch, bytes, now),
            Rejoining { device, resync },
        ))
    }

    /// A commit beside which nobody joins must not add anybody.
    pub(super) fn adds_nobody(self) -> Result<NewCommit, XrpcError> {
        match self.adds {
            Some(adds) if !adds.is_empty() => {
                let what = "must not add anybody; addMembers does that";
                Err(invalid("commit", what))
            }
            _ => Ok(self.commit),
        }
    }

    /// The Welcome must be for exactly the key packages that the commit adds.
    pub(super) fn adds_those_welcomed(self, joining: &Joining) -> Result<NewCommit, XrpcError> {
        let mut welcomed: Vec<&[u8]> = joining.references.iter().map(Vec::as_slice).collect();
        welcomed.sort_unstable();
        if let Some(mut added) = self.adds {
            added.sort_unstable();
            if added != welcomed {
                let what = "must be for the key packages that the commit adds";
                return Err(invalid("welcomeMessage", what));
            }
        }
        Ok(self.commit)
    }
}

/// The epoch that a commit is made in: one that another can follow.
fn epoch_of_commit(epoch: u64) -> Result<Epoch, &'static str> {
    if epoch >= Epoch::MAX {
        return Err("must be of an epoch below 2^53 - 1");
    }
    Epoch::try_from(epoch)
}

fn adds_in_the_clear(message: &Message<'_>) -> Option<Vec<Vec<u8>>> {
    let Message::Public(message) = message else {
        return None;
    };
    let commit = message.commit.as_ref()?;
    if commit.references > 0 {
        return None;
    }
    Some(
        commit
            .added()
            // A package of an unknown suite cannot be one of ours: it never matches.
            .map(|package| package.reference().unwrap_or_default())
            .collect(),
    )
}

/// Reads the Welcome of accounts that join, by the packages it is encrypted to.
pub(super) fn joining(
    mut users: Vec<Did>,
    welcome: Option<&Handshake>,
    hashes: &[Object<KeyPackageHash>],
    suite: CipherSuite,
    copies_bytes_max: usize,
) -> Result<Joining, XrpcError> {
    users.sort_unstable();
    users.dedup();
    if hashes.iter().any(|Object(hash)| !users.contains(&hash.did)) {
        let what = "must be of accounts that are added";
        return Err(invalid("keyPackageHashes", what));
    }
    let fault = |what: &str| invalid("welcomeMessage", what);
    let welcome = match (welcome, users.is_empty()) {
        (None, true) => return Ok(Joining::default()),
        (None, false) => return Err(fault("must be given when members are added")),
        (Some(_), true) => return Err(fault("must not be given when nobody is added")),
        (Some(welcome), false) => welcome.as_slice(),
    };
    let read = Welcome::parse(welcome).map_err(|error| fault(&error.to_string()))?;
    check_suite(suite, read.suite_number).map_err(fault)?;
    let mut references: Vec<Vec<u8>> = read.new_members.iter().map(|r| r.to_vec()).collect();
    references.sort_unstable();
    let named = references.len();
    references.dedup();
    if references.len() != named || named == 0 {
        return Err(fault("must name each new member's key package once"));
    }
    // Each of them gets a row of its own.
    if welcome.len().saturating_mul(named) > copies_bytes_max {
        let what = format!(
            "has {} bytes for each of {named} key packages, together over {copies_bytes_max}; \
             add them in several commits",
            welcome.len()
        );
        return Err(fault(&what));
    }
    Ok(Joining {
        users,
        references,
        welcome: welcome.to_vec(),
    })
}

/// Reads the GroupInfo of the epoch that a change leads to.
pub(super) fn group_info(
    info: Option<&Handshake>,
    convo: &ConvoId,
    suite: CipherSuite,
    epoch: Epoch,
) -> Result<Option<Vec<u8>>, XrpcError> {
    let Some(info) = info else {
        return Ok(None);
    };
    let fault = |what: &str| XrpcError::of_field("InvalidGroupInfo", "groupInfo", what);
    let read = GroupInfo::parse(info.as_slice()).map_err(|error| fault(&error.to_string()))?;
    check_group(convo, read.group_id).map_err(fault)?;
    check_suite(suite, read.suite_number).map_err(fault)?;
    if read.epoch != epoch.get() {
        let what = format!("must be of epoch {}, not {}", epoch.get(), read.epoch);
        return Err(fault(&what));
    }
    // Else it would take the place of one by which a device could come back.
    if !read.has_external_pub {
        return Err(fault("must have the external_pub extension"));
    }
    Ok(Some(info.as_slice().to_vec()))
}

/// A message's group is this conversation.
pub(super) fn check_group(convo: &ConvoId, group_id: &[u8]) -> Result<(), &'static str> {
    let is_group = ConvoId::of_group(group_id).is_ok_and(|id| id == *convo);
    is_group
        .then_some(())
        .ok_or("must be for this conversation's group")
}

fn check_suite(suite: CipherSuite, number: u16) -> Result<(), &'static str> {
    let is_suite = CipherSuite::from_number(number) == Some(suite);
    is_suite
        .then_some(())
        .ok_or("must be of the conversation's cipher suite")
}

/// Said of the credential in a leaf.
pub(super) const NO_UUID: &str = "has a credential whose device is not a UUID in lower case";
