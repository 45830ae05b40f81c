//! What a phone does in its conversation: send, add, remove, and read on.

use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{MessageView, NewEpoch, Page, base64url, bytes};
use super::{Conversation, Phone, PhoneError};
use crate::mls::{Commit, Group, MlsError, Received};
use crate::xrpc_client::CallError;

/// How often a phone tries again when others keep moving the epoch.
const ATTEMPTS: usize = 8;

/// The most that getMessages gives at once.
const PAGE: usize = 100;

/// The relay has taken a message: its place, and the epoch it was read in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    pub message_id: String,
    pub seq: u64,
    pub epoch: u64,
}

/// One entry of the conversation, in the relay's order.
#[derive(Debug)]
pub struct Reading {
    pub message_id: String,
    pub seq: u64,
    /// As the relay holds it, for whoever wants to try to read it too.
    pub ciphertext: Vec<u8>,
    pub content: Content,
}

/// What this phone made of an entry.
#[derive(Debug)]
pub enum Content {
    Read(Received),
    /// Of an epoch before this phone joined: not for it.
    BeforeJoining,
    /// It should have been readable and was not.
    Unreadable(MlsError),
}

impl Phone {
    /// Encrypts and sends. When the group has moved on meanwhile, reads on and
    /// encrypts again under the same id; what was read is appended to `readings`.
    pub async fn send(
        &mut self,
        message_id: &str,
        plaintext: &[u8],
        readings: &mut Vec<Reading>,
    ) -> Result<Taken, PhoneError> {
        for _ in 0..ATTEMPTS {
            let input = self.seal(message_id, plaintext)?;
            match self.client.procedure("sendMessage", &input).await {
                Ok(taken) => return Ok(taken),
                Err(error) if is_epoch_mismatch(&error) => self.read_on(readings).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(PhoneError::Outpaced)
    }

    /// Encrypts for the current epoch: the input of sendMessage.
    pub fn seal(&mut self, message_id: &str, plaintext: &[u8]) -> Result<Value, PhoneError> {
        let group = &mut self.conversation_mut()?.group;
        Ok(seal(group, message_id, plaintext)?)
    }

    /// Adds every device of these accounts.
    pub async fn add(
        &mut self,
        dids: &[&str],
        readings: &mut Vec<Reading>,
    ) -> Result<u64, PhoneError> {
        let invited = self.claim_key_packages(dids).await?;
        for _ in 0..ATTEMPTS {
            let conversation = self.conversation_mut()?;
            let commit = conversation.group.add(&invited.packages)?;
            let input = json!({
                "convoId": conversation.group.id(),
                "didList": dids,
                "commit": base64url(&commit.commit),
                "welcomeMessage": commit.welcome.as_deref().map(base64url),
                "keyPackageHashes": invited.hashes,
                "idempotencyKey": uuid::Uuid::new_v4().to_string(),
            });
            if let Some(epoch) = self.commit("addMembers", &input, readings).await? {
                return Ok(epoch);
            }
        }
        Err(PhoneError::Outpaced)
    }

    /// Takes every device of an account out of the group.
    pub async fn remove(
        &mut self,
        did: &str,
        readings: &mut Vec<Reading>,
    ) -> Result<u64, PhoneError> {
        for _ in 0..ATTEMPTS {
            let conversation = self.conversation_mut()?;
            let Commit { commit, .. } = conversation.group.remove(did)?;
            let input = json!({
                "convoId": conversation.group.id(),
                "targetDid": did,
                "commit": base64url(&commit),
            });
            if let Some(epoch) = self.commit("leaveConvo", &input, readings).await? {
                return Ok(epoch);
            }
        }
        Err(PhoneError::Outpaced)
    }

    /// Offers our staged commit to the relay, and reads on until it comes back in
    /// order. None when another commit won the epoch.
    async fn commit(
        &mut self,
        call: &str,
        input: &Value,
        readings: &mut Vec<Reading>,
    ) -> Result<Option<u64>, PhoneError> {
        match self.client.procedure::<NewEpoch>(call, input).await {
            Ok(NewEpoch { new_epoch, receipt }) => {
                self.receipts.extend(receipt);
                self.read_on(readings).await?;
                if self.conversation_mut()?.group.epoch() < new_epoch {
                    return Err(PhoneError::CommitMissing);
                }
                Ok(Some(new_epoch))
            }
            Err(error) if is_epoch_mismatch(&error) => {
                self.conversation_mut()?.group.abandon_commit()?;
                self.read_on(readings).await?;
                Ok(None)
            }
            // It may have won all the same: reading on will tell.
            Err(error) if !error.is_definite() => Err(error.into()),
            Err(error) => {
                self.conversation_mut()?.group.abandon_commit()?;
                Err(error.into())
            }
        }
    }

    /// Reads everything that the relay has and this phone has not read yet.
    pub async fn read_on(&mut self, readings: &mut Vec<Reading>) -> Result<(), PhoneError> {
        loop {
            let conversation = self.conversation_mut()?;
            let (convo, since) = (conversation.group.id(), conversation.read_through);
            let page = self.fetch(&convo, since).await?;
            let conversation = self.conversation_mut()?;
            readings.extend(
                page.messages
                    .into_iter()
                    .map(|view| conversation.read(view)),
            );
            if page.cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Fetches entries after `since` and reads nothing.
    async fn fetch(&self, convo: &str, since: u64) -> Result<Page, PhoneError> {
        let (since, limit) = (since.to_string(), PAGE.to_string());
        let parameters = [("convoId", convo), ("sinceSeq", &since), ("limit", &limit)];
        Ok(self.client.query("getMessages", &parameters).await?)
    }

    fn conversation_mut(&mut self) -> Result<&mut Conversation, PhoneError> {
        self.conversation.as_mut().ok_or(PhoneError::NoConversation)
    }
}

impl Conversation {
    fn read(&mut self, view: MessageView) -> Reading {
        self.read_through = view.seq;
        let epoch = Group::epoch_of(&view.ciphertext);
        let content = if epoch.is_some_and(|epoch| epoch < self.group.epoch()) {
            Content::BeforeJoining
        } else {
            match self.group.receive(&view.ciphertext) {
                Ok(received) => Content::Read(received),
                Err(error) => Content::Unreadable(error),
            }
        };
        Reading {
            message_id: view.id,
            seq: view.seq,
            ciphertext: view.ciphertext,
            content,
        }
    }
}

/// The same of a group that no phone holds.
pub fn seal(group: &mut Group, message_id: &str, plaintext: &[u8]) -> Result<Value, MlsError> {
    let ciphertext = group.encrypt(message_id, plaintext)?;
    Ok(json!({
        "convoId": group.id(),
        "msgId": message_id,
        "ciphertext": bytes(&ciphertext),
        "epoch": group.epoch(),
        "paddedSize": ciphertext.len(),
    }))
}

fn is_epoch_mismatch(error: &CallError) -> bool {
    error.name() == Some("EpochMismatch")
}
