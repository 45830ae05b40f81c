//! Before a run: accounts, their devices, and conversations with real MLS groups.
//! The listeners never join their group, since they only count what arrives; the
//! relay cannot tell, and the generator saves its own time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::task::JoinSet;

use super::LoadError;
use super::scenario::Scenario;
use crate::directory::Directory;
use crate::identity::{Account, Curve};
use crate::phone::{Phone, PhoneError};
use crate::relay::Relay;
use crate::xrpc_client::{HttpVersion, XrpcClient};

/// The most accounts that one call adds.
const BATCH: usize = 50;

/// Conversations that are being set up at the same time, and in each the accounts.
/// Registering waits for the relay's disk, which takes many at once in one wait.
const CONVERSATIONS_AT_ONCE: usize = 8;
const ACCOUNTS_AT_ONCE: usize = 8;

/// An account, and the relay as it reaches it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub account: Arc<Account>,
    pub relay: Arc<Relay>,
}

/// One conversation: who writes, and who listens (the writer too).
#[derive(Debug)]
pub(super) struct Conversation {
    pub writer: Phone,
    pub members: Vec<Member>,
}

/// Sets everything up; `progress` hears how many conversations there are so far.
pub(super) async fn found(
    scenario: &Scenario,
    relay: &Arc<Relay>,
    directory: &Directory,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Conversation>, LoadError> {
    let mut founded = Vec::new();
    let mut under_way = JoinSet::new();
    for place in 0..scenario.conversations {
        while under_way.len() >= CONVERSATIONS_AT_ONCE {
            if let Some(done) = under_way.join_next().await {
                founded.push(done??);
                progress(founded.len());
            }
        }
        let numbers = (0..scenario.accounts).map(|nth| place * scenario.accounts + nth);
        let members = numbers
            .map(|number| Member::new(relay, directory, address(HONEST, number)))
            .collect::<Result<Vec<_>, _>>()?;
        under_way.spawn(found_one(members));
    }
    while let Some(done) = under_way.join_next().await {
        founded.push(done??);
        progress(founded.len());
    }
    Ok(founded)
}

async fn found_one(members: Vec<Member>) -> Result<Conversation, LoadError> {
    let [writer, listeners @ ..] = members.as_slice() else {
        return Err(LoadError::NoAccounts);
    };
    let mut writer = writer.phone()?;
    // A listener leaves its first key package, which is all that the writer needs.
    let phones = listeners.iter().map(Member::phone);
    let phones = phones.collect::<Result<Vec<_>, _>>()?;
    stream::iter(&phones)
        .map(Phone::register)
        .buffer_unordered(ACCOUNTS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    drop(phones);
    writer.register().await?;
    for (index, batch) in listeners.chunks(BATCH).enumerate() {
        let dids: Vec<&str> = batch.iter().map(|member| member.account.did()).collect();
        if index == 0 {
            writer.create_conversation(&dids).await?;
        } else {
            writer.add(&dids, &mut Vec::new()).await?;
        }
    }
    Ok(Conversation { writer, members })
}

impl Member {
    /// A new account that the directory knows. Where the relay is on this machine, it
    /// is reached from `source`: an address has too few ports for all of a load, and
    /// the relay's limits see neighbours instead of one busy client.
    pub(super) fn new(
        relay: &Arc<Relay>,
        directory: &Directory,
        source: Ipv4Addr,
    ) -> Result<Self, LoadError> {
        let account = directory.account(Curve::P256)?;
        let relay = match relay.is_local() {
            true => Arc::new(relay.from_source(IpAddr::V4(source))),
            false => Arc::clone(relay),
        };
        Ok(Self {
            account: Arc::new(account),
            relay,
        })
    }

    pub(super) fn client(&self, version: HttpVersion) -> XrpcClient {
        let (relay, account) = (Arc::clone(&self.relay), Arc::clone(&self.account));
        XrpcClient::new(relay, account, version)
    }

    fn phone(&self) -> Result<Phone, PhoneError> {
        Phone::new("phone", self.client(HttpVersion::Two))
    }
}

/// 127.1.0.0 and above for who behaves, 127.128.0.0 and above for who does not.
const HONEST: u8 = 1;
pub(super) const HOSTILE: u8 = 128;

/// The `number`-th address of loopback from `network` on, all different for the first
/// four million.
pub(super) fn address(network: u8, number: usize) -> Ipv4Addr {
    let [.., high, middle, low] = (number % (64 << 16)).to_be_bytes();
    Ipv4Addr::new(127, network + high, middle, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_honest_and_the_hostile_share_no_address() {
        assert_eq!(address(HONEST, 0), Ipv4Addr::new(127, 1, 0, 0));
        assert_eq!(address(HONEST, 300), Ipv4Addr::new(127, 1, 1, 44));
        let last = address(HONEST, (64 << 16) - 1);
        assert_eq!(last, Ipv4Addr::new(127, 64, 255, 255));
        assert!(last < address(HOSTILE, 0));
    }
}
