//! Requests of one address or site, the tokens that they bear, and the accounts that these prove.

use std::time::Duration;

use mls_relay::limits::{Claim, ProvedHere};
use mls_relay::types::Nsid;

use crate::limiter::{did, ip, limits, prove, refuses, refuses_call, request, wait};

#[test]
fn of_seventy_requests_sixty_and_the_burst_pass_and_whoever_waits_as_told_gets_in() {
    let limits = limits(|_| {});
    let decisions: Vec<_> = (0..70)
        .map(|_| {
            wait(&limits, Duration::from_millis(100));
            request(&limits, ip("192.0.2.1"), None)
        })
        .collect();
    let passed = decisions.iter().take_while(|d| d.refused.is_none()).count();
    assert_eq!(passed, 66);
    assert!(decisions[66..].iter().all(|d| d.refused.is_some()));
    assert!(
        !refuses(&limits, ip("192.0.2.2"), None),
        "others are not affected"
    );

    let retry_after = decisions[69].refused.unwrap().retry_after();
    wait(&limits, retry_after - Duration::from_millis(1));
    assert!(refuses(&limits, ip("192.0.2.1"), None));
    wait(&limits, Duration::from_millis(1));
    assert!(!refuses(&limits, ip("192.0.2.1"), None));
}

#[test]
fn addresses_of_one_site_count_as_one() {
    let limits = limits(|_| {});
    for host in 0..66 {
        request(&limits, ip(&format!("2001:db8::{host:x}")), None);
    }
    assert!(refuses(&limits, ip("2001:db8::ffff"), None));
    assert!(!refuses(&limits, ip("2001:db8:0:1::1"), None));
}

#[test]
fn a_thousand_accounts_behind_one_address_are_not_one_user() {
    let limits = limits(|_| {});
    for _round in 0..3 {
        for user in 0..1_000 {
            prove(&limits, ip("192.0.2.1"), &did(user));
            assert!(!refuses_call(&limits, &did(user), Nsid::GetConvos));
        }
    }
}

#[test]
fn a_neighbour_who_spends_the_window_locks_nobody_out_who_proved_themselves() {
    let limits = limits(|_| {});
    let (carrier, alice) = (ip("192.0.2.1"), did(1));
    prove(&limits, carrier, &alice);
    for _ in 0..200 {
        request(&limits, carrier, None);
    }
    assert!(refuses(&limits, carrier, None));
    assert!(
        refuses(&limits, carrier, Some(&did(2))),
        "a stranger has no reserve"
    );
    for _ in 0..500 {
        prove(&limits, carrier, &alice);
    }
    assert!(!refuses(&limits, ip("192.0.2.9"), Some(&alice)));
}

#[test]
fn bad_tokens_in_the_name_of_a_known_account_are_bounded_and_do_not_shut_it_out() {
    let limits = limits(|settings| settings.penalties.strikes = u16::MAX);
    let (carrier, alice) = (ip("192.0.2.1"), did(1));
    let (hers, a_neighbours) = (ProvedHere::default(), ProvedHere::default());
    prove(&limits, carrier, &alice);
    limits.proved_here(&hers, &alice);
    let checked = (0..1_000).filter(|_| !refuses(&limits, carrier, Some(&alice)));
    assert_eq!(checked.count(), 66 + 20);
    let decide = |claim: Claim| limits.check(limits.arrival(carrier), Some(claim));
    let claim = Claim::of(&alice);
    assert!(decide(claim.on(Some(&a_neighbours))).refused.is_some());
    // Where she has proved herself nobody else is, and what she alone has nobody shows.
    for _ in 0..100 {
        for sure in [claim.on(Some(&hers)), claim.sure_if(&|| true)] {
            let own = decide(sure);
            assert!(own.refused.is_none());
            limits.proved(&own, carrier, &alice);
        }
        wait(&limits, Duration::from_secs(3));
        request(&limits, carrier, Some(&alice));
    }
    let checked = (0..1_000).filter(|_| decide(claim.on(Some(&hers))).refused.is_none());
    assert!(checked.count() <= 66 + 20, "hers are bounded as well");
}

#[test]
fn bad_tokens_in_the_names_of_known_accounts_spend_nothing_of_whoever_is_sure_to_be_one() {
    let limits = limits(|settings| settings.requests.verifications = 10);
    let (carrier, alice, bob) = (ip("192.0.2.1"), did(1), did(2));
    prove(&limits, carrier, &alice);
    prove(&limits, carrier, &bob);
    for _ in 0..100 {
        request(&limits, carrier, None);
        request(&limits, carrier, Some(&bob));
    }
    assert!(refuses(&limits, carrier, Some(&alice)));
    let hers = Claim::of(&alice).sure_if(&|| true);
    let decision = limits.check(limits.arrival(carrier), Some(hers));
    assert!(decision.refused.is_none());
}

#[test]
fn tokens_that_one_address_can_make_us_check_are_bounded_even_if_they_verify() {
    let limits = limits(|settings| settings.requests.verifications = 100);
    let carrier = ip("192.0.2.1");
    let mut checked = 0;
    for user in 0..1_000 {
        let decision = request(&limits, carrier, Some(&did(user)));
        if decision.refused.is_none() {
            checked += 1;
            limits.proved(&decision, carrier, &did(user));
        }
    }
    assert_eq!(checked, 100);
}
