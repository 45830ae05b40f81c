//! Layer 3: memory that an account's calls hold: of bodies as they arrive, of answers
//! until they are written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::blind::Blind;
use super::counts::{Counts, Held};
use super::threshold::threshold;
use super::{Inner, LimitError, Limits, Rule};
use crate::runtime::BYTES_PER_SECOND_MIN;
use crate::types::Did;

/// How many bytes of one kind all calls of this node hold, and those of each account.
pub(super) struct Pool {
    all: AtomicUsize,
    /// How many it may be, as the last call was told.
    most: AtomicUsize,
    accounts: Arc<Counts<AtomicUsize>>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            all: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
            accounts: Counts::new(),
        }
    }

    /// The least that must move of what holds such memory, in bytes a second. While half of it
    /// is held, whoever is slow makes way: with a few accounts, all of it could be held by
    /// trickles otherwise.
    fn least_pace(&self, scarce: u64) -> u64 {
        let half = self.most.load(Ordering::Relaxed) / 2;
        match self.all.load(Ordering::Relaxed) > half {
            true => scarce,
            false => BYTES_PER_SECOND_MIN,
        }
    }
}

/// What one call holds; given back when dropped.
pub struct MemoryPermit {
    inner: Arc<Inner>,
    pool: fn(&Inner) -> &Pool,
    rule: Rule,
    most: usize,
    held: usize,
    name: Blind,
    /// Who answers for it, if it is more than a little that came at once.
    account: Option<Held<AtomicUsize>>,
}

impl Limits {
    /// Memory for the body of this account's call, of `most` bytes for all accounts. Holds
    /// nothing yet.
    pub fn memory_for_body(&self, did: &Did, most: usize) -> MemoryPermit {
        MemoryPermit::new(self, (|inner| &inner.bodies, Rule::Bodies), did, most)
    }

    /// Memory for an answer to this account, of `most` bytes for all accounts. Holds nothing
    /// yet.
    pub fn memory_for_answer(&self, did: &Did, most: usize) -> MemoryPermit {
        MemoryPermit::new(self, (|inner| &inner.answers, Rule::Answers), did, most)
    }

    /// The least that clients must take of answers that hold memory, in bytes a second.
    pub fn least_pace_of_answers(&self) -> u64 {
        let scarce = self.inner.settings.load().scarce_bytes_per_second;
        self.inner.answers.least_pace(scarce)
    }
}

impl MemoryPermit {
    fn new(
        limits: &Limits,
        (pool, rule): (fn(&Inner) -> &Pool, Rule),
        did: &Did,
        most: usize,
    ) -> Self {
        let name = limits.inner.holders.account(rule as u8, did);
        pool(&limits.inner).most.store(most, Ordering::Relaxed);
        Self {
            inner: Arc::clone(&limits.inner),
            pool,
            rule,
            most,
            held: 0,
            name,
            account: None,
        }
    }

    /// Takes `bytes`, after which nothing more comes: a little that came at once is nobody's.
    pub fn take_last(&mut self, bytes: usize) -> Result<(), LimitError> {
        match self.held + bytes > UNCHARGED_MAX {
            true => self.take(bytes),
            false => self.add(bytes),
        }
    }

    /// Takes `bytes` more, for which the account answers. It has a share of the memory, so that it
    /// cannot stop the others; but a call that is its only one may be larger. However many
    /// accounts take all they can, they leave something (`threshold`): what is large waits sooner
    /// than what is small. After an error the call is over, and drops what it held.
    pub fn take(&mut self, bytes: usize) -> Result<(), LimitError> {
        if self.account.is_none() {
            let accounts = &self.pool().accounts;
            self.account = Some(accounts.hold(self.name, AtomicUsize::default));
            self.charge_account(self.held);
        }
        self.add(bytes)
    }

    fn add(&mut self, bytes: usize) -> Result<(), LimitError> {
        let account = self.charge_account(bytes);
        let is_account_full = account > self.held && account + bytes > self.most / ACCOUNT_SHARE;
        let before = self.pool().all.fetch_add(bytes, Ordering::Relaxed);
        let others = before.saturating_sub(account);
        let most = match self.account {
            Some(_) => part_of(self.most.saturating_sub(others), self.most),
            None => self.most.saturating_sub(others),
        };
        let is_node_full = account + bytes > most;
        self.held += bytes;
        self.gauge().increment(exact(bytes));

        let (rule, retry_after) = (self.rule, RETRY_AFTER);
        let refused = match (is_node_full, is_account_full) {
            (true, _) => LimitError::NodeFull { rule, retry_after },
            (_, true) => LimitError::Reached { rule, retry_after },
            (false, false) => return Ok(()),
        };
        match self.inner.settings.load().enforces(rule) {
            true => Err(refused),
            false => Ok(()),
        }
    }

    /// The least that must arrive of what it is held for, in bytes a second.
    pub fn least_pace(&self) -> u64 {
        let scarce = self.inner.settings.load().scarce_bytes_per_second;
        self.pool().least_pace(scarce)
    }

    /// What the account held before.
    fn charge_account(&self, bytes: usize) -> usize {
        self.account.as_ref().map_or(0, |account| {
            account.shared.fetch_add(bytes, Ordering::Relaxed)
        })
    }

    fn pool(&self) -> &Pool {
        (self.pool)(&self.inner)
    }

    fn gauge(&self) -> metrics::Gauge {
        metrics::gauge!("relay_limits_bytes", "rule" => self.rule.name())
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.shared.fetch_sub(self.held, Ordering::Relaxed);
        }
        if self.held > 0 {
            self.pool().all.fetch_sub(self.held, Ordering::Relaxed);
            self.gauge().decrement(exact(self.held));
        }
    }
}

/// Below 2^52 a gauge has every number.
#[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn exact(bytes: usize) -> f64 {
    bytes as f64
}

/// How much one account may hold of what others leave.
fn part_of(left: usize, all: usize) -> usize {
    usize::try_from(threshold(left as u64, all as u64, 100)).unwrap_or(usize::MAX)
}

/// Most calls hold less, and nobody counts whose they are.
const UNCHARGED_MAX: usize = 16 << 10;

/// One account may hold this part of the memory.
const ACCOUNT_SHARE: usize = 8;

/// A body or an answer mostly takes less.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Clock, Settings};
    use crate::runtime::Live;

    const MOST: usize = 1 << 20;
    const SHARE: usize = MOST / ACCOUNT_SHARE;

    fn limits() -> Limits {
        Limits::new(Live::new(Settings::default()), Clock::system())
    }

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    #[test]
    fn one_account_has_a_share_and_the_others_have_theirs() {
        let (limits, mallory, alice) = (limits(), did("mallory"), did("alice"));
        let mut first = limits.memory_for_body(&mallory, MOST);
        first.take(SHARE).unwrap();
        let mut second = limits.memory_for_body(&mallory, MOST);
        let refused = second.take(UNCHARGED_MAX + 1).unwrap_err();
        assert!(matches!(
            refused,
            LimitError::Reached {
                rule: Rule::Bodies,
                ..
            }
        ));
        drop(second);
        limits.memory_for_body(&alice, MOST).take(SHARE).unwrap();
        limits
            .memory_for_answer(&mallory, MOST)
            .take(SHARE)
            .unwrap();
        drop(first);
        limits.memory_for_body(&mallory, MOST).take(SHARE).unwrap();
    }

    #[test]
    fn a_lone_call_may_be_larger_than_the_share_and_not_than_all() {
        let (limits, alice) = (limits(), did("alice"));
        let mut body = limits.memory_for_body(&alice, MOST);
        for _ in 0..16 {
            body.take(MOST / 16).unwrap();
        }
        let refused = body.take(1).unwrap_err();
        assert!(matches!(
            refused,
            LimitError::NodeFull {
                rule: Rule::Bodies,
                ..
            }
        ));
        drop(body);
        assert_eq!(limits.inner.bodies.all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn while_half_of_it_is_held_the_slow_make_way() {
        let (limits, alice) = (limits(), did("alice"));
        assert_eq!(limits.least_pace_of_answers(), BYTES_PER_SECOND_MIN);
        let mut answer = limits.memory_for_answer(&alice, MOST);
        answer.take(MOST / 2).unwrap();
        assert_eq!(limits.least_pace_of_answers(), BYTES_PER_SECOND_MIN);
        answer.take(1).unwrap();
        assert_eq!(limits.least_pace_of_answers(), 32 << 10);
        let settings = Settings {
            scarce_bytes_per_second: 4 << 10,
            ..Settings::default()
        };
        limits.inner.settings.adopt(settings);
        assert_eq!(limits.least_pace_of_answers(), 4 << 10);
        let body = limits.memory_for_body(&alice, MOST);
        assert_eq!(body.least_pace(), BYTES_PER_SECOND_MIN);
        drop(answer);
        assert_eq!(limits.least_pace_of_answers(), BYTES_PER_SECOND_MIN);
    }

    #[test]
    fn what_grew_little_by_little_counts_from_its_first_byte() {
        let (limits, alice) = (limits(), did("alice"));
        let mut grown = limits.memory_for_body(&alice, MOST);
        for _ in 0..SHARE / 1024 {
            grown.take(1024).unwrap();
        }
        let mut other = limits.memory_for_body(&alice, MOST);
        assert!(
            other.take_last(UNCHARGED_MAX).is_ok(),
            "a little is nobody's"
        );
        assert!(other.take(1024).is_err());
    }

    #[test]
    fn a_little_that_waits_for_more_is_its_accounts() {
        let (limits, alice) = (limits(), did("alice"));
        let mut waiting = Vec::new();
        let refused = (0..MOST / 1024).find(|_| {
            let mut body = limits.memory_for_body(&alice, MOST);
            let refused = body.take(1024).is_err();
            waiting.push(body);
            refused
        });
        assert_eq!(refused, Some(SHARE / 1024));
    }

    #[test]
    fn many_who_take_all_they_can_leave_something_for_small_bodies() {
        let limits = limits();
        let greedy = |one: usize| {
            let greedy = did(&format!("mallory{one}"));
            (1..=SHARE).rev().step_by(1024).find_map(|len| {
                let mut body = limits.memory_for_body(&greedy, MOST);
                body.take(len).is_ok().then_some(body)
            })
        };
        let _held: Vec<_> = (0..30).map(greedy).collect();
        let left = MOST - limits.inner.bodies.all.load(Ordering::Relaxed);
        assert!((MOST / 40..MOST / 20).contains(&left), "{left}");
        let alice = did("alice");
        let body = || limits.memory_for_body(&alice, MOST);
        assert_eq!(body().take_last(UNCHARGED_MAX), Ok(()));
        assert_eq!(body().take(512), Ok(()));
        assert!(body().take(UNCHARGED_MAX).is_err());
    }

    #[test]
    fn whatever_many_take_at_once_comes_back() {
        let (limits, names) = (limits(), ["mallory", "alice"]);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let limits = &limits;
                scope.spawn(move || {
                    for turn in 0..5_000 {
                        let mut call = limits.memory_for_body(&did(names[turn % 2]), MOST);
                        // Some are refused, in the middle or at once.
                        let sizes = [1, UNCHARGED_MAX, SHARE / 2, MOST / 4 * thread];
                        let _ = sizes.iter().try_for_each(|size| call.take(*size));
                    }
                });
            }
        });
        let (pool, holders) = (&limits.inner.bodies, &limits.inner.holders);
        assert_eq!(pool.all.load(Ordering::Relaxed), 0);
        for name in names {
            let name = holders.account(Rule::Bodies as u8, &did(name));
            assert!(
                pool.accounts.shared(name).is_none(),
                "nothing held, nothing kept"
            );
        }
    }

    #[test]
    fn a_dry_run_only_counts() {
        let settings = Settings {
            dry_run: crate::limits::RuleSet::default().with(Rule::Bodies),
            ..Settings::default()
        };
        let limits = Limits::new(Live::new(settings), Clock::system());
        let mut body = limits.memory_for_body(&did("alice"), MOST);
        assert_eq!(body.take(2 * MOST), Ok(()));
    }
}
