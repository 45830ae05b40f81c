//! A phone in somebody's hand, as the story holds it: orders go in, reports come
//! out, and at the end the phone itself.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::referee::{DeviceNumber, Observation};
use super::user::User;
use crate::frame::Framing;
use crate::mls::MlsError;
use crate::phone::{Phone, PhoneError};
use crate::receipt::{Chain, Receipt};
use crate::subscription::SubscriptionError;

const MAX_ORDERS: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum HandsetError {
    #[error("{label}")]
    Phone {
        label: String,
        #[source]
        source: PhoneError,
    },
    #[error("{label} cannot subscribe")]
    Subscription {
        label: String,
        #[source]
        source: SubscriptionError,
    },
    #[error("{label} cannot read {message_id}")]
    Unreadable {
        label: String,
        message_id: String,
        #[source]
        source: MlsError,
    },
    #[error("a phone stopped listening")]
    Gone,
}

pub(super) type Outcome<T> = Result<T, HandsetError>;

/// What the story tells a phone to do.
pub(super) enum Order {
    Send { text: String, intended: Instant },
    Add(String, oneshot::Sender<Outcome<u64>>),
    Remove(String, oneshot::Sender<Outcome<u64>>),
    Join(String, oneshot::Sender<Outcome<()>>),
    Settle(oneshot::Sender<Outcome<()>>),
    Vanish(oneshot::Sender<Outcome<()>>),
    Return(oneshot::Sender<Outcome<()>>),
    PutDown(oneshot::Sender<Outcome<Evidence>>),
}

/// What a phone can show when it is put down.
#[derive(Debug)]
pub(super) struct Evidence {
    pub phone: Phone,
    /// All that it took from the relay, as the relay holds it, by message id.
    pub ciphertexts: Vec<(String, Vec<u8>)>,
    /// The receipts that it heard of, by the message id of their commits.
    pub receipts: Vec<(String, Receipt)>,
    /// Connections that broke without the story saying so.
    pub unplanned_losses: u64,
}

impl Evidence {
    /// The chain of the receipts that the phone heard of, if each of them is good for
    /// the commit that it has read.
    pub(super) fn verified(&self, mut chain: Chain) -> Option<Chain> {
        for (id, receipt) in &self.receipts {
            let read = self.ciphertexts.iter().find(|(other, _)| other == id);
            chain.extend(receipt, &read?.1).ok()?;
        }
        Some(chain)
    }
}

/// The story's end of a phone.
#[derive(Clone, Debug)]
pub(super) struct Handset {
    orders: mpsc::Sender<Order>,
}

impl Handset {
    /// Subscribes, waits until that is live, and starts the task. What goes wrong in the
    /// background arrives in `reports` too, and ends the phone.
    pub(super) async fn pick_up(
        phone: Phone,
        number: DeviceNumber,
        framing: Framing,
        reports: mpsc::Sender<Outcome<Observation>>,
    ) -> Outcome<Self> {
        let (orders, inbox) = mpsc::channel(MAX_ORDERS);
        let mut user = User::new(phone, number, framing, reports.clone());
        user.connect().await?;
        user.until_live().await?;
        tokio::spawn(async move {
            if let Err(error) = user.run(inbox).await {
                // The story hears of it here, or is over.
                let _ = reports.send(Err(error)).await;
            }
        });
        Ok(Self { orders })
    }

    /// Sends when it is this phone's turn; `intended` is when that should be.
    pub(super) async fn send(&self, text: String, intended: Instant) -> Outcome<()> {
        self.order(Order::Send { text, intended }).await
    }

    /// Adds an account; gives the new epoch.
    pub(super) async fn add(&self, did: &str) -> Outcome<u64> {
        self.ask(|reply| Order::Add(did.to_owned(), reply)).await
    }

    /// Removes an account; gives the new epoch.
    pub(super) async fn remove(&self, did: &str) -> Outcome<u64> {
        self.ask(|reply| Order::Remove(did.to_owned(), reply)).await
    }

    /// Joins by the Welcome that waits.
    pub(super) async fn join(&self, convo: &str) -> Outcome<()> {
        self.ask(|reply| Order::Join(convo.to_owned(), reply)).await
    }

    /// Waits until everything that was ordered before is done.
    pub(super) async fn settle(&self) -> Outcome<()> {
        self.ask(Order::Settle).await
    }

    /// Falls off the network.
    pub(super) async fn vanish(&self) -> Outcome<()> {
        self.ask(Order::Vanish).await
    }

    /// Comes back and resumes by cursor.
    pub(super) async fn come_back(&self) -> Outcome<()> {
        self.ask(Order::Return).await
    }

    /// Ends the task.
    pub(super) async fn put_down(&self) -> Outcome<Evidence> {
        self.ask(Order::PutDown).await
    }

    async fn order(&self, order: Order) -> Outcome<()> {
        self.orders
            .send(order)
            .await
            .map_err(|_| HandsetError::Gone)
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<Outcome<T>>) -> Order) -> Outcome<T> {
        let (reply, answer) = oneshot::channel();
        self.order(order(reply)).await?;
        answer.await.map_err(|_| HandsetError::Gone)?
    }
}
