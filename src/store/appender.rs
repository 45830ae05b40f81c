//! Group commit: the sends that wait on a node go to Postgres together, in one
//! round trip and one transaction with one notification. Each is judged by
//! itself, and a batch that Postgres refuses is tried again one by one; one that did not end in
//! time, without the conversations that somebody holds.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::Row;

use super::held_up::Watch;
use super::pool::Pool;
use super::replay_guard::Nonce;
use super::rows::{column, count, get};
use super::standstill::Standstill;
use super::{Params, Settings, Store, StoreError};
use crate::runtime::{Batcher, Bounds, NotServed, Shutdown};
use crate::types::{CoarseTime, ConvoId, Did, Epoch, MessageId, unprintable};

/// A message to append. The sender is checked and then forgotten.
#[derive(Clone)]
pub struct NewMessage {
    pub convo: ConvoId,
    pub sender: Did,
    pub message_id: MessageId,
    /// The epoch that the ciphertext is for; must be the current one.
    pub epoch: Epoch,
    /// MLS ciphertext of a bucket's size.
    pub ciphertext: Bytes,
    /// Of the token that the send came with: used up in the same transaction.
    pub nonce: Option<Nonce>,
}

unprintable!(NewMessage);

/// Where a message landed. A repeated message gets its first answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    /// The message's number in its conversation.
    pub seq: u64,
    pub epoch: Epoch,
    pub received_at: CoarseTime,
}

/// Why a message was not appended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AppendError {
    #[error("the message id is taken by another message")]
    Conflict,
    #[error("the conversation is in epoch {}", current.get())]
    EpochMismatch { current: Epoch },
    #[error("too many messages are waiting to be stored")]
    Full { retry_after: Duration },
    #[error("no such conversation for this sender")]
    NotMember,
    #[error("the nonce of the send's token was used before")]
    NonceUsed,
    #[error("the message could not be stored")]
    Store(#[from] StoreError),
}

type Answer = Result<Appended, AppendError>;

/// The queues of a node's committers. A conversation always goes to the same one,
/// so that two of them seldom want the same row.
#[derive(Debug)]
pub(super) struct Appender {
    committers: Vec<Batcher<NewMessage, Answer>>,
    hasher: std::hash::RandomState,
    standstill: Standstill,
    /// For both attempts at a batch.
    patience: Duration,
}

impl Appender {
    pub(super) fn start(settings: &Settings, pool: Pool, shutdown: &Shutdown) -> Self {
        let bounds = Bounds {
            name: "appends",
            queue_max: settings.append_queue_max,
            batch_max: settings.append_batch_max,
            weight_max: settings.append_batch_bytes_max,
        };
        let window = settings.repeat_window;
        let standstill = Standstill::default();
        let committer = |_| {
            let committer = Committer {
                pool: pool.clone(),
                window,
                watch: Watch::new(settings),
                standstill: standstill.clone(),
            };
            Batcher::start(
                shutdown,
                bounds,
                |m: &NewMessage| m.ciphertext.len(),
                move |batch| committer.clone().commit(batch),
            )
        };
        Self {
            committers: (0..settings.committers.max(1)).map(committer).collect(),
            hasher: std::hash::RandomState::new(),
            standstill,
            patience: settings.batch_patience(),
        }
    }

    async fn append(&self, message: NewMessage) -> Answer {
        let hash = self.hasher.hash_one(&message.convo);
        let count = u64::try_from(self.committers.len()).unwrap_or(1);
        let index = usize::try_from(hash % count).unwrap_or_default();
        let Some(committer) = self.committers.get(index) else {
            return Err(StoreError::Unavailable.into());
        };
        let served = tokio::time::timeout(self.patience, committer.serve(message)).await;
        let served = served.map_err(|_| StoreError::Timeout)?;
        served.unwrap_or_else(|refused| {
            Err(match refused {
                NotServed::QueueFull => AppendError::Full {
                    retry_after: QUEUE_RETRY_AFTER,
                },
                NotServed::Stopped => StoreError::Unavailable.into(),
            })
        })
    }
}

impl Store {
    /// Messages that wait to be stored.
    pub fn appends_waiting(&self) -> usize {
        let committers = self.0.appender.committers.iter();
        committers.map(Batcher::waiting).sum()
    }

    /// For how long no message could be stored, though some were to be.
    pub fn appends_failing(&self) -> Option<Duration> {
        self.0.appender.standstill.lasts()
    }

    /// Appends a message together with all others that wait. On an outage the
    /// outcome may be unknown: the same message sent again gets its first answer.
    pub async fn append(&self, message: NewMessage) -> Answer {
        self.0.appender.append(message).await
    }
}

#[derive(Clone)]
struct Committer {
    pool: Pool,
    /// How far back a repeated message id is recognised.
    window: Duration,
    watch: Watch,
    standstill: Standstill,
}

impl Committer {
    /// Serves one batch; the answers are in the order of the items.
    async fn commit(self, batch: Vec<NewMessage>) -> Vec<Answer> {
        metrics::histogram!("relay_append_batch_items").record(as_f64(batch.len()));
        let mut answers: Vec<Answer> = vec![Err(StoreError::Unavailable.into()); batch.len()];
        let mut open: Vec<(usize, &NewMessage)> = batch.iter().enumerate().collect();
        while !open.is_empty() {
            // The same message or nonce twice in one batch: the second asks again, and
            // finds what the first has stored.
            let (mut ids, mut nonces) = (HashSet::new(), HashSet::new());
            let (now, later): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, m)| {
                let nonce_is_new = m.nonce.is_none_or(|nonce| nonces.insert(nonce.key));
                ids.insert((&m.convo, &m.message_id)) && nonce_is_new
            });
            let items = column(&now, |(_, item)| *item);
            for ((index, _), answer) in now.iter().zip(self.commit_distinct(&items).await) {
                if let Some(slot) = answers.get_mut(*index) {
                    *slot = answer;
                }
            }
            open = later;
        }
        let is_judged = |answer: &Answer| !matches!(answer, Err(AppendError::Store(_)));
        self.standstill.note(answers.iter().any(is_judged));
        answers
    }

    async fn commit_distinct(&self, items: &[&NewMessage]) -> Vec<Answer> {
        if self.watch.is_on() {
            return self.commit_free(items, None).await;
        }
        match self.commit_once(items, false).await {
            Err(error @ (StoreError::Locked | StoreError::Timeout)) => {
                self.watch.begin();
                self.commit_free(items, Some(error)).await
            }
            outcome => self.answers_of(items, outcome, false).await,
        }
    }

    /// Those that nobody holds up, after all of them have `failed`, if so. Of the others it is known
    /// that they would have to wait.
    async fn commit_free(&self, items: &[&NewMessage], failed: Option<StoreError>) -> Vec<Answer> {
        let held = match (self.watch.held(&self.pool, items).await, &failed) {
            // Postgres itself is slow, or somebody has what every send needs: nothing is asked twice.
            (Ok(held), Some(error)) if held.is_empty() => return all(items, error),
            (Ok(held), _) => held,
            (Err(error), _) => return all(items, &error),
        };
        let again = failed.is_some();
        if !held.is_empty() {
            self.watch.begin();
        }
        let is_held = |item: &&NewMessage| held.contains(item.convo.expose());
        let free: Vec<&NewMessage> = items.iter().copied().filter(|m| !is_held(m)).collect();
        let held_up = items.len() - free.len();
        metrics::counter!("relay_append_held_up_total").increment(held_up as u64);
        let mut answers = Vec::new();
        if !free.is_empty() {
            let outcome = self.commit_once(&free, again).await;
            answers = self.answers_of(&free, outcome, again).await;
        }
        let mut answers = answers.into_iter();
        let answer = |item| match is_held(item) {
            true => Err(StoreError::Locked.into()),
            false => answers.next().unwrap_or(Err(StoreError::Shape.into())),
        };
        items.iter().map(answer).collect()
    }

    async fn answers_of(
        &self,
        items: &[&NewMessage],
        outcome: Result<Vec<Answer>, StoreError>,
        again: bool,
    ) -> Vec<Answer> {
        match outcome {
            Ok(answers) => answers,
            // One of them is at fault: the others must not suffer for it.
            Err(StoreError::Refused(_) | StoreError::Shape) if items.len() > 1 => {
                let mut answers = Vec::with_capacity(items.len());
                for item in items {
                    let alone = self.commit_once(&[*item], again).await;
                    let alone =
                        alone.map(|mut one| one.pop().unwrap_or(Err(StoreError::Shape.into())));
                    answers.push(alone.unwrap_or_else(|error| Err(error.into())));
                }
                answers
            }
            Err(error) => all(items, &error),
        }
    }

    /// One attempt, and a second one where the first was cut off: ids make it safe.
    async fn commit_once(
        &self,
        items: &[&NewMessage],
        again: bool,
    ) -> Result<Vec<Answer>, StoreError> {
        let stored = match self.ask(items, again).await {
            Err(error) if error.is_worth_a_second() => self.ask(items, true).await,
            first => first,
        }?;
        if stored.len() != items.len() {
            return Err(StoreError::Shape);
        }
        // They are stored: what cannot be read of one answer is no fault of the others'.
        let answer = |row| answer(row).unwrap_or_else(|error| Err(error.into()));
        Ok(stored.iter().map(answer).collect())
    }

    async fn ask(&self, items: &[&NewMessage], again: bool) -> Result<Vec<Row>, StoreError> {
        let window = self.window.as_secs_f64();
        if let [lone] = items {
            let params: Params<'_> = &[
                &lone.convo,
                &lone.sender,
                &lone.message_id,
                &lone.epoch,
                &lone.ciphertext.as_ref(),
                &lone.nonce.as_ref().map(|nonce| nonce.key.as_slice()),
                &lone.nonce.map(|nonce| nonce.until),
                &window,
                &again,
            ];
            return self.pool.query(APPEND_ONE, params).await;
        }
        let params: Params<'_> = &[
            &column(items, |m| &m.convo),
            &column(items, |m| &m.sender),
            &column(items, |m| &m.message_id),
            &column(items, |m| m.epoch),
            &column(items, |m| m.ciphertext.as_ref()),
            &column(items, |m| Some(m.nonce.as_ref()?.key.as_slice())),
            &column(items, |m| Some(m.nonce?.until)),
            &window,
            &again,
        ];
        self.pool.query(APPEND_ALL, params).await
    }
}

/// All of them failed alike.
fn all(items: &[&NewMessage], error: &StoreError) -> Vec<Answer> {
    column(items, |_| Err(error.clone().into()))
}

fn answer(row: &Row) -> Result<Answer, StoreError> {
    Ok(match get(row, "outcome")? {
        "stored" | "repeated" => Ok(Appended {
            seq: count(row, "seq")?,
            epoch: get(row, "epoch")?,
            received_at: get(row, "received_at")?,
        }),
        "absent" => Err(AppendError::NotMember),
        "replayed" => Err(AppendError::NonceUsed),
        "conflict" => Err(AppendError::Conflict),
        "epoch" => Err(AppendError::EpochMismatch {
            current: get(row, "epoch")?,
        }),
        _ => return Err(StoreError::Shape),
    })
}

/// A count as a metric has it.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

const APPEND_ALL: &str = "SELECT outcome, seq, epoch, received_at \
     FROM append_messages($1, $2, $3, $4, $5, $6, $7, make_interval(secs => $8), $9)";

/// The same for one, without the start of a large statement.
const APPEND_ONE: &str = "SELECT outcome, seq, epoch, received_at \
     FROM append_message($1, $2, $3, $4, $5, $6, $7, make_interval(secs => $8), $9)";

/// A full queue is a second's work at most.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(1);
