//! What holds of every limit: a refusal names it, a dry run of it refuses nothing, who is exempt is
//! not counted, and a new blind key forgets nothing.

use std::time::Duration;

use mls_relay::limits::{FrameKind, LimitError, Offender, Rule};
use mls_relay::types::Nsid;
use mls_relay::wire::XrpcError;

use crate::limiter::{did, ip, is_taken, limits, prove, refuses, refuses_call, request, wait};

#[test]
fn a_refusal_says_which_limit_it_was() {
    let limits = limits(|settings| {
        settings.requests.verifications = 1;
        settings.sockets.upgrades_per_did = 1;
        settings.sockets.upgrades_per_ip = 1;
        settings.penalties.strikes = u16::MAX;
    });
    let (client, alice) = (ip("192.0.2.1"), did(1));
    let told = |refused: Option<LimitError>| XrpcError::from(refused.unwrap()).message;
    let socket = || limits.admit_socket(client, &alice);
    request(&limits, client, Some(&alice));
    let of_tokens = request(&limits, client, Some(&alice));
    for _ in 0..70 {
        request(&limits, client, None);
        limits.check_did(&alice, Nsid::CreateConvo);
    }
    let _socket = (socket(), limits.admit_upgrade(&alice));
    let refused = [
        (of_tokens.refused, "tokens from this address"),
        (request(&limits, client, None).refused, "from this address"),
        (
            limits.check_did(&alice, Nsid::CreateConvo).refused,
            "calls of this kind by this account",
        ),
        (socket().err(), "opened from this address"),
        (limits.admit_upgrade(&alice).err(), "opened by this account"),
    ];
    for (refused, words) in refused {
        let message = told(refused);
        assert!(message.contains(words), "{words}: {message}");
        assert!(message.contains("come back in "), "{message}");
    }
    assert_eq!(
        of_tokens.limit, 1,
        "the numbers are those of the same limit"
    );
    let stay = Duration::from_secs(60);
    limits.penalize(Offender::Address(client), stay);
    let message = told(request(&limits, client, None).refused);
    assert!(message.contains("refused too often"), "{message}");
}

#[test]
fn a_dry_run_of_any_rule_refuses_nothing_by_it() {
    // Next to nothing is allowed, so that each rule would refuse.
    let limits = limits(|settings| {
        settings.connections.total = 1;
        settings.connections.per_ip = 1;
        settings.connections.share_percent = 1;
        settings.connections.per_ip_per_second = 1;
        settings.connections.handshakes = 1;
        settings.connections.http2_frames = 1;
        settings.requests.per_ip = 1;
        settings.requests.burst = 0;
        settings.requests.verifications = 1;
        settings.requests.familiar = 1;
        settings.calls.body_bytes = 1_024;
        settings.calls.body_bytes_day = 1_024;
        settings.calls.answer_bytes = 1_024;
        settings.calls.answer_bytes_day = 1_024;
        settings.sockets.per_ip = 1;
        settings.sockets.per_did = 1;
        settings.sockets.upgrades_per_ip = 1;
        settings.sockets.upgrades_per_did = 1;
        settings.sockets.frames = 1;
        settings.sockets.bytes = 1_024;
        settings.sockets.control_frames = 1;
        settings.penalties.strikes = 1;
        settings.dry_run = Rule::ALL.iter().copied().collect();
    });
    let address = ip("192.0.2.1");
    limits.penalize(Offender::Address(address), Duration::from_secs(60));
    limits.penalize(Offender::Account(&did(1)), Duration::from_secs(60));
    let mut open = Vec::new();
    for _ in 0..20 {
        let connection = limits.admit_connection(address).unwrap();
        open.push((
            limits.admit_handshake(&connection).unwrap(),
            connection,
            limits.admit_socket(address, &did(1)).unwrap(),
        ));
        prove(&limits, address, &did(1));
        for call in Nsid::ALL {
            assert!(!refuses_call(&limits, &did(1), *call));
        }
        assert_eq!(limits.check_body(&did(1), 1_000), Ok(()));
        assert_eq!(limits.charge_body(&did(1), 1_000), Ok(()));
        limits.charge_answer(&did(1), 1_000);
        assert_eq!(limits.check_answer(&did(1)), Ok(()));
    }
    let mut connection = limits.http2_frames(address);
    assert!((0..20).all(|_| connection.admit(1_000)));
    let (_, _, socket) = &mut open[0];
    for kind in [FrameKind::Content, FrameKind::Ping, FrameKind::Ack] {
        for _ in 0..20 {
            assert!(is_taken(socket.frame(kind, 1_000)), "{kind:?}");
        }
    }
}

#[test]
fn exempt_addresses_are_not_counted() {
    let limits = limits(|settings| {
        settings.exempt = vec!["192.0.2.0/24".parse().unwrap()];
        settings.sockets.upgrades_per_ip = 60;
    });
    for _ in 0..500 {
        assert!(!refuses(&limits, ip("192.0.2.1"), None));
    }
    assert!((0..500).all(|_| limits.admit_connection(ip("192.0.2.1")).is_ok()));
    assert!((0..500).all(|nth| limits.admit_socket(ip("192.0.2.1"), &did(nth)).is_ok()));
}

#[test]
fn a_new_blind_key_forgets_nothing_that_counts() {
    let limits = limits(|settings| settings.tables.blind_key_for = Duration::from_secs(3_600));
    wait(&limits, Duration::from_secs(3_600));
    prove(&limits, ip("192.0.2.3"), &did(1));
    let _sockets: Vec<_> = (0..5)
        .map(|_| limits.admit_socket(ip("192.0.2.1"), &did(1)).unwrap())
        .collect();
    for _ in 0..66 {
        request(&limits, ip("192.0.2.1"), None);
    }
    // All of its window, and all that is held back for an account that is known there.
    for _ in 0..66 + 20 {
        request(&limits, ip("192.0.2.3"), Some(&did(1)));
    }
    limits.sweep();
    assert!(refuses(&limits, ip("192.0.2.1"), None));
    assert!(refuses(&limits, ip("192.0.2.3"), Some(&did(1))));
    assert!(limits.admit_socket(ip("192.0.2.2"), &did(1)).is_err());
}
