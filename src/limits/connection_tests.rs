//! Who is let in before any cryptography, while others take what they can.

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;
use crate::limits::{Claim, Clock, Offender};
use crate::runtime::Live;
use crate::types::Did;

fn ip(host: u8) -> ClientIp {
    ClientIp::new([192, 0, 2, host].into())
}

#[test]
fn phones_that_come_at_once_are_let_in_one_second_after_the_other_and_a_flood_is_boxed() {
    const PHONES: usize = 2_000;
    let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
    let mut open = Vec::new();
    // Whoever was turned away comes again.
    for _ in 0..10 {
        let waiting = open.len()..PHONES;
        open.extend(waiting.filter_map(|_| limits.admit_connection(ip(1)).ok()));
        limits.clock().advance(Duration::from_secs(1));
    }
    assert_eq!((open.len(), limits.penalties().len()), (PHONES, 0));
    let come = |host, times: u32| {
        for _ in 0..times {
            drop(limits.admit_connection(ip(host)));
        }
    };
    come(1, 30_000);
    assert_eq!(limits.penalties().len(), 1);
    // Nobody's phones are here.
    come(2, 400);
    assert_eq!(limits.penalties().len(), 2);
}

/// Lets an address take all that it can.
fn take_all(limits: &Limits, client: ClientIp) -> Vec<ConnectionPermit> {
    std::iter::from_fn(|| limits.admit_connection(client).ok()).collect()
}

fn unhurried(change: impl FnOnce(&mut Settings)) -> Limits {
    let mut settings = Settings::default();
    settings.connections.per_ip_per_second = u16::MAX;
    change(&mut settings);
    Limits::new(Live::new(settings), Clock::manual())
}

#[test]
fn carriers_on_a_calm_relay_have_all_that_an_address_may_have() {
    let limits = unhurried(|_| {});
    let open: Vec<_> = (0..7).map(|host| take_all(&limits, ip(host))).collect();
    assert!(open.iter().all(|phones| phones.len() == 4_096));
}

#[test]
fn newcomers_find_places_however_many_addresses_hold_all_they_can() {
    for (addresses, left) in [(13, 10_018), (100, 1_038)] {
        let limits = unhurried(|_| {});
        let greedy: Vec<_> = (0..addresses)
            .map(|host| take_all(&limits, ip(host)))
            .collect();
        let held: usize = greedy.iter().map(Vec::len).sum();
        assert_eq!(50_000 - held, left);
        let newcomers: Vec<_> = (addresses..=255)
            .map(|host| limits.admit_connection(ip(host)))
            .collect();
        assert!(newcomers.iter().all(Result::is_ok));
        assert!(limits.penalties().is_empty(), "none of this is an offence");
        drop(greedy);
        assert_eq!(take_all(&limits, ip(1)).len(), 4_096);
    }
}

#[test]
fn whoever_owns_an_ipv6_network_leaves_places_for_others_and_a_carrier_has_most() {
    let limits = unhurried(|settings| settings.connections.total = 5_000);
    let connect = |network: u16, site| {
        let address = [0x2001, 0xdb8 + network, 1, site, 0, 0, 0, 1];
        limits.admit_connection(ClientIp::new(address.into()))
    };
    let open: Vec<_> = (0..6_000)
        .filter_map(|site| connect(0, site).ok())
        .collect();
    assert_eq!(open.len(), 3_897, "a site each");
    assert!(connect(0, 6_000).is_err() && connect(1, 0).is_ok());
}

#[test]
fn a_small_node_has_a_place_for_whoever_has_none_until_it_is_full() {
    let limits = unhurried(|settings| settings.connections.total = 10);
    let open: Vec<_> = (0..10)
        .map(|host| limits.admit_connection(ip(host)))
        .collect();
    assert!(open.iter().all(Result::is_ok));
    assert!(limits.admit_connection(ip(10)).is_err());
    drop(open);
    assert_eq!(take_all(&limits, ip(1)).len(), 3);
}

#[test]
fn proxies_and_exempt_networks_have_no_share_and_whoever_comes_through_has_one() {
    let limits = unhurried(|settings| {
        settings.connections.total = 100;
        settings.exempt = vec!["192.0.2.9/32".parse().unwrap()];
    });
    let mut open: Vec<_> = (0..30).map(|_| limits.admit_proxy_connection()).collect();
    open.extend((0..30).map(|_| limits.admit_connection(ip(9))));
    assert!(open.iter().all(Result::is_ok));
    // Forty places are free.
    let through = || limits.identify_connection(limits.admit_proxy_connection()?, ip(1));
    let clients: Vec<_> = std::iter::from_fn(|| through().ok()).collect();
    assert_eq!(clients.len(), 6);
}

#[test]
fn the_share_is_that_of_the_room_there_is_and_none_where_nothing_bounds_the_node() {
    let limits = unhurried(|_| {});
    limits.bound_connections(100);
    assert_eq!(take_all(&limits, ip(1)).len(), 27);
    let limits = unhurried(|settings| {
        settings.connections.total = 100;
        settings.dry_run = settings.dry_run.with(Rule::ConnectionsTotal);
    });
    assert_eq!(take_all(&limits, ip(1)).len(), 4_096);
    let limits = unhurried(|settings| {
        settings.connections.total = 100;
        settings.dry_run = settings.dry_run.with(Rule::ConnectionsShare);
    });
    assert_eq!(take_all(&limits, ip(1)).len(), 100);
}

#[test]
fn no_more_connections_are_let_in_than_the_system_has_room_for() {
    let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
    limits.bound_connections(1);
    let held = limits.admit_proxy_connection().unwrap();
    assert!(limits.admit_proxy_connection().is_err());
    drop(held);
    assert!(limits.admit_proxy_connection().is_ok());
}

#[test]
fn what_is_open_is_shown_until_it_closes() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let shown = |expected: &str| {
        let shown = recorder.handle().render();
        assert!(shown.contains(expected), "{shown}");
    };
    metrics::with_local_recorder(&recorder, || {
        let mut limits = Settings::default();
        limits.connections.total = 2;
        let limits = Limits::new(Live::new(limits), Clock::manual());
        let [first, second] = [1, 2].map(|host| limits.admit_connection(ip(host)).unwrap());
        assert!(limits.admit_connection(ip(3)).is_err());
        shown("relay_limits_open{rule=\"connections_total\"} 2\n");
        let handshake = limits.admit_handshake(&first).unwrap();
        shown("relay_limits_open{rule=\"handshakes\"} 1\n");
        drop((first, second, handshake));
        shown("relay_limits_open{rule=\"connections_total\"} 0\n");
        shown("relay_limits_open{rule=\"handshakes\"} 0\n");
    });
}

#[test]
fn whom_the_box_lets_in_for_a_known_account_is_not_counted_as_refused() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let refusals = || {
        let all = recorder.handle().render();
        let of_box = all
            .lines()
            .filter(|line| line.contains("rule=\"penalty_box\""));
        of_box.map(str::to_owned).collect::<Vec<_>>()
    };
    metrics::with_local_recorder(&recorder, || {
        let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
        let alice = Did::parse("did:plc:abc").unwrap();
        let request = |claims| limits.check(limits.arrival(ip(1)), claims);
        limits.note_familiar(ip(1), &alice);
        limits.penalize(Offender::Address(ip(1)), Duration::from_secs(60));
        assert!(limits.admit_connection(ip(1)).is_ok());
        assert!(request(Some(Claim::of(&alice))).refused.is_none());
        assert_eq!(refusals(), [""; 0]);
        assert!(request(None).refused.is_some());
        let counted = r#"relay_limits_refused_total{rule="penalty_box",outcome="refused"} 1"#;
        assert_eq!(refusals(), [counted]);
    });
}
