//! A device with real MLS state, and the calls that every story begins with.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test stops at what it did not expect; each program uses its part of this"
)]

use std::sync::Arc;

use mls_relay_loadtest::mls::{CIPHER_SUITE_NAME, Device, Group};
use serde_json::{Value, json};

use crate::world::{Client, World, bytes, decoded, text};

/// One device of an account.
pub struct Phone {
    pub client: Client,
    pub device: Arc<Device>,
}

impl Phone {
    /// A device of a new account, registered with one key package.
    pub async fn new(world: &World) -> Self {
        Self::of(&world.account()).await
    }

    /// One more device of an account, registered with one key package.
    pub async fn of(client: &Client) -> Self {
        let phone = Self::unregistered(client);
        phone
            .client
            .post("registerDevice", &phone.registration())
            .await;
        phone
    }

    pub fn unregistered(client: &Client) -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        let device = Arc::new(Device::new(client.did(), &id).unwrap());
        Self {
            client: client.clone(),
            device,
        }
    }

    /// The phone of an account that tells no devices apart.
    pub fn of_account(client: &Client) -> Self {
        Self {
            client: client.clone(),
            device: Arc::new(Device::of_account(client.did()).unwrap()),
        }
    }

    pub fn did(&self) -> &str {
        self.client.did()
    }

    /// Whether a key package names this device.
    pub fn made(&self, package: &[u8]) -> bool {
        let name = self.device.device_id().as_bytes();
        package.windows(name.len()).any(|window| window == name)
    }

    /// What registerDevice takes.
    pub fn registration(&self) -> Value {
        json!({
            "deviceName": "phone",
            "deviceUUID": self.device.device_id(),
            "signaturePublicKey": bytes(self.device.signature_key()),
            "keyPackages": [self.key_package()],
        })
    }

    /// What publishKeyPackage takes.
    pub fn key_package(&self) -> Value {
        json!({
            "keyPackage": text(&self.device.key_package().unwrap()),
            "cipherSuite": CIPHER_SUITE_NAME,
        })
    }

    /// Claims a key package of every device of these accounts.
    pub async fn claim(&self, dids: &[&str]) -> Vec<Vec<u8>> {
        let mut parameters = vec![("cipherSuite", CIPHER_SUITE_NAME)];
        parameters.extend(dids.iter().map(|did| ("dids", *did)));
        let answer = self.client.get("getKeyPackages", &parameters).await;
        let packages = answer["keyPackages"].as_array().unwrap();
        packages.iter().map(|p| decoded(&p["keyPackage"])).collect()
    }

    /// Founds a conversation with these accounts in it.
    pub async fn found(&self, dids: &[&str]) -> Group {
        let (group, input) = self.founding(dids).await;
        self.client.post("createConvo", &input).await;
        group
    }

    /// A group with these accounts in it, and what createConvo takes for it. As of a client that
    /// does not name its device.
    pub async fn founding(&self, dids: &[&str]) -> (Group, Value) {
        let mut group = self.device.create_group().unwrap();
        let mut input = json!({
            "groupId": group.id(),
            "cipherSuite": CIPHER_SUITE_NAME,
            "currentEpoch": 0,
        });
        if !dids.is_empty() {
            let commit = group.add(&self.claim(dids).await).unwrap();
            group.merge_commit().unwrap();
            input["initialMembers"] = json!(dids);
            input["welcomeMessage"] = json!(text(&commit.welcome.unwrap()));
            input["currentEpoch"] = json!(group.epoch());
        }
        (group, input)
    }

    /// Joins by the Welcome that waits for this device.
    pub async fn join(&self, group: &Group) -> Group {
        let (convo, device) = (group.id(), self.device.device_id());
        let parameters = [("convoId", convo.as_str()), ("deviceId", device)];
        let answer = self.client.get("getWelcome", &parameters).await;
        let joined = self.device.join(&decoded(&answer["welcome"])).unwrap();
        let input = json!({"convoId": convo, "deviceId": device, "success": true});
        self.client.post("confirmWelcome", &input).await;
        joined
    }

    /// What sendMessage takes for this plaintext.
    pub fn message(&self, group: &mut Group, plaintext: &[u8]) -> Value {
        let id = ulid::Ulid::from_parts(1_700_000_000_000, uuid::Uuid::new_v4().as_u128());
        let id = id.to_string();
        let ciphertext = group.encrypt(&id, plaintext).unwrap();
        json!({
            "convoId": group.id(),
            "msgId": id,
            "ciphertext": bytes(&ciphertext),
            "epoch": group.epoch(),
            "paddedSize": ciphertext.len(),
        })
    }
}
