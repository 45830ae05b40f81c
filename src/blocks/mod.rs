//! Who blocks whom: asked of the AppView, remembered for a while.
//!
//! ```text
//! pairs of accounts ─> memory (fresh) ─> AppView, 30 others a question ─> memory, database
//!                          └── the AppView does not answer: memory (stale), else nobody knows
//! ```
//!
//! Nobody knows is an error, never "no block": whoever could be hurt by a wrong
//! answer is not added. Without a configured AppView nobody is asked.

mod appview;
mod budget;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod pairs;
mod relationships;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::outbound::EndpointError;
use crate::store::Store;
use crate::types::{CoarseTime, Did, unprintable};
use crate::wire::calls::BlockView;
use appview::{AppView, Purpose};
use budget::QuestionBudget;
use pairs::{Known, Pairs};
use relationships::OTHERS_MAX;

pub use settings::Settings;

/// Knows who blocks whom. Clones share everything.
#[derive(Clone)]
pub struct Blocks(Arc<Inner>);

unprintable!(Blocks);

struct Inner {
    store: Store,
    settings: Settings,
    appview: Option<AppView>,
    /// Of those who only want to know.
    budget: Mutex<QuestionBudget>,
    pairs: Pairs,
}

/// Why asking cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("APPVIEW_URL {0}")]
    Url(#[from] EndpointError),
    #[error("TLS for outgoing requests could not be set up")]
    Tls(#[from] rustls::Error),
}

/// Why it is not known whether somebody blocks somebody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BlocksError {
    #[error("no AppView is configured")]
    NobodyToAsk,
    #[error("it would take too many questions")]
    TooManyQuestions,
    #[error("too many questions were asked of late")]
    TooOften { retry_after: Duration },
    #[error("the AppView does not answer")]
    Unavailable { retry_after: Duration },
}

impl Blocks {
    pub fn start(settings: Settings, store: Store) -> Result<Self, StartError> {
        let appview = match &settings.url {
            Some(url) => Some(AppView::new(url, settings.questions_max, settings.pause)?),
            None => None,
        };
        let budget = QuestionBudget::new(
            settings.questions_per_account,
            settings.questions_per_minute,
        );
        Ok(Self(Arc::new(Inner {
            store,
            budget: Mutex::new(budget),
            pairs: Pairs::new(settings.pairs_max),
            appview,
            settings,
        })))
    }

    /// Whether anybody is asked.
    pub fn has_appview(&self) -> bool {
        self.0.appview.is_some()
    }

    /// Blocks between each of `newcomers` and each of `members`, and among the
    /// newcomers.
    pub async fn of_newcomers(
        &self,
        newcomers: &[Did],
        members: &[Did],
    ) -> Result<Vec<BlockView>, BlocksError> {
        let rows = newcomers.iter().enumerate().map(|(index, newcomer)| {
            let later = newcomers.get(index + 1..).unwrap_or_default();
            let others = members.iter().chain(later);
            (newcomer, others.filter(move |other| *other != newcomer))
        });
        self.between(rows, Purpose::Adding).await
    }

    /// Blocks among these accounts, in both directions, for `caller` to know.
    pub async fn among(&self, caller: &Did, dids: &[Did]) -> Result<Vec<BlockView>, BlocksError> {
        let rows = dids.iter().enumerate().map(|(index, one)| {
            let later = dids.get(index + 1..).unwrap_or_default();
            (one, later.iter().filter(move |other| *other != one))
        });
        self.between(rows, Purpose::Knowing(caller)).await
    }

    /// What the AppView says now of the block of one account by another, as `caller` wants
    /// to know.
    pub async fn ask_now(
        &self,
        caller: &Did,
        blocker: &Did,
        blocked: &Did,
    ) -> Result<Option<BlockView>, BlocksError> {
        let purpose = Purpose::Knowing(caller);
        self.charge(purpose, 1)?;
        let found = self.ask(blocker, &[blocked], purpose).await?;
        Ok(found
            .into_iter()
            .find(|block| block.blocker_did == *blocker))
    }

    /// Blocks between each account and its others.
    async fn between<'a, O: Iterator<Item = &'a Did>>(
        &self,
        rows: impl Iterator<Item = (&'a Did, O)>,
        purpose: Purpose<'_>,
    ) -> Result<Vec<BlockView>, BlocksError> {
        if !self.has_appview() {
            return Err(BlocksError::NobodyToAsk);
        }
        let (mut blocks, unknown) = self.sift(rows)?;
        self.charge(purpose, unknown.len())?;
        let questions = unknown
            .iter()
            .map(|(one, others)| self.ask_or_recall(one, others, purpose));
        let answers = try_join_all(questions).await?;
        blocks.extend(answers.into_iter().flatten());
        Ok(blocks)
    }

    /// The blocks that are remembered, and the questions about all other pairs. Ends as soon
    /// as these are too many.
    fn sift<'a, O: Iterator<Item = &'a Did>>(
        &self,
        rows: impl Iterator<Item = (&'a Did, O)>,
    ) -> Result<(Vec<BlockView>, Vec<Question<'a>>), BlocksError> {
        let (mut blocks, mut unknown) = (Vec::new(), Vec::new());
        for (one, others) in rows {
            let (mut missing, mut fresh) = (Vec::new(), 0);
            for other in others {
                match self.0.pairs.known(one, other, self.0.settings.fresh_for) {
                    Some(known) => {
                        fresh += 1;
                        known.blocks(one, other, &mut blocks);
                    }
                    None => missing.push(other),
                }
            }
            count_pairs("fresh", fresh);
            let chunks = missing.chunks(OTHERS_MAX);
            unknown.extend(chunks.map(|others| (one, others.to_vec())));
            if unknown.len() > self.0.settings.questions_per_call {
                return Err(BlocksError::TooManyQuestions);
            }
        }
        Ok((blocks, unknown))
    }

    /// Takes these questions from the budget of whoever only wants to know.
    fn charge(&self, purpose: Purpose<'_>, questions: usize) -> Result<(), BlocksError> {
        let Purpose::Knowing(caller) = purpose else {
            return Ok(());
        };
        if questions == 0 {
            return Ok(());
        }
        let now = Instant::now().into_std();
        let charged = self.0.budget.lock().spend(caller, questions, now);
        charged.map_err(|retry_after| {
            count_questions("limited", questions);
            BlocksError::TooOften { retry_after }
        })
    }

    /// Asks; without an answer, what was said before may do.
    async fn ask_or_recall(
        &self,
        one: &Did,
        others: &[&Did],
        purpose: Purpose<'_>,
    ) -> Result<Vec<BlockView>, BlocksError> {
        let error = match self.ask(one, others, purpose).await {
            Ok(blocks) => {
                count_pairs("asked", others.len());
                return Ok(blocks);
            }
            Err(error) => error,
        };
        let mut blocks = Vec::new();
        for other in others {
            let known = self.0.pairs.known(one, other, self.0.settings.stale_for);
            let Some(known) = known else {
                count_pairs("unknown", others.len());
                return Err(error);
            };
            known.blocks(one, other, &mut blocks);
        }
        count_pairs("stale", others.len());
        Ok(blocks)
    }

    /// One question to the AppView, whose answer is kept.
    async fn ask(
        &self,
        one: &Did,
        others: &[&Did],
        purpose: Purpose<'_>,
    ) -> Result<Vec<BlockView>, BlocksError> {
        let appview = self.0.appview.as_ref().ok_or(BlocksError::NobodyToAsk)?;
        let limit = self.0.settings.timeout;
        let answer = appview.ask(one, others, purpose, limit).await;
        let outcome = if answer.is_ok() { "answered" } else { "failed" };
        count_questions(outcome, 1);
        let answer = answer.map_err(|rest| BlocksError::Unavailable {
            retry_after: rest.max(RETRY_AFTER_MIN),
        })?;
        let said_at = CoarseTime::floor(chrono::Utc::now());
        let (mut blocks, mut said) = (Vec::new(), Vec::new());
        for (between, other) in answer.into_iter().zip(others) {
            let known = Known {
                between,
                asked_at: Instant::now(),
                said_at,
            };
            known.blocks(one, other, &mut blocks);
            known.said(one, other, &mut said);
            self.0.pairs.keep(one, other, known);
        }
        // The answer is good whether or not the database can keep it.
        if self.0.store.record_blocks(&said).await.is_err() {
            metrics::counter!("relay_blocks_unrecorded_total").increment(1);
        }
        Ok(blocks)
    }
}

/// How soon whoever heard that the AppView does not answer may ask again, however short its
/// rest.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(5);

/// One account and others about whom the AppView is asked.
type Question<'a> = (&'a Did, Vec<&'a Did>);

fn count_pairs(standing: &'static str, pairs: usize) {
    metrics::counter!("relay_blocks_pairs_total", "standing" => standing).increment(pairs as u64);
}

fn count_questions(outcome: &'static str, questions: usize) {
    metrics::counter!("relay_blocks_questions_total", "outcome" => outcome)
        .increment(questions as u64);
}
