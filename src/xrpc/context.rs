//! What a handler works with: who calls, when, and the parts it may use.

use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use super::Settings;
use super::handshake::{ReadCommit, Signing};
use super::packages::Intake;
use super::turns::{Turn, Turns};
use crate::auth::{Authenticator, Caller};
use crate::blocks::Blocks;
use crate::events::Hub;
use crate::receipt::ReceiptSigner;
use crate::refusal::Refusal;
use crate::store::{AppendError, Appended, GroupChange, Nonce, Standing, Store};
use crate::types::{CoarseTime, ConvoId, DeviceId, Did, Nsid};
use crate::wire::XrpcError;
use crate::wire::calls::Handshake;

/// The parts of the relay that calls use.
pub struct Parts {
    pub store: Store,
    pub auth: Authenticator,
    pub blocks: Blocks,
    pub hub: Hub,
    pub receipts: Arc<ReceiptSigner>,
}

/// One call's surroundings. Owns all it needs: some calls outlive their request.
pub(super) struct Context {
    pub(super) parts: Arc<Parts>,
    pub(super) turns: Arc<Turns>,
    pub(super) settings: Arc<Settings>,
    pub(super) caller: Caller,
    /// Of the caller's token, until somebody has used it up.
    pub(super) nonce: Mutex<Option<Nonce>>,
    pub(super) now: DateTime<Utc>,
}

impl Deref for Context {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Context {
    pub(super) fn did(&self) -> &Did {
        self.caller.did()
    }

    /// Waits for the caller's turn at what all calls share. Sends have connections of their own.
    pub(super) async fn turn(&self, call: Nsid) -> Result<Turn, XrpcError> {
        match call {
            Nsid::SendMessage => Ok(None),
            _ => self.turns.take(self.did()).await,
        }
    }

    pub(super) fn now_coarse(&self) -> CoarseTime {
        CoarseTime::floor(self.now)
    }

    /// What became of a nonce that an append took along.
    pub(super) fn note_use(&self, nonce: Nonce, appended: &Result<Appended, AppendError>) {
        match appended {
            // Nothing was written, the nonce neither.
            Err(AppendError::Full { .. } | AppendError::Store(_)) => {}
            Err(AppendError::NonceUsed) => self.auth.used_up(nonce, false),
            _ => self.auth.used_up(nonce, true),
        }
    }

    /// A change of a group by the caller, which changes nothing yet.
    pub(super) fn change(&self, convo: ConvoId) -> GroupChange {
        GroupChange::of(convo, self.did().clone(), self.settings.seats)
    }

    /// What key packages of the caller are judged by: the device that they are all for, and the
    /// key that it says it has.
    pub(super) fn intake<'a>(
        &'a self,
        device: Option<&'a DeviceId>,
        signature_key: Option<&'a [u8]>,
    ) -> Intake<'a> {
        Intake {
            caller: self.did(),
            device,
            signature_key,
            now_unix: u64::try_from(self.now.timestamp()).unwrap_or(0),
            life_max: self.settings.key_package_life_max,
        }
    }

    /// By whom a commit is signed for, in a conversation that stands so.
    pub(super) fn signing(&self, standing: &Standing) -> Signing<'_> {
        Signing {
            signer: &self.receipts,
            previous: standing.receipt_hash,
        }
    }

    /// Reads the commit of a change, if it has one.
    pub(super) fn read_commit(
        &self,
        commit: Option<&Handshake>,
        convo: &ConvoId,
        standing: &Standing,
    ) -> Result<Option<ReadCommit>, XrpcError> {
        let signing = self.signing(standing);
        let read = commit.map(|commit| ReadCommit::of(commit, convo, self.now_coarse(), &signing));
        read.transpose()
    }

    /// What the caller may do in a conversation; strangers find none.
    pub(super) async fn standing(&self, convo: &ConvoId) -> Result<Standing, XrpcError> {
        let standing = self.store.standing(convo, self.did()).await?;
        standing.ok_or_else(|| Refusal::ConvoNotFound.into())
    }

    pub(super) async fn must_be_admin(&self, convo: &ConvoId) -> Result<(), XrpcError> {
        match self.standing(convo).await?.is_admin {
            true => Ok(()),
            false => Err(Refusal::NotAdmin.into()),
        }
    }
}
