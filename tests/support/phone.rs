//! A device with real MLS state, and the calls that every story begins with.

use std::ops::Deref;
use std::sync::Arc;

use futures_util::future::join_all;
use mls_relay_loadtest::mls::{CIPHER_SUITE_NAME, Commit, Device, Group};
use serde_json::{Value, json};

use crate::world::{Client, World, bytes, decoded, text};

/// One device of an account, which calls as the account does.
pub(crate) struct Phone {
    pub(crate) client: Client,
    pub(crate) device: Arc<Device>,
}

impl Deref for Phone {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A relay of the test's own, and so many people with a phone each.
pub(crate) async fn people<const N: usize>() -> (World, [Phone; N]) {
    let world = World::start().await;
    let phones = phones(&world).await;
    (world, phones)
}

/// The same in a conversation that the first has founded with the others.
pub(crate) async fn together<const N: usize>() -> (World, [Phone; N], Group) {
    let (world, phones) = people().await;
    let others: Vec<_> = phones[1..].iter().map(|phone| phone.did()).collect();
    let group = phones[0].found(&others).await;
    (world, phones, group)
}

/// A phone for each of so many people.
pub(crate) async fn phones<const N: usize>(world: &World) -> [Phone; N] {
    let phones = join_all((0..N).map(|_| Phone::new(world))).await;
    phones.try_into().ok().unwrap()
}

impl Phone {
    /// A device of a new account, registered with one key package.
    pub(crate) async fn new(world: &World) -> Self {
        Self::of(&world.account()).await
    }

    /// One more device of an account, registered with one key package.
    pub(crate) async fn of(client: &Client) -> Self {
        let phone = Self::unregistered(client);
        phone.post("registerDevice", &phone.registration()).await;
        phone
    }

    pub(crate) fn unregistered(client: &Client) -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        let device = Arc::new(Device::new(client.did(), &id).unwrap());
        Self {
            client: client.clone(),
            device,
        }
    }

    /// The phone of an account that tells no devices apart.
    pub(crate) fn of_account(client: &Client) -> Self {
        Self {
            client: client.clone(),
            device: Arc::new(Device::of_account(client.did()).unwrap()),
        }
    }

    /// Whether a key package names this device.
    pub(crate) fn made(&self, package: &[u8]) -> bool {
        let name = self.device.device_id().as_bytes();
        package.windows(name.len()).any(|window| window == name)
    }

    /// What registerDevice takes.
    pub(crate) fn registration(&self) -> Value {
        json!({
            "deviceName": "phone",
            "deviceUUID": self.device.device_id(),
            "signaturePublicKey": bytes(self.device.signature_key()),
            "keyPackages": [self.key_package()],
        })
    }

    /// What publishKeyPackage takes.
    pub(crate) fn key_package(&self) -> Value {
        json!({
            "keyPackage": text(&self.device.key_package().unwrap()),
            "cipherSuite": CIPHER_SUITE_NAME,
        })
    }

    /// Claims a key package of every device of these accounts.
    pub(crate) async fn claim(&self, dids: &[&str]) -> Vec<Vec<u8>> {
        let mut parameters = vec![("cipherSuite", CIPHER_SUITE_NAME)];
        parameters.extend(dids.iter().map(|did| ("dids", *did)));
        let answer = self.get("getKeyPackages", &parameters).await;
        let packages = answer["keyPackages"].as_array().unwrap();
        packages.iter().map(|p| decoded(&p["keyPackage"])).collect()
    }

    /// Founds a conversation with these accounts in it.
    pub(crate) async fn found(&self, dids: &[&str]) -> Group {
        let (group, input) = self.founding(dids).await;
        self.post("createConvo", &input).await;
        group
    }

    /// A group with these accounts in it, and what createConvo takes for it. As of a client that
    /// does not name its device.
    pub(crate) async fn founding(&self, dids: &[&str]) -> (Group, Value) {
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

    /// What addMembers takes for an account, with the commit that adds it.
    pub(crate) async fn adding(&self, group: &mut Group, who: &Client) -> Value {
        let commit = group.add(&self.claim(&[who.did()]).await).unwrap();
        adding(group, &[who.did()], &commit)
    }

    /// Adds an account.
    pub(crate) async fn add(&self, group: &mut Group, who: &Client) {
        let input = self.adding(group, who).await;
        self.post("addMembers", &input).await;
        group.merge_commit().unwrap();
    }

    /// Takes an account out, without a commit.
    pub(crate) async fn remove(&self, group: &Group, who: &Client) {
        let removal = json!({"convoId": group.id(), "targetDid": who.did()});
        self.post("removeMember", &removal).await;
    }

    /// Deletes a device of this account.
    pub(crate) async fn delete(&self, phone: &Phone) -> Value {
        let which = json!({"deviceId": phone.device.device_id()});
        self.post("deleteDevice", &which).await
    }

    /// Sends this plaintext; what was sent.
    pub(crate) async fn send(&self, group: &mut Group, plaintext: &[u8]) -> Value {
        let message = self.message(group, plaintext);
        self.post("sendMessage", &message).await;
        message
    }

    pub(crate) async fn leave(&self, group: &Group) {
        let leaving = json!({"convoId": group.id()});
        self.post("leaveConvo", &leaving).await;
    }

    /// Joins by the Welcome that waits for this device.
    pub(crate) async fn join(&self, group: &Group) -> Group {
        let (convo, device) = (group.id(), self.device.device_id());
        let parameters = [("convoId", convo.as_str()), ("deviceId", device)];
        let answer = self.get("getWelcome", &parameters).await;
        let joined = self.device.join(&decoded(&answer["welcome"])).unwrap();
        let input = json!({"convoId": convo, "deviceId": device, "success": true});
        self.post("confirmWelcome", &input).await;
        joined
    }

    /// Leaves the GroupInfo of this member's epoch with the relay, and gets it from there.
    pub(crate) async fn leave_group_info(&self, group: &Group) -> Vec<u8> {
        let (id, info) = (group.id(), group.group_info().unwrap());
        let input = json!({"convoId": id, "groupInfo": text(&info), "epoch": group.epoch()});
        self.post("updateGroupInfo", &input).await;
        let kept = self.get("getGroupInfo", &[("convoId", &id)]).await;
        decoded(&kept["groupInfo"])
    }

    /// What sendMessage takes for this plaintext.
    pub(crate) fn message(&self, group: &mut Group, plaintext: &[u8]) -> Value {
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

/// What addMembers takes for these accounts, with the commit that adds them.
pub(crate) fn adding(group: &Group, dids: &[&str], commit: &Commit) -> Value {
    json!({
        "convoId": group.id(),
        "didList": dids,
        "commit": text(&commit.commit),
        "welcomeMessage": text(commit.welcome.as_ref().unwrap()),
    })
}
