//! The penalty box: who gets into it and how, what it takes from whom, how one comes out, and what
//! nodes tell each other of it.

use std::time::Duration;

use mls_relay::limits::{LimitError, Limits, Offender, Rule};
use mls_relay::types::Nsid;

use crate::limiter::{did, ip, limits, prove, refuses, refuses_call, request, wait};

#[test]
fn whoever_keeps_knocking_goes_to_the_box_and_comes_out_again() {
    let limits = limits(|settings| settings.penalties.strikes = 50);
    let stranger = ip("192.0.2.1");
    let mut last = None;
    for _ in 0..66 + 50 {
        last = request(&limits, stranger, None).refused;
    }
    // The stay began with this refusal, and its wait covers the stay.
    let wait_for = last.unwrap().retry_after();
    let connection = limits.admit_connection(stranger);
    assert!(connection.is_err(), "refused before TLS");
    assert!(limits.admit_connection(ip("192.0.2.2")).is_ok());
    wait(&limits, wait_for);
    assert!(limits.admit_connection(stranger).is_ok());
    assert!(!refuses(&limits, stranger, None));
}

#[test]
fn an_address_in_the_box_that_waits_as_told_gets_in_though_its_window_was_full() {
    for asked_again_after in [0, 5, 14].map(Duration::from_secs) {
        let (limits, stranger) = (limits(|_| {}), ip("192.0.2.1"));
        for _ in 0..200 {
            request(&limits, stranger, None);
        }
        assert!(limits.admit_connection(stranger).is_err(), "in the box");
        wait(&limits, asked_again_after);
        let told = request(&limits, stranger, None).refused.unwrap();
        wait(&limits, told.retry_after() - Duration::from_millis(1));
        assert!(refuses(&limits, stranger, None));
        wait(&limits, Duration::from_millis(1));
        assert!(!refuses(&limits, stranger, None));
    }
}

#[test]
fn an_account_in_the_box_that_waits_as_told_gets_in_though_its_quota_was_spent() {
    let (limits, alice, call) = (limits(|_| {}), did(1), Nsid::CreateConvo);
    for _ in 0..200 {
        limits.check_did(&alice, call);
    }
    let other = limits.check_did(&alice, Nsid::GetConvos).refused.unwrap();
    let told = limits.check_did(&alice, call).refused.unwrap();
    assert!(other.retry_after() < told.retry_after());
    wait(&limits, other.retry_after());
    let decision = limits.check_did(&alice, Nsid::GetConvos);
    assert!(decision.refused.is_none(), "this call's quota is whole");
    wait(&limits, told.retry_after() - other.retry_after());
    assert!(!refuses_call(&limits, &alice, call));
}

#[test]
fn an_account_in_the_box_opens_no_stream_until_it_has_waited_as_told() {
    let limits = limits(|settings| settings.sockets.upgrades_per_did = 1);
    let alice = did(1);
    let open = || {
        let permit = limits.admit_socket(ip("192.0.2.1"), &alice);
        permit.and_then(|_| limits.admit_upgrade(&alice))
    };
    assert_eq!(open(), Ok(()));
    limits.penalize(Offender::Account(&alice), Duration::from_secs(15));
    let told = open().unwrap_err();
    assert!(matches!(
        told,
        LimitError::Reached {
            rule: Rule::PenaltyBox,
            ..
        }
    ));
    wait(&limits, told.retry_after());
    assert_eq!(open(), Ok(()), "nor is it too soon then");
}

#[test]
fn an_account_that_loses_its_good_standing_by_a_refusal_is_told_the_wait_without_it() {
    let limits = limits(|settings| settings.good_standing.enabled = true);
    let alice = did(1);
    let spend: [&dyn Fn() -> Option<LimitError>; 2] = [
        &|| limits.check_did(&alice, Nsid::CreateConvo).refused,
        &|| limits.admit_upgrade(&alice).err(),
    ];
    for take in spend {
        assert_eq!(take(), None);
        wait(&limits, Duration::from_secs(50 * 24 * 3_600));
        let refused = std::iter::repeat_with(|| {
            wait(&limits, Duration::from_millis(100));
            take()
        });
        let refused = refused.flatten().next().unwrap();
        wait(&limits, refused.retry_after() - Duration::from_millis(1));
        assert!(take().is_some());
        wait(&limits, Duration::from_millis(1));
        assert_eq!(take(), None);
    }
}

#[test]
fn an_address_in_the_box_does_not_take_its_known_accounts_along() {
    let limits = limits(|settings| settings.penalties.strikes = 50);
    let (carrier, alice) = (ip("192.0.2.1"), did(1));
    prove(&limits, carrier, &alice);
    for _ in 0..200 {
        request(&limits, carrier, None);
    }
    assert!(limits.admit_connection(carrier).is_ok());
    assert!(refuses(&limits, carrier, None));
    assert!(!refuses(&limits, carrier, Some(&alice)));
}

/// Two that tell each other of stays, and the key that they had before.
fn two_nodes(before: Option<[u8; 16]>) -> (Limits, Limits) {
    let node = || {
        let limits = limits(|settings| settings.penalties.strikes = 10);
        limits.use_penalty_keys([7; 16], before);
        limits
    };
    (node(), node())
}

#[test]
fn operators_put_into_the_box_list_and_let_out() {
    let (node, other) = two_nodes(None);
    node.penalize(Offender::Address(ip("192.0.2.1")), Duration::from_secs(60));
    other.adopt_stays(&node.take_untold_stays());
    for limits in [&node, &other] {
        assert_eq!(limits.penalties().len(), 1);
        let refused = request(limits, ip("192.0.2.1"), None).refused;
        assert_eq!(refused.unwrap().retry_after(), Duration::from_secs(60));
    }
    node.lift(Offender::Address(ip("192.0.2.1")));
    other.adopt_stays(&node.take_untold_stays());
    for limits in [&node, &other] {
        assert!(limits.penalties().is_empty());
        assert!(!refuses(limits, ip("192.0.2.1"), None));
    }
}

#[test]
fn whoever_an_operator_puts_in_for_ever_stays_for_as_long_as_anybody_may() {
    let limits = limits(|_| {});
    limits.penalize(Offender::Account(&did(1)), Duration::MAX);
    let refused = limits.check_did(&did(1), Nsid::GetConvos).refused;
    assert_eq!(refused.unwrap().retry_after(), limits.longest_penalty());
}

#[test]
fn an_operator_lets_out_whom_a_key_has_put_in_that_was_replaced_since() {
    let (node, _) = two_nodes(None);
    node.penalize(Offender::Account(&did(1)), Duration::from_secs(3600));
    node.use_penalty_keys([8; 16], Some([7; 16]));
    assert!(refuses_call(&node, &did(1), Nsid::GetConvos));
    node.lift(Offender::Account(&did(1)));
    assert!(!refuses_call(&node, &did(1), Nsid::GetConvos));
}

#[test]
fn what_is_decided_while_the_others_are_asked_is_not_undone_by_their_answer() {
    let (node, other) = two_nodes(None);
    let (did, hour) = (did(1), Duration::from_secs(3600));
    let is_refused = || refuses_call(&node, &did, Nsid::SendMessage);
    other.penalize(Offender::Account(&did), hour);
    let answer = other.take_untold_stays();
    node.adopt_stays(&answer);
    assert!(is_refused());
    // An operator lets it out while the same answer is on its way once more.
    node.lift(Offender::Account(&did));
    node.adopt_stays(&answer);
    assert!(!is_refused());
    // Told, and put in again elsewhere.
    assert_eq!(node.take_untold_stays().len(), 1);
    node.adopt_stays(&answer);
    assert!(is_refused());
}

#[test]
fn what_one_node_decides_the_others_hear_of_once() {
    let (node, other) = two_nodes(Some([6; 16]));
    for _ in 0..20 {
        node.check_did(&did(1), Nsid::CreateConvo);
    }
    let stays = node.take_untold_stays();
    assert_eq!(stays.len(), 1);
    assert!(node.take_untold_stays().is_empty());
    other.adopt_stays(&stays);
    assert!(refuses_call(&other, &did(1), Nsid::SendMessage));
    // A new day, a new key: the stay under the key before still counts.
    other.use_penalty_keys([8; 16], Some([7; 16]));
    assert!(refuses_call(&other, &did(1), Nsid::SendMessage));
}
