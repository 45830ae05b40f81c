//! Questions to the AppView: so many at once, none while it is down, and when it says that
//! it is asked too often, none of those that can wait.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::StartError;
use super::relationships::{BadAnswer, Between, question, read};
use crate::outbound::{Endpoint, FetchError, Fetched, Fetcher, Outage};
use crate::types::Did;

/// What an answer is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    /// Somebody is about to be added: few calls, and they cannot go on without.
    Adding,
    /// This account wants to know, perhaps very often.
    Knowing(&'a Did),
}

/// The AppView that the operator named.
pub(super) struct AppView {
    endpoint: Endpoint,
    fetcher: Fetcher,
    outage: Outage,
    pause: Duration,
    turns: Arc<Semaphore>,
    /// Half of the turns: whoever only wants to know takes no more of them.
    turns_to_know: Arc<Semaphore>,
    rests: Mutex<Rests>,
}

/// Until when it is not asked.
#[derive(Default)]
struct Rests {
    /// Because it failed.
    all: Option<Instant>,
    /// Because it was asked too often. Those who cannot go on without an answer ask all the
    /// same: they are few, and did not bring this about.
    to_know: Option<Instant>,
}

/// Why there is no answer.
enum NoAnswer {
    /// It may be asked again after this long.
    Limited(Duration),
    Failed,
}

impl AppView {
    /// At most so many questions are under way at once. After a failure it is left alone for
    /// `pause`.
    pub(super) fn new(
        url: &str,
        questions_max: usize,
        pause: Duration,
    ) -> Result<Self, StartError> {
        Ok(Self {
            endpoint: Endpoint::parse(url)?,
            fetcher: Fetcher::new(ANSWER_LEN_MAX)?,
            outage: Outage::of("appview.url"),
            pause,
            turns: Arc::new(Semaphore::new(questions_max)),
            turns_to_know: Arc::new(Semaphore::new((questions_max / 2).max(1))),
            rests: Mutex::default(),
        })
    }

    /// What it says between one account and others, in their order; if it does not say, for
    /// how long it is not asked again. Takes at most twice the limit: once for a turn, once
    /// for the answer; and for those who are about to add somebody, if it asks for it, once
    /// to come back.
    pub(super) async fn ask(
        &self,
        one: &Did,
        others: &[&Did],
        purpose: Purpose<'_>,
        limit: Duration,
    ) -> Result<Vec<Between>, Duration> {
        let mut answer = self.try_to_ask(one, others, purpose, limit).await;
        if let Err(NoAnswer::Limited(wait)) = answer
            && purpose.is_pressing()
            && wait <= limit
        {
            sleep(wait).await;
            answer = self.try_to_ask(one, others, purpose, limit).await;
        }
        answer.map_err(|why| match why {
            NoAnswer::Limited(wait) => wait.max(self.rest(purpose)),
            NoAnswer::Failed => self.rest(purpose),
        })
    }

    async fn try_to_ask(
        &self,
        one: &Did,
        others: &[&Did],
        purpose: Purpose<'_>,
        limit: Duration,
    ) -> Result<Vec<Between>, NoAnswer> {
        if !self.rest(purpose).is_zero() {
            return Err(NoAnswer::Failed);
        }
        let turns = timeout(limit, self.turns(purpose)).await.ok().flatten();
        let turns = Arc::new(turns.ok_or(NoAnswer::Failed)?);
        // It may have been too much for it meanwhile.
        if !self.rest(purpose).is_zero() {
            return Err(NoAnswer::Failed);
        }
        let path = self.endpoint.path(&question(one, others));
        let page = self.endpoint.page(&path);
        let asked = async {
            Ok(match self.fetcher.get(&page, turns).await? {
                Fetched::Document(bytes) => read(one, others, &bytes),
                Fetched::Absent => Err(BadAnswer),
            })
        };
        let answer = timeout(limit, asked).await;
        let now = Instant::now();
        match &answer {
            Ok(Ok(Ok(_))) => self.outage.answered(),
            Ok(Ok(Err(error))) => self.outage.failed(error),
            Ok(Err(error)) => self.outage.failed(error),
            Err(_) => self.outage.failed("the answer did not come in time"),
        }
        let mut rests = self.rests.lock();
        match answer {
            Ok(Ok(answer)) => {
                rests.all = None;
                answer.map_err(|_| NoAnswer::Failed)
            }
            Ok(Err(FetchError::Limited { retry_after })) => {
                let most = self.pause.max(PAUSE_MAX);
                let wait = retry_after.unwrap_or(self.pause).min(most);
                rests.to_know = Some(now + wait.max(self.pause));
                Err(NoAnswer::Limited(wait))
            }
            // It does not like this question: others it may.
            Ok(Err(FetchError::Status(status))) if !status.is_server_error() => {
                rests.all = None;
                Err(NoAnswer::Failed)
            }
            Ok(Err(_)) | Err(_) => {
                rests.all = Some(now + self.pause);
                Err(NoAnswer::Failed)
            }
        }
    }

    /// For how long it is not asked.
    fn rest(&self, purpose: Purpose<'_>) -> Duration {
        let (rests, now) = (self.rests.lock(), Instant::now());
        let to_know = rests.to_know.filter(|_| !purpose.is_pressing());
        let until = rests.all.max(to_know).unwrap_or(now);
        until.saturating_duration_since(now)
    }

    async fn turns(&self, purpose: Purpose<'_>) -> Option<[Option<OwnedSemaphorePermit>; 2]> {
        let one_of = |turns: &Arc<Semaphore>| Arc::clone(turns).acquire_owned();
        let to_know = match purpose.is_pressing() {
            true => None,
            false => Some(one_of(&self.turns_to_know).await.ok()?),
        };
        Some([to_know, Some(one_of(&self.turns).await.ok()?)])
    }
}

impl Purpose<'_> {
    /// Whether the call cannot go on without.
    fn is_pressing(self) -> bool {
        matches!(self, Self::Adding)
    }
}

/// Thirty relationships, each with its URIs, and room.
const ANSWER_LEN_MAX: usize = 256 * 1024;

/// How long the AppView is left alone at most when it asks for it: a slip of its must not end
/// all asking.
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use mls_relay_loadtest::directory::{Directory, Fault};

    use super::*;
    use crate::telemetry::Log;

    #[tokio::test]
    async fn operators_hear_of_one_that_answers_something_else() {
        let (log, _listening) = Log::listen();
        let [alice, bob] = ["alice", "bob"].map(|name| format!("did:plc:{name}"));
        let [alice, bob] = [alice, bob].map(|did| Did::parse(&did).unwrap());
        // A text, and that there is nothing.
        for (told, fault) in [(1, Fault::Oversized(100)), (2, Fault::None)] {
            let elsewhere = Directory::start().await.unwrap();
            elsewhere.set_fault(fault);
            let appview = AppView::new(&elsewhere.url(), 1, Duration::ZERO).unwrap();
            let limit = Duration::from_secs(5);
            let answer = appview.ask(&alice, &[&bob], Purpose::Adding, limit).await;
            assert!(answer.is_err());
            let said = log.text();
            let why = "the AppView's answer is not one to the question";
            assert_eq!(said.matches(why).count(), told, "{said}");
        }
    }
}
