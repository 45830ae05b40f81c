//! A phone: one device of an account, with its keys, its calls and the one
//! conversation that it is in. It reads the conversation strictly in the relay's
//! order, its own commits included.

mod answers;
mod conversation;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use crate::mls::{CIPHER_SUITE_NAME, Device, Group, MlsError};
use crate::receipt::Receipt;
use crate::subscription::{Subscribe, Subscription, SubscriptionError};
use crate::xrpc_client::{CallError, XrpcClient};
use answers::{KeyPackages, Nothing, Published, Registered, Welcome, base64url, bytes};

pub use conversation::{Content, Reading, Taken, seal};

/// How long the relay may hand out what we publish.
const KEY_PACKAGE_LIFE: Duration = Duration::from_secs(29 * 24 * 3600);

#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Mls(#[from] MlsError),
    #[error("the relay knows this device by another name")]
    WrongName,
    #[error("the relay refused {0} key packages")]
    KeyPackages(u64),
    #[error("nobody has a key package for us to add")]
    NobodyToAdd,
    #[error("the Welcome is to another group than the conversation's")]
    OtherGroup,
    #[error("this phone is in no conversation")]
    NoConversation,
    #[error("other members kept winning the epoch")]
    Outpaced,
    #[error("our commit was accepted and never came back to us")]
    CommitMissing,
}

/// A device on the network.
#[derive(Debug)]
pub struct Phone {
    label: String,
    device: Arc<Device>,
    client: Arc<XrpcClient>,
    conversation: Option<Conversation>,
    /// What the relay signed for this phone's own commits.
    receipts: Vec<Receipt>,
}

/// A group and how far this phone has read the relay's log of it.
#[derive(Debug)]
struct Conversation {
    group: Group,
    read_through: u64,
}

impl Phone {
    /// A phone with fresh keys that nobody knows of yet.
    pub fn new(label: &str, client: XrpcClient) -> Result<Self, PhoneError> {
        let device_id = uuid::Uuid::new_v4().to_string();
        let device = Device::new(client.account().did(), &device_id)?;
        Ok(Self {
            label: label.to_owned(),
            device: Arc::new(device),
            client: Arc::new(client),
            conversation: None,
            receipts: Vec::new(),
        })
    }

    /// What the person at the terminal calls it.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn did(&self) -> &str {
        self.device.did()
    }

    /// `did#deviceId`, the identity in its credential.
    pub fn identity(&self) -> String {
        format!("{}#{}", self.device.did(), self.device.device_id())
    }

    /// The client that makes this phone's calls.
    pub fn client(&self) -> &Arc<XrpcClient> {
        &self.client
    }

    /// The receipts of this phone's own commits, as the calls answered them.
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    /// The group as this phone sees it.
    pub fn group(&self) -> Option<&Group> {
        Some(&self.conversation.as_ref()?.group)
    }

    pub fn group_mut(&mut self) -> Option<&mut Group> {
        Some(&mut self.conversation.as_mut()?.group)
    }

    /// Tells the relay of this device and leaves a first key package.
    pub async fn register(&self) -> Result<(), PhoneError> {
        let key_package = base64url(&self.device.key_package()?);
        let input = json!({
            "deviceName": self.label,
            "deviceUUID": self.device.device_id(),
            "signaturePublicKey": bytes(self.device.signature_key()),
            "keyPackages": [{
                "did": self.did(),
                "keyPackage": key_package,
                "cipherSuite": CIPHER_SUITE_NAME,
            }],
        });
        let answer: Registered = self.client.procedure("registerDevice", &input).await?;
        if answer.mls_did == self.identity() {
            Ok(())
        } else {
            Err(PhoneError::WrongName)
        }
    }

    /// Publishes `count` key packages for one join each, and one of last resort.
    pub async fn publish_key_packages(&self, count: usize) -> Result<(), PhoneError> {
        let expires: DateTime<Utc> = (std::time::SystemTime::now() + KEY_PACKAGE_LIFE).into();
        let expires = expires.to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut packages = vec![self.device.last_resort_key_package()?];
        for _ in 0..count {
            packages.push(self.device.key_package()?);
        }
        let items: Vec<_> = packages
            .iter()
            .map(|package| {
                json!({
                    "keyPackage": base64url(package),
                    "cipherSuite": CIPHER_SUITE_NAME,
                    "expires": expires,
                    "deviceId": self.device.device_id(),
                })
            })
            .collect();
        let input = json!({"keyPackages": items});
        let answer: Published = self.client.procedure("publishKeyPackages", &input).await?;
        match answer.failed {
            0 => Ok(()),
            failed => Err(PhoneError::KeyPackages(failed)),
        }
    }

    /// Founds a conversation with every device of these accounts. Gives its id.
    pub async fn create_conversation(&mut self, dids: &[&str]) -> Result<String, PhoneError> {
        let mut group = self.device.create_group()?;
        let invited = self.claim_key_packages(dids).await?;
        let commit = group.add(&invited.packages)?;
        let input = json!({
            "groupId": group.id(),
            "deviceId": self.device.device_id(),
            "cipherSuite": CIPHER_SUITE_NAME,
            "initialMembers": dids,
            "welcomeMessage": commit.welcome.as_deref().map(base64url),
            "keyPackageHashes": invited.hashes,
            "currentEpoch": 1,
            "idempotencyKey": uuid::Uuid::new_v4().to_string(),
        });
        let _: serde_json::Value = self.client.procedure("createConvo", &input).await?;
        // Nobody can have been faster: the relay did not know the group before.
        group.merge_commit()?;
        let id = group.id();
        self.conversation = Some(Conversation {
            group,
            read_through: 0,
        });
        Ok(id)
    }

    /// Fetches the Welcome that waits for this device, and joins.
    pub async fn join(&mut self, convo: &str) -> Result<(), PhoneError> {
        let device_id = self.device.device_id();
        let parameters = [("convoId", convo), ("deviceId", device_id)];
        let answer: Welcome = self.client.query("getWelcome", &parameters).await?;
        let group = self.device.join(&answer.welcome)?;
        // What is in a Welcome, only its device can see.
        if group.id() != convo {
            return Err(PhoneError::OtherGroup);
        }
        let input = json!({"convoId": convo, "success": true, "deviceId": device_id});
        let _: Nothing = self.client.procedure("confirmWelcome", &input).await?;
        self.conversation = Some(Conversation {
            group,
            read_through: 0,
        });
        Ok(())
    }

    /// Opens this device's subscription to all conversations of the account.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, SubscriptionError> {
        Subscription::open(self.client.relay(), self.client.account(), subscribe).await
    }

    /// Claims one key package of every device of these accounts.
    async fn claim_key_packages(&self, dids: &[&str]) -> Result<Invited, PhoneError> {
        let mut parameters = vec![("cipherSuite", CIPHER_SUITE_NAME)];
        parameters.extend(dids.iter().map(|did| ("dids", *did)));
        let answer: KeyPackages = self.client.query("getKeyPackages", &parameters).await?;
        let mut invited = Invited::default();
        for item in answer.key_packages {
            let hash = crate::mls::key_package_hash(&item.key_package);
            invited.hashes.push(json!({"did": item.did, "hash": hash}));
            invited.packages.push(item.key_package);
        }
        if invited.packages.is_empty() {
            return Err(PhoneError::NobodyToAdd);
        }
        Ok(invited)
    }
}

/// The key packages of those who are being added, and their hashes as the relay
/// wants them.
#[derive(Default)]
struct Invited {
    packages: Vec<Vec<u8>>,
    hashes: Vec<serde_json::Value>,
}
