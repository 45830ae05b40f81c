//! The one way to change who is in a conversation, or its epoch.

use tokio_postgres::Row;

use super::rows::{bound, get, int};
use super::{Params, Store, StoreError};
use crate::types::{
    CipherSuite, CoarseTime, ConvoId, DeviceId, Did, Epoch, MessageId, unprintable,
};

/// Accounts that join, each by the key packages its Welcome is encrypted to.
#[derive(Clone, Default)]
pub struct Joining {
    pub users: Vec<Did>,
    /// KeyPackageRefs (RFC 9420 section 5.2) in the Welcome.
    pub references: Vec<Vec<u8>>,
    pub welcome: Vec<u8>,
}

unprintable!(Joining);

/// An account that goes, with all its devices or one.
#[derive(Clone, Debug)]
pub struct Leaving {
    pub user: Did,
    pub device: Option<DeviceId>,
    /// `true`: somebody else removes it, which only an admin may.
    pub removed: bool,
}

/// A member's device that comes (back) by an external commit; `None` within: an
/// account without devices.
#[derive(Clone, Debug)]
pub struct Rejoining {
    pub device: Option<DeviceId>,
    /// The commit removes a leaf: the one that the device had.
    pub resync: bool,
}

/// A commit made in `epoch`, under the id its event will carry.
#[derive(Clone)]
pub struct NewCommit {
    pub epoch: Epoch,
    pub bytes: Vec<u8>,
    pub message_id: MessageId,
    pub receipt: NewReceipt,
}

unprintable!(NewCommit);

/// A commit's signed receipt, to be stored beside it and sent with its event.
#[derive(Clone)]
pub struct NewReceipt {
    /// What members are shown.
    pub json: String,
    /// SHA-256 of it, as the next one will name it.
    pub hash: [u8; 32],
    /// The one that it names: the receipt of the commit that led to this epoch.
    pub previous: Option<[u8; 32]>,
}

unprintable!(NewReceipt);

/// What one account may have of a conversation, of all of them, and may leave waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SeatBounds {
    /// Seats of one account in one conversation: its devices.
    pub devices_max: u32,
    /// Conversations that an account is in; over it, it founds and is put into no more.
    pub convos_max: u32,
    /// Conversations whose Welcomes an account has not confirmed; over it, others put it into
    /// no more.
    pub unconfirmed_convos_max: u32,
    /// Bytes of the Welcomes that are kept for one account.
    pub welcome_bytes_max: u64,
}

impl Default for SeatBounds {
    fn default() -> Self {
        Self {
            devices_max: 32,
            convos_max: 5_000,
            unconfirmed_convos_max: 500,
            welcome_bytes_max: 128 << 20,
        }
    }
}

/// A conversation to found.
#[derive(Clone)]
pub struct NewConversation {
    pub convo: ConvoId,
    pub creator: Did,
    /// The creator's device on which the group was made, if it is told: a registered one.
    pub device: Option<DeviceId>,
    pub cipher_suite: CipherSuite,
    /// The epoch the group is in after the first members were added.
    pub epoch: Epoch,
    pub name: Option<String>,
    pub description: Option<String>,
    pub joining: Joining,
    pub group_info: Option<Vec<u8>>,
    pub bounds: SeatBounds,
}

unprintable!(NewConversation);

/// A change of who is in a conversation, or of its epoch. Everything in it
/// happens, or nothing does.
#[derive(Clone)]
pub struct GroupChange {
    pub convo: ConvoId,
    pub caller: Did,
    pub commit: Option<NewCommit>,
    pub joining: Joining,
    pub leaving: Option<Leaving>,
    /// The commit is external, and this is who made it.
    pub rejoining: Option<Rejoining>,
    pub group_info: Option<Vec<u8>>,
    pub bounds: SeatBounds,
}

unprintable!(GroupChange);

impl GroupChange {
    /// A change that changes nothing yet.
    pub fn of(convo: ConvoId, caller: Did, bounds: SeatBounds) -> Self {
        Self {
            convo,
            caller,
            commit: None,
            joining: Joining::default(),
            leaving: None,
            rejoining: None,
            group_info: None,
            bounds,
        }
    }
}

/// What became of a change.
#[derive(Clone, Eq, PartialEq)]
pub enum ChangeOutcome {
    /// Made now, or the same commit was made before: the epoch it led to, and the
    /// commit's receipt.
    Done {
        epoch: Epoch,
        received_at: CoarseTime,
        receipt: Option<String>,
    },
    /// A device that the Welcome is for has a seat.
    AlreadyMember {
        whom: Vec<Did>,
    },
    EpochMismatch {
        current: Epoch,
    },
    /// A conversation of this id exists.
    Exists,
    /// The Welcome is for a package that is not held, and none is of these.
    KeyPackageNotFound {
        whom: Vec<Did>,
    },
    LastAdmin,
    NotAdmin,
    NotMember,
    TargetNotMember,
    /// These are in as many conversations as an account may be; nobody: the caller is.
    TooManyConvos {
        whom: Vec<Did>,
    },
    /// These would have more seats than an account may have devices.
    TooManyDevices {
        whom: Vec<Did>,
    },
    /// The conversation would have more seats than so many.
    TooManyMembers {
        most: u32,
    },
    /// Too much waits already for these.
    TooManyWelcomes {
        whom: Vec<Did>,
    },
    /// The founder's device is not registered.
    UnknownDevice,
    /// The Welcome's targets are not the members added.
    WelcomeMismatch,
}

unprintable!(ChangeOutcome);

impl Store {
    /// Founds a conversation with its first members.
    pub async fn create_conversation(
        &self,
        new: &NewConversation,
    ) -> Result<ChangeOutcome, StoreError> {
        let (bounds, members_max) = (&new.bounds, self.settings().members_max);
        let sql = "SELECT outcome, epoch, received_at, NULL::text AS receipt, whom FROM create_conversation(\
                       $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
        let params: Params<'_> = &[
            &new.convo,
            &new.creator,
            &new.cipher_suite,
            &new.epoch,
            &new.name,
            &new.description,
            &new.joining.users,
            &new.joining.references,
            &new.joining.welcome(),
            &new.group_info,
            &bound(members_max),
            &new.device,
            &bound(bounds.devices_max),
            &bound(bounds.unconfirmed_convos_max),
            &int(bounds.welcome_bytes_max),
            &bound(bounds.convos_max),
        ];
        let read = |row: &Row| outcome(row, members_max);
        self.calls().one(sql, params, read).await
    }

    /// Changes who is in a conversation, its epoch, or both: compare-and-set on
    /// the epoch, in one transaction with everything that hangs on it.
    pub async fn change_group(&self, change: &GroupChange) -> Result<ChangeOutcome, StoreError> {
        let (bounds, members_max) = (&change.bounds, self.settings().members_max);
        let commit = change.commit.as_ref();
        let previous = commit.and_then(|c| c.receipt.previous.as_ref());
        let leaving = change.leaving.as_ref();
        let rejoining = change.rejoining.as_ref();
        let sql = "SELECT outcome, epoch, received_at, receipt, whom FROM change_group($1, $2, $3, $4, $5, \
                       $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, NULL, $21, $22, $23, $24)";
        let params: Params<'_> = &[
            &change.convo,
            &change.caller,
            &commit.map(|c| c.epoch),
            &commit.map(|c| &c.bytes),
            &commit.map(|c| &c.message_id),
            &commit.map(|c| &c.receipt.json),
            &commit.map(|c| c.receipt.hash.as_slice()),
            &previous.map(|hash| hash.as_slice()),
            &change.joining.users,
            &change.joining.references,
            &change.joining.welcome(),
            &leaving.map(|l| &l.user),
            &leaving.and_then(|l| l.device.as_ref()),
            &leaving.map(|l| if l.removed { "removed" } else { "left" }),
            &leaving.is_some_and(|l| l.removed),
            &change.group_info,
            &bound(members_max),
            &rejoining.is_some(),
            &rejoining.and_then(|r| r.device.as_ref()),
            &rejoining.is_some_and(|r| r.resync),
            &bound(bounds.devices_max),
            &bound(bounds.unconfirmed_convos_max),
            &int(bounds.welcome_bytes_max),
            &bound(bounds.convos_max),
        ];
        let read = |row: &Row| outcome(row, members_max);
        self.calls().one(sql, params, read).await
    }
}

impl Joining {
    /// Where there is nobody whom it is for, there is none.
    fn welcome(&self) -> Option<&[u8]> {
        (!self.references.is_empty()).then_some(self.welcome.as_slice())
    }
}

fn outcome(row: &Row, members_max: u32) -> Result<ChangeOutcome, StoreError> {
    let whom = || get(row, "whom");
    Ok(match get(row, "outcome")? {
        "done" | "repeated" => ChangeOutcome::Done {
            epoch: get(row, "epoch")?,
            received_at: get(row, "received_at")?,
            receipt: get(row, "receipt")?,
        },
        "absent" => ChangeOutcome::NotMember,
        "already_member" => ChangeOutcome::AlreadyMember { whom: whom()? },
        "epoch" => ChangeOutcome::EpochMismatch {
            current: get(row, "epoch")?,
        },
        "exists" => ChangeOutcome::Exists,
        "key_package_not_found" => ChangeOutcome::KeyPackageNotFound { whom: whom()? },
        "last_admin" => ChangeOutcome::LastAdmin,
        "not_admin" => ChangeOutcome::NotAdmin,
        "target_absent" => ChangeOutcome::TargetNotMember,
        "too_many_convos" => {
            metrics::counter!("relay_store_convos_refused_total").increment(1);
            ChangeOutcome::TooManyConvos { whom: whom()? }
        }
        "too_many_devices" => ChangeOutcome::TooManyDevices { whom: whom()? },
        "too_many_members" => ChangeOutcome::TooManyMembers { most: members_max },
        "too_many_welcomes" => {
            metrics::counter!("relay_store_welcomes_refused_total").increment(1);
            ChangeOutcome::TooManyWelcomes { whom: whom()? }
        }
        "unknown_device" => ChangeOutcome::UnknownDevice,
        "welcome_mismatch" => ChangeOutcome::WelcomeMismatch,
        _ => return Err(StoreError::Shape),
    })
}
