//! Before the conversation: accounts, devices, key packages, and the group with
//! Alice and Bob in it.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::handset::{Handset, HandsetError};
use super::referee::{DeviceNumber, Observation, Referee};
use super::script::{ALICE, BOBS_PHONE, BOBS_TABLET, CAROL};
use super::script::{CAROLS_EPOCH, FIRST_EPOCH, LAST_EPOCH};
use super::{DemoError, Screen};
use crate::directory::Directory;
use crate::frame::Framing;
use crate::identity::{Account, Curve};
use crate::phone::Phone;
use crate::receipt::ReceiptKey;
use crate::relay_process::RelayProcess;
use crate::xrpc_client::{HttpVersion, XrpcClient};

const KEY_PACKAGES: usize = 5;

/// More than the whole demo reports, so that no phone ever waits for the story.
const MAX_REPORTS: usize = 16_384;

/// Everyone, with their phones in their hands.
pub(super) struct Cast {
    pub alice: Handset,
    pub bobs_phone: Handset,
    pub bobs_tablet: Handset,
    pub carol: Handset,
    pub carols_did: String,
    pub convo: String,
    pub referee: Referee,
    /// The key under which the relay signs for commits.
    pub receipt_key: ReceiptKey,
    pub reports: mpsc::Receiver<Result<Observation, HandsetError>>,
}

impl Cast {
    pub(super) fn handset(&self, number: DeviceNumber) -> &Handset {
        match number {
            BOBS_PHONE => &self.bobs_phone,
            BOBS_TABLET => &self.bobs_tablet,
            CAROL => &self.carol,
            _ => &self.alice,
        }
    }
}

pub(super) async fn set(
    directory: &Directory,
    relay: &RelayProcess,
    screen: &mut Screen,
) -> Result<Cast, DemoError> {
    let relay = relay.relay()?;
    let relay = Arc::new(relay);
    let receipt_key = ReceiptKey::fetch(&relay).await?;
    let account = |curve| directory.account(curve).map(Arc::new);
    let (alice, bob) = (account(Curve::P256)?, account(Curve::Secp256k1)?);
    let carol = account(Curve::P256)?;
    screen.done("Alice, Bob and Carol have DIDs and keys (P-256, secp256k1, P-256)");

    let phone = |label, account: &Arc<Account>, version| {
        let client = XrpcClient::new(Arc::clone(&relay), Arc::clone(account), version);
        Phone::new(label, client)
    };
    let mut alices = phone("Alice's phone", &alice, HttpVersion::Two)?;
    let mut phones = [
        phone("Bob's phone", &bob, HttpVersion::One)?,
        phone("Bob's tablet", &bob, HttpVersion::Two)?,
    ];
    let carols = phone("Carol's phone", &carol, HttpVersion::One)?;
    for phone in [&alices, &phones[0], &phones[1], &carols] {
        phone.register().await?;
        phone.publish_key_packages(KEY_PACKAGES).await?;
    }
    screen.done(&format!(
        "4 devices registered, {} key packages each, one of them of last resort",
        KEY_PACKAGES + 2
    ));

    let convo = alices.create_conversation(&[bob.did()]).await?;
    for phone in &mut phones {
        phone.join(&convo).await?;
    }
    screen.done("Alice founded a group, Bob's devices joined it by Welcome");

    let mut referee = Referee::new()?;
    referee.admit(alices.label(), FIRST_EPOCH..=LAST_EPOCH);
    for phone in &phones {
        referee.admit(phone.label(), FIRST_EPOCH..=LAST_EPOCH);
    }
    referee.admit(carols.label(), CAROLS_EPOCH..=CAROLS_EPOCH);

    let (reporter, reports) = mpsc::channel(MAX_REPORTS);
    let pick_up =
        |phone, number, framing| Handset::pick_up(phone, number, framing, reporter.clone());
    let [bobs_phone, bobs_tablet] = phones;
    Ok(Cast {
        alice: pick_up(alices, ALICE, Framing::DagCbor).await?,
        bobs_phone: pick_up(bobs_phone, BOBS_PHONE, Framing::DagCbor).await?,
        bobs_tablet: pick_up(bobs_tablet, BOBS_TABLET, Framing::Json).await?,
        carol: pick_up(carols, CAROL, Framing::DagCbor).await?,
        carols_did: carol.did().to_owned(),
        convo,
        referee,
        receipt_key,
        reports,
    })
}
