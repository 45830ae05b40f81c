//! Quotas of calls: each account's own, call by call.

use mls_relay::limits::{Clock, LimitError, Limits, Settings};
use mls_relay::runtime::Live;
use mls_relay::types::Nsid;

use crate::limiter::{did, limits, refuses_call, wait};

#[test]
fn each_call_has_its_quota_per_account() {
    let quotas = [
        (Nsid::SendMessage, 100),
        (Nsid::SendEphemeral, 120),
        (Nsid::PublishKeyPackage, 20),
        (Nsid::PublishKeyPackages, 20),
        (Nsid::RegisterDevice, 20),
        (Nsid::AddMembers, 10),
        (Nsid::RemoveMember, 10),
        (Nsid::CreateConvo, 5),
        (Nsid::ReportMember, 5),
        (Nsid::GetMessages, 200),
        (Nsid::GetConvos, 200),
        (Nsid::LeaveConvo, 200),
    ];
    for (call, quota) in quotas {
        let limits = limits(|_| {});
        for nth in 0..quota {
            let decision = limits.check_did(&did(1), call);
            assert!(decision.refused.is_none(), "{call:?} {nth}");
            assert_eq!(decision.remaining, quota - nth - 1);
        }
        let refused = limits.check_did(&did(1), call).refused.unwrap();
        assert!(!refuses_call(&limits, &did(2), call));
        wait(&limits, refused.retry_after());
        assert!(!refuses_call(&limits, &did(1), call), "{call:?}");
    }
}

#[test]
fn one_spent_quota_leaves_the_other_calls_alone() {
    let limits = limits(|_| {});
    for _ in 0..6 {
        limits.check_did(&did(1), Nsid::CreateConvo);
    }
    assert!(refuses_call(&limits, &did(1), Nsid::CreateConvo));
    assert!(!refuses_call(&limits, &did(1), Nsid::SendMessage));
    for _ in 0..20 {
        limits.check_did(&did(1), Nsid::PublishKeyPackage);
    }
    for call in [Nsid::PublishKeyPackages, Nsid::RegisterDevice] {
        assert!(refuses_call(&limits, &did(1), call), "all ways are one");
    }
    for _ in 0..200 {
        limits.check_did(&did(1), Nsid::GetMessages);
    }
    assert!(refuses_call(&limits, &did(1), Nsid::GetMessages));
    assert!(!refuses_call(&limits, &did(1), Nsid::GetConvos));
}

#[test]
fn calls_that_use_something_up_are_closed_while_shared_state_is_away() {
    let limits = limits(|_| {});
    limits.set_shared_state_away(true);
    for call in [Nsid::GetKeyPackages, Nsid::RegisterDevice] {
        let refused = limits.check_did(&did(1), call).refused;
        let is_away = matches!(refused, Some(LimitError::SharedStateAway { .. }));
        assert!(is_away, "{call:?}");
    }
    assert!(!refuses_call(&limits, &did(1), Nsid::SendMessage));
    limits.set_shared_state_away(false);
    assert!(!refuses_call(&limits, &did(1), Nsid::GetKeyPackages));
}

#[test]
fn a_changed_limit_counts_from_the_next_request() {
    let settings = Live::new(Settings::default());
    let limits = Limits::new(settings.clone(), Clock::manual());
    for _ in 0..5 {
        limits.check_did(&did(1), Nsid::CreateConvo);
    }
    assert!(refuses_call(&limits, &did(1), Nsid::CreateConvo));
    let mut raised = Settings::default();
    raised.calls.create_convo = 6;
    settings.replace(raised);
    assert!(!refuses_call(&limits, &did(1), Nsid::CreateConvo));
    assert!(refuses_call(&limits, &did(1), Nsid::CreateConvo));
}
