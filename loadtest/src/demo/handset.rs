//! A phone in somebody's hand: one task that owns a [`Phone`] and its
//! subscription, does what the story tells it, and reports all that it sees.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::referee::{DeviceNumber, Observation};
use crate::frame::{Event, Framing};
use crate::mls::{MlsError, Received};
use crate::phone::{Content, Phone, PhoneError, Reading};
use crate::subscription::{Subscribe, Subscription, SubscriptionError};

/// How long a phone waits before it connects again after a loss it did not want.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);

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

type Outcome<T> = Result<T, HandsetError>;

/// What the story tells a phone to do.
enum Order {
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
    /// All that it took from the relay, as the relay holds it.
    pub ciphertexts: Vec<(u64, Vec<u8>)>,
    /// Connections that broke without the story saying so.
    pub unplanned_losses: u64,
}

/// The story's end of a phone.
#[derive(Clone, Debug)]
pub(super) struct Handset {
    orders: mpsc::Sender<Order>,
}

impl Handset {
    /// Subscribes, and starts the task. What goes wrong in the background arrives
    /// in `reports` too, and ends the phone.
    pub(super) async fn pick_up(
        phone: Phone,
        number: DeviceNumber,
        framing: Framing,
        reports: mpsc::Sender<Outcome<Observation>>,
    ) -> Outcome<Self> {
        let (orders, inbox) = mpsc::channel(MAX_ORDERS);
        let mut user = User {
            phone,
            number,
            framing,
            reports: reports.clone(),
            subscription: None,
            cursor: None,
            replaying: false,
            known: std::collections::HashSet::new(),
            ciphertexts: Vec::new(),
            unplanned_losses: 0,
        };
        user.connect().await?;
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

/// The task behind a handset.
struct User {
    phone: Phone,
    number: DeviceNumber,
    framing: Framing,
    reports: mpsc::Sender<Outcome<Observation>>,
    subscription: Option<Subscription>,
    cursor: Option<String>,
    replaying: bool,
    /// Messages that were read already, perhaps before their event came.
    known: std::collections::HashSet<String>,
    ciphertexts: Vec<(u64, Vec<u8>)>,
    unplanned_losses: u64,
}

impl User {
    async fn run(mut self, mut inbox: mpsc::Receiver<Order>) -> Outcome<()> {
        loop {
            tokio::select! {
                order = inbox.recv() => match order {
                    None => return Ok(()),
                    Some(Order::PutDown(reply)) => {
                        // Whoever asked is waiting.
                        let _ = reply.send(Ok(self.evidence()));
                        return Ok(());
                    }
                    Some(order) => self.obey(order).await?,
                },
                event = next(&mut self.subscription) => match event {
                    Ok(Some(event)) => self.hear(event).await?,
                    Ok(None) | Err(_) => self.reconnect().await?,
                },
            }
        }
    }

    async fn obey(&mut self, order: Order) -> Outcome<()> {
        // A reply that nobody waits for any more is no harm.
        match order {
            Order::Send { text, intended } => self.send(text, intended).await?,
            Order::Add(did, reply) => drop(reply.send(self.add(&did).await)),
            Order::Remove(did, reply) => drop(reply.send(self.remove(&did).await)),
            Order::Join(convo, reply) => drop(reply.send(self.join(&convo).await)),
            Order::Settle(reply) => drop(reply.send(Ok(()))),
            Order::Vanish(reply) => drop(reply.send(self.vanish())),
            Order::Return(reply) => drop(reply.send(self.connect().await)),
            Order::PutDown(_) => {}
        }
        Ok(())
    }

    async fn send(&mut self, text: String, intended: Instant) -> Outcome<()> {
        let message_id = ulid::Ulid::generate().to_string();
        let payload = json!({"version": 1, "messageType": "text", "text": text}).to_string();
        let mut readings = Vec::new();
        let receipt = self
            .phone
            .send(&message_id, payload.as_bytes(), &mut readings)
            .await;
        self.tell(readings).await?;
        let receipt = receipt.map_err(|source| self.phone_error(source))?;
        self.report(Observation::Sent {
            by: self.number,
            message_id: receipt.message_id,
            text,
            epoch: receipt.epoch,
            intended,
        })
        .await
    }

    async fn add(&mut self, did: &str) -> Outcome<u64> {
        let mut readings = Vec::new();
        let epoch = self.phone.add(&[did], &mut readings).await;
        self.tell(readings).await?;
        epoch.map_err(|source| self.phone_error(source))
    }

    async fn remove(&mut self, did: &str) -> Outcome<u64> {
        let mut readings = Vec::new();
        let epoch = self.phone.remove(did, &mut readings).await;
        self.tell(readings).await?;
        epoch.map_err(|source| self.phone_error(source))
    }

    async fn join(&mut self, convo: &str) -> Outcome<()> {
        let joined = self.phone.join(convo).await;
        joined.map_err(|source| self.phone_error(source))?;
        self.read_on().await
    }

    fn vanish(&mut self) -> Outcome<()> {
        if let Some(subscription) = self.subscription.take() {
            self.cursor = subscription.cursor().map(str::to_owned);
            // A socket that is gone already is what we want.
            let _ = subscription.drop_connection();
        }
        Ok(())
    }

    async fn connect(&mut self) -> Outcome<()> {
        let subscribe = Subscribe {
            framing: self.framing,
            cursor: self.cursor.clone(),
            convo: None,
        };
        self.replaying = self.cursor.is_some();
        let opened = self.phone.subscribe(subscribe).await;
        self.subscription = Some(opened.map_err(|source| HandsetError::Subscription {
            label: self.phone.label().to_owned(),
            source,
        })?);
        Ok(())
    }

    async fn reconnect(&mut self) -> Outcome<()> {
        self.unplanned_losses += 1;
        self.vanish()?;
        sleep(RECONNECT_AFTER).await;
        self.connect().await
    }

    async fn hear(&mut self, event: Event) -> Outcome<()> {
        if event.is_synced() {
            self.replaying = false;
        }
        let (Some(seq), true) = (event.body.seq, event.is_durable()) else {
            return Ok(());
        };
        let message_id = event
            .body
            .message_id
            .filter(|_| event.name == "#messageEvent");
        let is_known = message_id
            .as_ref()
            .is_some_and(|id| self.known.contains(id));
        self.report(Observation::Event {
            device: self.number,
            seq,
            message_id,
            resumed: self.replaying,
        })
        .await?;
        if is_known || self.phone.group().is_none() {
            return Ok(());
        }
        self.read_on().await
    }

    /// Fetches what is new. That the relay no longer knows us is no failure of the
    /// phone: it has been removed.
    async fn read_on(&mut self) -> Outcome<()> {
        let mut readings = Vec::new();
        let read = self.phone.read_on(&mut readings).await;
        self.tell(readings).await?;
        match read {
            Err(PhoneError::Call(error)) if error.name() == Some("ConvoNotFound") => Ok(()),
            other => other.map_err(|source| self.phone_error(source)),
        }
    }

    async fn tell(&mut self, readings: Vec<Reading>) -> Outcome<()> {
        let at = Instant::now();
        for reading in readings {
            let Reading {
                message_id,
                seq,
                ciphertext,
                content,
            } = reading;
            self.known.insert(message_id.clone());
            self.ciphertexts.push((seq, ciphertext));
            match content {
                Content::Read(Received::Application { plaintext, .. }) => {
                    self.report(Observation::Decrypted {
                        device: self.number,
                        seq,
                        message_id,
                        text: text_of(&plaintext),
                        at,
                    })
                    .await?;
                }
                Content::Read(_) | Content::BeforeJoining => {}
                Content::Unreadable(source) => {
                    return Err(HandsetError::Unreadable {
                        label: self.phone.label().to_owned(),
                        message_id,
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    async fn report(&self, observation: Observation) -> Outcome<()> {
        let sent = self.reports.send(Ok(observation)).await;
        sent.map_err(|_| HandsetError::Gone)
    }

    fn phone_error(&self, source: PhoneError) -> HandsetError {
        HandsetError::Phone {
            label: self.phone.label().to_owned(),
            source,
        }
    }

    fn evidence(self) -> Evidence {
        Evidence {
            phone: self.phone,
            ciphertexts: self.ciphertexts,
            unplanned_losses: self.unplanned_losses,
        }
    }
}

/// The next event; never, while there is no connection.
async fn next(subscription: &mut Option<Subscription>) -> Result<Option<Event>, SubscriptionError> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

fn text_of(payload: &[u8]) -> String {
    let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
    payload["text"].as_str().unwrap_or_default().to_owned()
}
