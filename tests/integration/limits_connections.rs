//! What is open: connections, handshakes, sockets, and the frames that come on them, however long
//! it stays.

use std::time::Duration;

use mls_relay::limits::{FrameKind, FrameVerdict, LimitError, Rule};
use mls_relay::wire::XrpcError;

use crate::limiter::{did, ip, is_taken, limits, wait};

#[test]
fn connections_are_limited_by_number_by_rate_and_on_the_whole() {
    let limits = limits(|settings| {
        settings.connections.per_ip = 3;
        settings.connections.share_percent = 10_000;
        settings.connections.per_ip_per_second = 5;
        settings.connections.total = 6;
    });
    let refused = |address| match limits.admit_connection(ip(address)) {
        Err(LimitError::Reached { rule, .. } | LimitError::NodeFull { rule, .. }) => Some(rule),
        _ => None,
    };
    let mut open: Vec<_> = (0..3)
        .map(|_| limits.admit_connection(ip("192.0.2.1")).unwrap())
        .collect();
    assert_eq!(refused("192.0.2.1"), Some(Rule::ConnectionsIp));
    open.pop();
    assert_eq!(refused("192.0.2.1"), None, "one closed, one comes in");
    assert_eq!(refused("192.0.2.1"), Some(Rule::ConnectionRate));
    for host in 2..6 {
        let address = ip(&format!("192.0.2.{host}"));
        open.push(limits.admit_connection(address).unwrap());
    }
    assert_eq!(refused("192.0.2.9"), Some(Rule::ConnectionsTotal));
}

#[test]
fn an_address_that_begins_handshakes_and_falls_silent_leaves_room_for_others() {
    let limits = limits(|settings| settings.connections.handshakes = 80);
    let connect = |address| limits.admit_connection(ip(address)).unwrap();
    let hostile: Vec<_> = (0..30).map(|_| connect("192.0.2.1")).collect();
    let under_way: Vec<_> = hostile
        .iter()
        .filter_map(|connection| limits.admit_handshake(connection).ok())
        .collect();
    assert_eq!(under_way.len(), 20, "a quarter of the node's");
    assert!(limits.admit_handshake(&connect("192.0.2.2")).is_ok());
    drop(under_way);
    assert!(limits.admit_handshake(&hostile[29]).is_ok());
}

#[test]
fn an_account_has_five_sockets_wherever_it_comes_from() {
    let limits = limits(|_| {});
    let mut open: Vec<_> = (0..5)
        .map(|host| {
            limits
                .admit_socket(ip(&format!("192.0.2.{host}")), &did(1))
                .unwrap()
        })
        .collect();
    let refused = limits.admit_socket(ip("192.0.2.9"), &did(1)).err().unwrap();
    assert!(refused.retry_after() > Duration::ZERO);
    let told = XrpcError::from(refused).message;
    let of = "5 subscriptions are open for this account";
    assert!(told.starts_with(of), "{told}");
    assert!(limits.admit_socket(ip("192.0.2.9"), &did(2)).is_ok());
    open.pop();
    assert!(limits.admit_socket(ip("192.0.2.9"), &did(1)).is_ok());
}

#[test]
fn sockets_of_one_account_share_frames() {
    let limits = limits(|settings| {
        settings.sockets.frames = 10;
        settings.sockets.did_share = 2;
    });
    let mut sockets: Vec<_> = (0..4)
        .map(|_| limits.admit_socket(ip("192.0.2.1"), &did(1)).unwrap())
        .collect();
    let passed = (0..40).filter(|nth| is_taken(sockets[nth % 4].frame(FrameKind::Content, 10)));
    assert_eq!(passed.count(), 20);
}

#[test]
fn sockets_of_one_address_share_frames_whosever_they_are() {
    let limits = limits(|settings| {
        settings.sockets.frames = 10;
        settings.sockets.ip_share = 2;
    });
    let mut sockets: Vec<_> = (0..4)
        .map(|account| limits.admit_socket(ip("192.0.2.1"), &did(account)).unwrap())
        .collect();
    let passed = (0..40).filter(|nth| is_taken(sockets[nth % 4].frame(FrameKind::Content, 10)));
    assert_eq!(passed.count(), 20);
}

#[test]
fn an_account_whose_sockets_are_cut_off_for_their_frames_is_an_offender() {
    let limits = limits(|settings| settings.penalties.strikes = 3);
    for _ in 0..3 {
        let mut socket = limits.admit_socket(ip("192.0.2.1"), &did(1)).unwrap();
        let is_cut = (0..1_000).any(|_| {
            let verdict = socket.frame(FrameKind::Content, 10);
            matches!(verdict, FrameVerdict::Close { .. })
        });
        assert!(is_cut);
    }
    assert!(limits.admit_socket(ip("192.0.2.2"), &did(1)).is_err());
    assert!(limits.admit_socket(ip("192.0.2.1"), &did(2)).is_ok());
}

#[test]
fn a_socket_that_was_silent_for_weeks_has_its_whole_budget_and_goes_on_having_it() {
    for days in [24, 25, 40, 49, 50, 75] {
        let limits = limits(|settings| settings.sockets.frames = 10);
        let mut socket = limits.admit_socket(ip("192.0.2.1"), &did(1)).unwrap();
        // It answers pings, as sockets do that are there.
        for _ in 0..days * 24 {
            wait(&limits, Duration::from_secs(3_600));
            assert_eq!(socket.frame(FrameKind::Pong, 0), FrameVerdict::Pass);
        }
        for nth in 0..30 {
            let passed = is_taken(socket.frame(FrameKind::Content, 10));
            assert!(passed, "frame {nth} after {days} days");
            wait(&limits, Duration::from_secs(7));
        }
    }
}

#[test]
fn frames_of_http_2_come_back_evenly_and_too_many_of_them_are_an_offence() {
    let limits = limits(|settings| {
        settings.connections.http2_frames = 6_000;
        settings.penalties.strikes = 1;
    });
    let flooder = ip("192.0.2.1");
    let (mut one, mut other) = (limits.http2_frames(flooder), limits.http2_frames(flooder));
    assert!(one.admit(6_000));
    for _ in 0..100 {
        wait(&limits, Duration::from_secs(1));
        assert!(one.admit(100));
    }
    assert!(limits.admit_connection(flooder).is_ok());
    assert!(!one.admit(100) && other.admit(6_000));
    assert!(limits.admit_connection(flooder).is_err());
}

#[test]
fn what_stays_open_for_weeks_counts_as_long_as_it_is_open() {
    let limits = limits(|settings| {
        settings.connections.per_ip = 3;
        settings.sockets.per_ip = 10;
    });
    let mut connections: Vec<_> = (0..3)
        .map(|_| limits.admit_connection(ip("192.0.2.1")).unwrap())
        .collect();
    let mut sockets: Vec<_> = (0..10)
        .map(|nth| limits.admit_socket(ip("192.0.2.1"), &did(nth / 5)).unwrap())
        .collect();
    for day in 1..=60 {
        wait(&limits, Duration::from_secs(86_400));
        limits.sweep();
        let one_more = limits.admit_connection(ip("192.0.2.1"));
        assert!(one_more.is_err(), "a connection on day {day}");
        let one_more = limits.admit_socket(ip("192.0.2.2"), &did(0));
        assert!(one_more.is_err(), "a socket of the account on day {day}");
        let one_more = limits.admit_socket(ip("192.0.2.1"), &did(9));
        assert!(one_more.is_err(), "a socket of the address on day {day}");
    }
    connections.pop();
    sockets.remove(0);
    assert!(limits.admit_connection(ip("192.0.2.1")).is_ok());
    assert!(limits.admit_socket(ip("192.0.2.1"), &did(0)).is_ok());
}
