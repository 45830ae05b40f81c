//! The task behind a handset: it owns a [`Phone`] and its subscription, does what
//! it is told, and reports all that it sees.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::handset::{Evidence, HandsetError, Order, Outcome};
use super::referee::{DeviceNumber, Observation};
use crate::frame::{Event, Framing};
use crate::mls::Received;
use crate::phone::{Content, Phone, PhoneError, Reading};
use crate::receipt::Receipt;
use crate::subscription::{Subscribe, Subscription, SubscriptionError};

/// How long a phone waits before it connects again after a loss it did not want.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);

/// One phone and whoever holds it.
pub(super) struct User {
    phone: Phone,
    number: DeviceNumber,
    framing: Framing,
    reports: mpsc::Sender<Outcome<Observation>>,
    subscription: Option<Subscription>,
    cursor: Option<String>,
    replaying: bool,
    /// Messages that were read already, perhaps before their event came.
    known: HashSet<String>,
    ciphertexts: Vec<(String, Vec<u8>)>,
    receipts: Vec<(String, Receipt)>,
    unplanned_losses: u64,
}

impl User {
    pub(super) fn new(
        phone: Phone,
        number: DeviceNumber,
        framing: Framing,
        reports: mpsc::Sender<Outcome<Observation>>,
    ) -> Self {
        Self {
            phone,
            number,
            framing,
            reports,
            subscription: None,
            cursor: None,
            replaying: false,
            known: HashSet::new(),
            ciphertexts: Vec::new(),
            receipts: Vec::new(),
            unplanned_losses: 0,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Order>) -> Outcome<()> {
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
                event = next(&mut self.subscription) => {
                    self.take(event).await?;
                }
            }
        }
    }

    /// Hears until the subscription is live. What is sent before that is not for a phone
    /// that has no cursor yet.
    pub(super) async fn until_live(&mut self) -> Outcome<()> {
        loop {
            let event = next(&mut self.subscription).await;
            if self.take(event).await? {
                return Ok(());
            }
        }
    }

    /// Hears what came, or connects again. Whether it says that the subscription is live.
    async fn take(&mut self, event: Result<Option<Event>, SubscriptionError>) -> Outcome<bool> {
        let Ok(Some(event)) = event else {
            self.reconnect().await?;
            return Ok(false);
        };
        let is_live = event.is_synced();
        self.hear(event).await?;
        Ok(is_live)
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

    pub(super) async fn connect(&mut self) -> Outcome<()> {
        let subscribe = Subscribe {
            cursor: self.cursor.clone(),
            ..Subscribe::to_all(self.framing)
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
        let is_message = event.is_message();
        if let (Some(id), Some(receipt)) = (&event.body.message_id, event.body.receipt) {
            self.receipts.push((id.clone(), receipt));
        }
        let message_id = event.body.message_id.filter(|_| is_message);
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
            self.ciphertexts.push((message_id.clone(), ciphertext));
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
            receipts: self.receipts,
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
