//! Requests that bear tokens wait for each other behind one address, for a bounded
//! time and in a bounded queue; and no address has more tokens checked for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use mls_relay::limits::{Claim, Decision, Limits, Rule};
use mls_relay::types::ClientIp;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::limiter::{did, ip, limits};

/// In any minute, with the burst.
const ALLOWED: usize = 66;

fn carrier() -> ClientIp {
    ip("192.0.2.1")
}

/// One request behind the carrier's address, in the name of this account. The clock of the
/// windows stands: no place comes back by itself.
async fn request(limits: &Limits, number: usize) -> Decision {
    let account = did(number);
    let claim = Claim::of(&account);
    limits
        .admit_request(limits.arrival(carrier()), Some(claim))
        .await
}

/// As many requests as the window holds, whose tokens are being checked.
async fn fill(limits: &Limits) -> Vec<Decision> {
    let mut held = Vec::new();
    for number in 0..ALLOWED {
        let decision = request(limits, number).await;
        assert!(decision.refused.is_none());
        held.push(decision);
    }
    held
}

/// One more, on a task of its own, given time to come to rest.
async fn late_comer(limits: &Limits, number: usize) -> JoinHandle<Decision> {
    let limits = limits.clone();
    let task = tokio::spawn(async move { request(&limits, number).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test(start_paused = true)]
async fn a_thousand_phones_that_come_at_once_are_all_let_in() {
    let limits = limits(|_| {});
    let (at_once, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let phones = (0..1_000).map(|number| {
        let (limits, at_once, most) = (&limits, &at_once, &most);
        async move {
            let decision = request(limits, number).await;
            assert!(decision.refused.is_none(), "phone {number} was refused");
            most.fetch_max(
                at_once.fetch_add(1, Ordering::Relaxed) + 1,
                Ordering::Relaxed,
            );
            sleep(Duration::from_millis(200)).await;
            at_once.fetch_sub(1, Ordering::Relaxed);
            limits.proved(&decision, carrier(), &did(number));
        }
    });
    let begun = Instant::now();
    join_all(phones).await;
    assert_eq!(most.into_inner(), ALLOWED, "never more at once than before");
    // Sixteen times sixty-six: nobody waited for a clock.
    assert_eq!(begun.elapsed(), Duration::from_millis(16 * 200));
}

#[tokio::test(start_paused = true)]
async fn one_proof_lets_in_one_in_the_order_of_their_coming() {
    let limits = limits(|_| {});
    let held = fill(&limits).await;
    let first = late_comer(&limits, 100).await;
    let second = late_comer(&limits, 101).await;
    limits.proved(&held[0], carrier(), &did(0));
    // Whoever comes now does not go first.
    let third = late_comer(&limits, 102).await;
    let decision = first.await.unwrap();
    assert!(decision.refused.is_none());
    assert!(!second.is_finished() && !third.is_finished());
    // A request that is dropped without a proof keeps its place: nobody comes in.
    drop(decision);
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    limits.proved(&held[1], carrier(), &did(1));
    assert!(second.await.unwrap().refused.is_none());
    assert!(!third.is_finished());
}

#[tokio::test(start_paused = true)]
async fn when_nothing_was_proved_whoever_waits_is_refused_and_no_offender() {
    let limits = limits(|settings| settings.penalties.strikes = 10);
    let mut held = fill(&limits).await;
    let waiting = join_all((0..50).map(|number| late_comer(&limits, 100 + number))).await;
    let last = held.pop();
    drop(held);
    tokio::task::yield_now().await;
    let all_wait = waiting.iter().all(|task| !task.is_finished());
    assert!(all_wait, "one is under way");
    let begun = Instant::now();
    drop(last);
    for task in waiting {
        let refused = task.await.unwrap().refused.unwrap();
        assert!(refused.retry_after() > Duration::ZERO);
    }
    let at_once = Duration::ZERO;
    assert_eq!(begun.elapsed(), at_once, "not after the wait");
    assert!(limits.penalties().is_empty());
    // With nothing under way, nobody waits.
    let refused = request(&limits, 200).await;
    assert!(refused.refused.is_some());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_bounded_in_time() {
    let limits = limits(|settings| settings.requests.wait_for = Duration::from_secs(3));
    let _held = fill(&limits).await;
    let begun = Instant::now();
    let decision = request(&limits, 100).await;
    let told = decision.refused.unwrap().retry_after();
    assert_eq!(told, Duration::from_secs(60));
    assert!(begun.elapsed() >= Duration::from_secs(3));
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_bounded_in_length_of_an_address_and_of_the_node() {
    for bound in ["address", "node"] {
        let limits = limits(|settings| match bound {
            "address" => settings.requests.waiting_per_ip = 2,
            _ => settings.requests.waiting_total = 2,
        });
        let held = fill(&limits).await;
        let first = late_comer(&limits, 100).await;
        let second = late_comer(&limits, 101).await;
        let third = late_comer(&limits, 102).await;
        assert!(third.await.unwrap().refused.is_some(), "by {bound}");
        // One who hangs up makes room.
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let fourth = late_comer(&limits, 103).await;
        limits.proved(&held[0], carrier(), &did(0));
        limits.proved(&held[1], carrier(), &did(1));
        for task in [second, fourth] {
            assert!(task.await.unwrap().refused.is_none(), "by {bound}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_bears_no_token_does_not_wait_and_other_addresses_are_not_asked_to() {
    let limits = limits(|_| {});
    let _held = fill(&limits).await;
    let begun = Instant::now();
    let nobody = limits.admit_request(limits.arrival(carrier()), None).await;
    assert!(nobody.refused.is_some());
    let (elsewhere, account) = (limits.arrival(ip("192.0.2.2")), did(100));
    let decision = limits
        .admit_request(elsewhere, Some(Claim::of(&account)))
        .await;
    assert!(decision.refused.is_none());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_known_here_uses_its_reserve_and_does_not_wait() {
    let limits = limits(|_| {});
    let alice = request(&limits, 1).await;
    limits.proved(&alice, carrier(), &did(1));
    drop(alice);
    let _held = fill(&limits).await;
    let begun = Instant::now();
    let decision = request(&limits, 1).await;
    assert!(decision.refused.is_none());
    assert_eq!(
        (decision.rule, begun.elapsed()),
        (Rule::Familiar, Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn who_came_in_by_a_reserve_and_proved_nothing_waits_and_hears_what_a_stranger_does() {
    let limits = limits(|_| {});
    let alice = did(1);
    let known = request(&limits, 1).await;
    limits.proved(&known, carrier(), &alice);
    drop(known);
    let held = fill(&limits).await;
    let (forged, own) = (request(&limits, 1).await, request(&limits, 1).await);
    let again = |decision| {
        let limits = limits.clone();
        async move {
            let alice = did(1);
            limits
                .admit_again(&decision, carrier(), Claim::of(&alice))
                .await
        }
    };
    limits.proved(&own, carrier(), &alice);
    assert!(again(own).await.is_none(), "what is hers stays hers");
    let mut judged = std::pin::pin!(again(forged));
    assert!(futures_util::poll!(judged.as_mut()).is_pending());
    drop(held);
    let judged = judged.await.unwrap();
    assert!(judged.refused.is_some());
    assert_eq!(judged.rule, Rule::Ip);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_place_is_lost_and_none_is_given_twice_however_they_come_and_go() {
    // More come than may wait, and to be refused so often would be an offence.
    let limits = limits(|settings| settings.penalties.strikes = u16::MAX);
    let at_once = Arc::new(AtomicUsize::new(0));
    let phones = (0..2_000).map(|number| {
        let (limits, at_once) = (limits.clone(), Arc::clone(&at_once));
        tokio::spawn(async move {
            let decision = request(&limits, number).await;
            if decision.refused.is_some() {
                return false;
            }
            let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(now <= ALLOWED, "{now} at once");
            tokio::task::yield_now().await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            limits.proved(&decision, carrier(), &did(number));
            true
        })
    });
    let phones: Vec<_> = phones.collect();
    let mut admitted = 0;
    for phone in phones {
        admitted += usize::from(phone.await.unwrap());
    }
    // Over the queue's bound some are refused; but whoever waited came in.
    assert!(admitted >= 1_024, "only {admitted} came in");
    let decision = request(&limits, 9_999).await;
    assert!(decision.refused.is_none(), "all places came back");
}
