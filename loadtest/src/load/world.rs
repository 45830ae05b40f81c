//! Before a run: accounts, their devices, and conversations with real MLS groups.
//! The listeners never join their group, since they only count what arrives; the
//! relay cannot tell, and the generator saves its own time.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::LoadError;
use super::scenario::Scenario;
use crate::directory::Directory;
use crate::identity::{Account, Curve};
use crate::phone::Phone;
use crate::relay::Relay;
use crate::xrpc_client::{HttpVersion, XrpcClient};

/// The most accounts that one call adds.
const BATCH: usize = 50;

/// Conversations that are being set up at the same time.
const AT_ONCE: usize = 8;

/// One conversation: who writes, and who listens (the writer too).
#[derive(Debug)]
pub(super) struct Conversation {
    pub writer: Phone,
    pub accounts: Vec<Arc<Account>>,
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
    for _ in 0..scenario.conversations {
        while under_way.len() >= AT_ONCE {
            if let Some(done) = under_way.join_next().await {
                founded.push(done??);
                progress(founded.len());
            }
        }
        let mut accounts = Vec::new();
        for _ in 0..scenario.accounts {
            let account = Account::generate(Curve::P256)?;
            directory.publish(&account);
            accounts.push(Arc::new(account));
        }
        under_way.spawn(found_one(Arc::clone(relay), accounts));
    }
    while let Some(done) = under_way.join_next().await {
        founded.push(done??);
        progress(founded.len());
    }
    Ok(founded)
}

async fn found_one(
    relay: Arc<Relay>,
    accounts: Vec<Arc<Account>>,
) -> Result<Conversation, LoadError> {
    let phone = |account: &Arc<Account>| {
        let client = XrpcClient::new(Arc::clone(&relay), Arc::clone(account), HttpVersion::Two);
        Phone::new("phone", client)
    };
    let [writer, listeners @ ..] = accounts.as_slice() else {
        return Err(LoadError::NoAccounts);
    };
    for account in listeners {
        // It leaves its first key package, which is all that the writer needs.
        phone(account)?.register().await?;
    }
    let mut writer = phone(writer)?;
    writer.register().await?;
    for (index, batch) in listeners.chunks(BATCH).enumerate() {
        let dids: Vec<&str> = batch.iter().map(|account| account.did()).collect();
        if index == 0 {
            writer.create_conversation(&dids).await?;
        } else {
            writer.add(&dids, &mut Vec::new()).await?;
        }
    }
    Ok(Conversation { writer, accounts })
}
