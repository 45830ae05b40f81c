//! Twenty devices commit at once, again and again: one history, which all agree on.

use std::sync::Arc;

use mls_relay_loadtest::mls::{Group, Received};
use mls_relay_loadtest::receipt::{Chain, Receipt, ReceiptKey};
use mls_relay_loadtest::xrpc_client::{HttpVersion, XrpcClient};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::phone::Phone;
use crate::world::{World, decoded, text};

const DEVICES: usize = 20;

/// A member with its view of the group, and how far it has read.
struct Member {
    /// On a connection that is kept: nobody dials a hundred times a second.
    client: XrpcClient,
    group: Group,
    read_through: u64,
}

impl Member {
    /// Reads on in the relay's order, its own accepted commit included.
    async fn read_on(&mut self) {
        let (id, since) = (self.group.id(), self.read_through.to_string());
        let ask = [
            ("convoId", id.as_str()),
            ("sinceSeq", &since),
            ("limit", "100"),
        ];
        let page: Value = self.client.query("getMessages", &ask).await.unwrap();
        for message in page["messages"].as_array().unwrap() {
            self.read_through = message["seq"].as_u64().unwrap();
            let commit = decoded(&message["ciphertext"]);
            let epoch = message["epoch"].as_u64().unwrap();
            if epoch <= self.group.epoch() {
                continue;
            }
            assert_eq!(self.group.receive(&commit).unwrap(), Received::Epoch(epoch));
        }
    }

    /// Adds one account, against everybody else who commits. How often it lost, and what the
    /// relay signed in the end.
    async fn add(&mut self, newcomer: &str, packages: &[Vec<u8>]) -> (usize, Receipt) {
        for losses in 0.. {
            let commit = self.group.add(packages).unwrap();
            let input = json!({
                "convoId": self.group.id(),
                "didList": [newcomer],
                "commit": text(&commit.commit),
                "welcomeMessage": text(&commit.welcome.unwrap()),
            });
            let answer = self.client.procedure::<Value>("addMembers", &input).await;
            match answer {
                Ok(answer) => {
                    self.read_on().await;
                    assert!(self.group.epoch() >= answer["newEpoch"].as_u64().unwrap());
                    let receipt = serde_json::from_value(answer["receipt"].clone());
                    return (losses, receipt.unwrap());
                }
                Err(error) => assert_eq!(error.name(), Some("EpochMismatch"), "{error}"),
            }
            self.group.abandon_commit().unwrap();
            self.read_on().await;
        }
        unreachable!()
    }
}

fn member(world: &World, phone: Phone, group: Group) -> Member {
    let relay = Arc::clone(&world.relay);
    Member {
        client: XrpcClient::new(relay, phone.client.account, HttpVersion::Two),
        group,
        read_through: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_devices_race_and_end_in_one_epoch_with_one_confirmation_tag() {
    let world = World::start().await;
    let mut phones = Vec::new();
    for _ in 0..DEVICES {
        phones.push(Phone::new(&world).await);
    }
    let others: Vec<&str> = phones[1..].iter().map(|phone| phone.did()).collect();
    let founders = phones[0].found(&others).await;
    let id = founders.id();
    let mut newcomers = Vec::new();
    for _ in 0..DEVICES {
        newcomers.push(Phone::new(&world).await);
    }

    let mut invited = Vec::new();
    for newcomer in &newcomers {
        let packages = phones[0].claim(&[newcomer.did()]).await;
        invited.push((newcomer.did().to_owned(), packages));
    }

    let mut members = Vec::new();
    let mut joined = Vec::new();
    for phone in &phones[1..] {
        joined.push(phone.join(&founders).await);
    }
    let groups = std::iter::once(founders).chain(joined);
    for (phone, group) in phones.into_iter().zip(groups) {
        assert_eq!(group.epoch(), 1);
        members.push(member(&world, phone, group));
    }
    let start = Arc::new(Barrier::new(DEVICES));
    let races: Vec<_> = members
        .into_iter()
        .zip(invited)
        .map(|(mut member, (newcomer, packages))| {
            let start = Arc::clone(&start);
            tokio::spawn(async move {
                start.wait().await;
                let added = member.add(&newcomer, &packages).await;
                (member, added)
            })
        })
        .collect();
    let (mut members, mut receipts, mut losses) = (Vec::new(), Vec::new(), 0);
    for race in races {
        let (member, (lost, receipt)) = race.await.unwrap();
        members.push(member);
        receipts.push(receipt);
        losses += lost;
    }
    assert!(losses > 0, "nobody raced");

    // One commit an epoch, each signed for after the one before.
    let last = 1 + DEVICES as u64;
    let ask = [("convoId", id.as_str()), ("fromEpoch", "2")];
    let commits: Value = members[0].client.query("getCommits", &ask).await.unwrap();
    let commits = commits["commits"].as_array().unwrap();
    let epochs: Vec<_> = commits
        .iter()
        .map(|commit| commit["epoch"].clone())
        .collect();
    let expected: Vec<Value> = (2..=last).map(|epoch| json!(epoch)).collect();
    assert_eq!(epochs, expected);
    receipts.sort_by_key(|receipt| receipt.epoch);
    let mut chain = Chain::new(ReceiptKey::fetch(&world.relay).await.unwrap());
    for (receipt, commit) in receipts.iter().zip(commits) {
        let commit = decoded(&commit["commitData"]);
        chain.extend(receipt, &commit).unwrap();
    }
    assert_eq!(chain.len(), DEVICES);

    // Those who raced, and those who were added meanwhile, agree.
    for phone in newcomers {
        let group = phone.join(&members[0].group).await;
        members.push(member(&world, phone, group));
    }
    for member in &mut members {
        member.read_on().await;
    }
    let state = |member: &Member| {
        let group = &member.group;
        (
            group.epoch(),
            group.confirmation_tag().unwrap(),
            group.authenticator(),
        )
    };
    let first = state(&members[0]);
    assert_eq!(first.0, last);
    assert_eq!(members.len(), 2 * DEVICES);
    assert!(members.iter().all(|member| state(member) == first));
    println!("{losses} commits lost a race and were made again");
}
