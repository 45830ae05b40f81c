//! Questions to the AppView: so many at once, none while it is down.

use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::StartError;
use super::relationships::{Between, question, read};
use crate::outbound::{Endpoint, FetchError, Fetched, Fetcher};
use crate::types::Did;

/// What an answer is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// Somebody is about to be added: few calls, and they cannot go on without.
    Adding,
    /// Somebody wants to know, perhaps very often.
    Knowing,
}

/// The AppView that the operator named.
pub(super) struct AppView {
    endpoint: Endpoint,
    fetcher: Fetcher,
    turns: Semaphore,
    /// Half of the turns: whoever only wants to know takes no more of them.
    turns_to_know: Semaphore,
    /// When it last failed: for a moment it is not asked again.
    failed_at: Mutex<Option<Instant>>,
}

impl AppView {
    /// At most so many questions are under way at once.
    pub(super) fn new(url: &str, questions_max: usize) -> Result<Self, StartError> {
        Ok(Self {
            endpoint: Endpoint::parse(url)?,
            fetcher: Fetcher::new(ANSWER_LEN_MAX)?,
            turns: Semaphore::new(questions_max),
            turns_to_know: Semaphore::new((questions_max / 2).max(1)),
            failed_at: Mutex::new(None),
        })
    }

    /// What it says between one account and others, in their order; `None` if it does not
    /// say. Takes at most twice the limit: once for a turn, once for the answer.
    pub(super) async fn ask(
        &self,
        one: &Did,
        others: &[&Did],
        purpose: Purpose,
        limit: Duration,
    ) -> Option<Vec<Between>> {
        let is_down = self.failed_at.lock().is_some_and(|at| at.elapsed() < PAUSE);
        if is_down {
            return None;
        }
        let _turns = timeout(limit, self.turns(purpose)).await.ok()??;
        let path = self.endpoint.path(&question(one, others));
        let page = self.endpoint.page(&path);
        let fetched = timeout(limit, self.fetcher.get(&page)).await;
        let is_down = match &fetched {
            Ok(Ok(_)) => false,
            // It does not like this question: others it may.
            Ok(Err(FetchError::Status(status))) => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Ok(Err(_)) | Err(_) => true,
        };
        *self.failed_at.lock() = is_down.then(Instant::now);
        match fetched {
            Ok(Ok(Fetched::Document(bytes))) => read(one, others, &bytes).ok(),
            _ => None,
        }
    }

    async fn turns(&self, purpose: Purpose) -> Option<[Option<SemaphorePermit<'_>>; 2]> {
        let to_know = match purpose {
            Purpose::Adding => None,
            Purpose::Knowing => Some(self.turns_to_know.acquire().await.ok()?),
        };
        Some([to_know, Some(self.turns.acquire().await.ok()?)])
    }
}

/// Thirty relationships, each with its URIs, and room.
const ANSWER_LEN_MAX: usize = 256 * 1024;

/// After a failure the AppView is left alone for so long.
const PAUSE: Duration = Duration::from_secs(2);
