//! Conversations, who is in them, and the one way to change that.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::{Store, StoreError, rows};
use crate::types::{CipherSuite, CoarseTime, ConvoId, DeviceId, Did, Epoch, MessageId};

/// A conversation as its members may see it.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub convo: ConvoId,
    pub creator: Did,
    pub cipher_suite: CipherSuite,
    pub epoch: Epoch,
    pub last_seq: u64,
    pub name: Option<String>,
    pub description: Option<String>,
    pub created_at: CoarseTime,
    pub last_message_at: Option<CoarseTime>,
    pub members: Vec<Member>,
    /// Where the next page of a list begins: before this place.
    pub place: u64,
}

/// One device's seat, or a whole account's where it has no devices.
#[derive(Clone, Debug)]
pub struct Member {
    pub user: Did,
    pub device: Option<DeviceId>,
    pub device_name: Option<String>,
    pub joined_at: CoarseTime,
    pub is_admin: bool,
    pub promoted_at: Option<CoarseTime>,
    pub promoted_by: Option<Did>,
}

/// What an active member may know before it reads or writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// SHA-256 of the receipt of the commit that led to this epoch.
    pub receipt_hash: Option<[u8; 32]>,
    pub epoch: Epoch,
    pub cipher_suite: CipherSuite,
    pub last_seq: u64,
    /// Messages up to this number are from before this account's stay.
    pub joined_after: u64,
    pub is_admin: bool,
}

/// Accounts that join, each by the key packages its Welcome is encrypted to.
#[derive(Clone, Debug, Default)]
pub struct Joining {
    pub users: Vec<Did>,
    /// KeyPackageRefs (RFC 9420 section 5.2) in the Welcome.
    pub references: Vec<Vec<u8>>,
    pub welcome: Vec<u8>,
}

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
}

/// A commit made in `epoch`, under the id its event will carry.
#[derive(Clone, Debug)]
pub struct NewCommit {
    pub epoch: Epoch,
    pub bytes: Vec<u8>,
    pub message_id: MessageId,
    pub receipt: NewReceipt,
}

/// A commit's signed receipt, to be stored beside it and sent with its event.
#[derive(Clone, Debug)]
pub struct NewReceipt {
    /// What members are shown.
    pub json: String,
    /// SHA-256 of it, as the next one will name it.
    pub hash: [u8; 32],
    /// The one that it names: the receipt of the commit that led to this epoch.
    pub previous: Option<[u8; 32]>,
}

/// A conversation to found.
#[derive(Clone, Debug)]
pub struct NewConversation {
    pub convo: ConvoId,
    pub creator: Did,
    pub cipher_suite: CipherSuite,
    /// The epoch the group is in after the first members were added.
    pub epoch: Epoch,
    pub name: Option<String>,
    pub description: Option<String>,
    pub joining: Joining,
    pub group_info: Option<Vec<u8>>,
}

/// A change of who is in a conversation, or of its epoch. Everything in it
/// happens, or nothing does.
#[derive(Clone, Debug)]
pub struct GroupChange {
    pub convo: ConvoId,
    pub caller: Did,
    pub commit: Option<NewCommit>,
    pub joining: Joining,
    pub leaving: Option<Leaving>,
    /// The commit is external, and this is who made it.
    pub rejoining: Option<Rejoining>,
    pub admin_only: bool,
    pub group_info: Option<Vec<u8>>,
}

/// What became of a change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChangeOutcome {
    /// Made now, or the same commit was made before: the epoch it led to, and the
    /// commit's receipt.
    Done {
        epoch: Epoch,
        received_at: CoarseTime,
        receipt: Option<String>,
    },
    AlreadyMember,
    EpochMismatch {
        current: Epoch,
    },
    /// A conversation of this id exists.
    Exists,
    KeyPackageNotFound,
    LastAdmin,
    NotAdmin,
    NotMember,
    TargetNotMember,
    TooManyMembers,
    /// The Welcome's targets are not the members added.
    WelcomeMismatch,
}

impl Store {
    /// Founds a conversation with its first members.
    pub async fn create_conversation(
        &self,
        new: &NewConversation,
    ) -> Result<ChangeOutcome, StoreError> {
        let (users, references, welcome) = joining_params(&new.joining);
        let found = self
            .query(
                "SELECT outcome, epoch, received_at, NULL::text AS receipt FROM create_conversation(\
                     $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                &[
                    &new.convo.expose(),
                    &new.creator.expose(),
                    &rows::suite_number(new.cipher_suite),
                    &rows::int(new.epoch.get()),
                    &new.name,
                    &new.description,
                    &users,
                    &references,
                    &welcome,
                    &new.group_info,
                    &self.members_max(),
                ],
            )
            .await?;
        outcome(&found)
    }

    /// Changes who is in a conversation, its epoch, or both: compare-and-set on
    /// the epoch, in one transaction with everything that hangs on it.
    pub async fn change_group(&self, change: &GroupChange) -> Result<ChangeOutcome, StoreError> {
        let (users, references, welcome) = joining_params(&change.joining);
        let commit = change.commit.as_ref();
        let leaving = change.leaving.as_ref();
        let rejoining = change.rejoining.as_ref();
        let found = self
            .query(
                "SELECT outcome, epoch, received_at, receipt FROM change_group($1, $2, $3, $4, $5, \
                     $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
                &[
                    &change.convo.expose(),
                    &change.caller.expose(),
                    &commit.map(|c| rows::int(c.epoch.get())),
                    &commit.map(|c| c.bytes.as_slice()),
                    &commit.map(|c| c.message_id.expose()),
                    &commit.map(|c| c.receipt.json.as_str()),
                    &commit.map(|c| c.receipt.hash.as_slice()),
                    &commit
                        .and_then(|c| c.receipt.previous.as_ref())
                        .map(|p| p.as_slice()),
                    &users,
                    &references,
                    &welcome,
                    &leaving.map(|l| l.user.expose()),
                    &leaving
                        .and_then(|l| l.device.as_ref())
                        .map(DeviceId::expose),
                    &leaving.map(|l| if l.removed { "removed" } else { "left" }),
                    &change.admin_only,
                    &change.group_info,
                    &self.members_max(),
                    &rejoining.is_some(),
                    &rejoining
                        .and_then(|r| r.device.as_ref())
                        .map(DeviceId::expose),
                ],
            )
            .await?;
        outcome(&found)
    }

    /// What this account may do in the conversation; `None` if it is no member.
    pub async fn standing(
        &self,
        convo: &ConvoId,
        did: &Did,
    ) -> Result<Option<Standing>, StoreError> {
        let found = self
            .query(
                "SELECT c.epoch, c.cipher_suite, c.last_seq, c.receipt_hash, m.joined_after, \
                 m.is_admin \
                 FROM conversations c CROSS JOIN LATERAL (\
                     SELECT min(m.joined_message_seq) AS joined_after, bool_or(m.is_admin) AS is_admin \
                     FROM members m WHERE m.convo_id = c.convo_id AND m.user_did = $2 \
                     AND m.left_seq IS NULL) m \
                 WHERE c.convo_id = $1 AND m.joined_after IS NOT NULL",
                &[&convo.expose(), &did.expose()],
            )
            .await?;
        found
            .first()
            .map(|row| {
                let receipt_hash: Option<&[u8]> = rows::get(row, "receipt_hash")?;
                Ok(Standing {
                    receipt_hash: receipt_hash
                        .map(|hash| hash.try_into().map_err(|_| StoreError::Shape))
                        .transpose()?,
                    epoch: rows::epoch(row, "epoch")?,
                    cipher_suite: rows::suite(row, "cipher_suite")?,
                    last_seq: rows::count(row, "last_seq")?,
                    joined_after: rows::count(row, "joined_after")?,
                    is_admin: rows::get(row, "is_admin")?,
                })
            })
            .transpose()
    }

    /// The account's conversations, latest joined first, before `place` if given.
    pub async fn conversations(
        &self,
        did: &Did,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Conversation>, StoreError> {
        let before = before.map(rows::int);
        let found = self
            .query(
                "SELECT c.*, mine.place FROM (\
                     SELECT m.convo_id, min(m.joined_seq) AS place FROM members m \
                     WHERE m.user_did = $1 AND m.left_seq IS NULL GROUP BY m.convo_id) mine \
                 JOIN conversations c USING (convo_id) \
                 WHERE $2::bigint IS NULL OR mine.place < $2 ORDER BY mine.place DESC LIMIT $3",
                &[&did.expose(), &before, &i64::from(limit)],
            )
            .await?;
        self.with_members(&found).await
    }

    /// One conversation, whoever asks: check the standing first.
    pub async fn conversation(&self, convo: &ConvoId) -> Result<Option<Conversation>, StoreError> {
        let found = self
            .query(
                "SELECT c.*, 0::bigint AS place FROM conversations c WHERE c.convo_id = $1",
                &[&convo.expose()],
            )
            .await?;
        Ok(self.with_members(&found).await?.pop())
    }

    async fn with_members(&self, found: &[Row]) -> Result<Vec<Conversation>, StoreError> {
        let ids: Vec<&str> = found
            .iter()
            .map(|row| rows::get(row, "convo_id"))
            .collect::<Result<_, _>>()?;
        let seats = self
            .query(
                "SELECT m.*, d.name AS device_name FROM members m \
                 LEFT JOIN devices d ON d.user_did = m.user_did AND d.device_id = m.device_id \
                 WHERE m.convo_id = ANY ($1) AND m.left_seq IS NULL \
                 ORDER BY m.joined_seq, m.user_did, m.device_id",
                &[&ids],
            )
            .await?;
        let mut members: HashMap<&str, Vec<Member>> = HashMap::new();
        for row in &seats {
            members
                .entry(rows::get(row, "convo_id")?)
                .or_default()
                .push(member(row)?);
        }
        found
            .iter()
            .map(|row| {
                Ok(Conversation {
                    convo: rows::convo(row, "convo_id")?,
                    creator: rows::did(row, "creator_did")?,
                    cipher_suite: rows::suite(row, "cipher_suite")?,
                    epoch: rows::epoch(row, "epoch")?,
                    last_seq: rows::count(row, "last_seq")?,
                    name: rows::get(row, "name")?,
                    description: rows::get(row, "description")?,
                    created_at: rows::time(row, "created_at")?,
                    last_message_at: rows::optional_time(row, "last_message_at")?,
                    members: members
                        .remove(rows::get::<&str>(row, "convo_id")?)
                        .unwrap_or_default(),
                    place: rows::count(row, "place")?,
                })
            })
            .collect()
    }

    fn members_max(&self) -> i32 {
        i32::try_from(self.settings().members_max).unwrap_or(i32::MAX)
    }
}

fn member(row: &Row) -> Result<Member, StoreError> {
    let promoted_by: Option<&str> = rows::get(row, "promoted_by")?;
    Ok(Member {
        user: rows::did(row, "user_did")?,
        device: rows::device(row, "device_id")?,
        device_name: rows::get(row, "device_name")?,
        joined_at: rows::time(row, "joined_at")?,
        is_admin: rows::get(row, "is_admin")?,
        promoted_at: rows::optional_time(row, "promoted_at")?,
        promoted_by: promoted_by
            .map(|_| rows::did(row, "promoted_by"))
            .transpose()?,
    })
}

fn joining_params(joining: &Joining) -> (Vec<&str>, Vec<&[u8]>, Option<&[u8]>) {
    let users = joining.users.iter().map(Did::expose).collect();
    let references = joining.references.iter().map(Vec::as_slice).collect();
    let welcome = (!joining.references.is_empty()).then_some(joining.welcome.as_slice());
    (users, references, welcome)
}

fn outcome(found: &[Row]) -> Result<ChangeOutcome, StoreError> {
    let row = found.first().ok_or(StoreError::Shape)?;
    Ok(match rows::get(row, "outcome")? {
        "done" | "repeated" => ChangeOutcome::Done {
            epoch: rows::epoch(row, "epoch")?,
            received_at: rows::time(row, "received_at")?,
            receipt: rows::get(row, "receipt")?,
        },
        "absent" => ChangeOutcome::NotMember,
        "already_member" => ChangeOutcome::AlreadyMember,
        "epoch" => ChangeOutcome::EpochMismatch {
            current: rows::epoch(row, "epoch")?,
        },
        "exists" => ChangeOutcome::Exists,
        "key_package_not_found" => ChangeOutcome::KeyPackageNotFound,
        "last_admin" => ChangeOutcome::LastAdmin,
        "not_admin" => ChangeOutcome::NotAdmin,
        "target_absent" => ChangeOutcome::TargetNotMember,
        "too_many_members" => ChangeOutcome::TooManyMembers,
        "welcome_mismatch" => ChangeOutcome::WelcomeMismatch,
        _ => return Err(StoreError::Shape),
    })
}
