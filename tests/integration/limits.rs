//! The limiter's promises, layer by layer, on a clock that the test moves.

use std::time::Duration;

use mls_relay::limits::{
    Claim, Clock, FrameKind, FrameVerdict, LimitError, Limits, Offender, ProvedHere, Rule, Settings,
};
use mls_relay::runtime::Live;
use mls_relay::types::{ClientIp, Did, Nsid};
use mls_relay::wire::XrpcError;

pub(crate) fn ip(text: &str) -> ClientIp {
    ClientIp::new(text.parse().unwrap())
}

pub(crate) fn did(number: usize) -> Did {
    Did::parse(&format!("did:plc:user{number}")).unwrap()
}

pub(crate) fn limits(change: impl FnOnce(&mut Settings)) -> Limits {
    let mut settings = Settings::default();
    // No test has more, and what is small is made and swept at once.
    (settings.tables.ip_keys, settings.tables.did_keys) = (10_000, 10_000);
    change(&mut settings);
    Limits::new(Live::new(settings), Clock::manual())
}

fn refuses(limits: &Limits, client: ClientIp, account: Option<&Did>) -> bool {
    limits.check_ip(client, account).refused.is_some()
}

fn refuses_call(limits: &Limits, account: &Did, call: Nsid) -> bool {
    limits.check_did(account, call).refused.is_some()
}

/// A request of this account whose token proves to be good.
fn prove(limits: &Limits, client: ClientIp, account: &Did) {
    let decision = limits.check_ip(client, Some(account));
    assert!(decision.refused.is_none(), "{account:?}");
    limits.proved(&decision, client, account);
}

fn is_taken(verdict: FrameVerdict) -> bool {
    matches!(verdict, FrameVerdict::Pass | FrameVerdict::Warn(_))
}

fn wait(limits: &Limits, time: Duration) {
    limits.clock().advance(time);
}

#[test]
fn of_seventy_requests_sixty_and_the_burst_pass_and_whoever_waits_as_told_gets_in() {
    let limits = limits(|_| {});
    let decisions: Vec<_> = (0..70)
        .map(|_| {
            wait(&limits, Duration::from_millis(100));
            limits.check_ip(ip("192.0.2.1"), None)
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
        limits.check_ip(ip(&format!("2001:db8::{host:x}")), None);
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
        limits.check_ip(carrier, None);
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
        limits.check_ip(carrier, Some(&alice));
    }
    let checked = (0..1_000).filter(|_| decide(claim.on(Some(&hers))).refused.is_none());
    assert!(checked.count() <= 66 + 20, "hers are bounded as well");
}

#[test]
fn tokens_that_one_address_can_make_us_check_are_bounded_even_if_they_verify() {
    let limits = limits(|settings| settings.requests.verifications = 100);
    let carrier = ip("192.0.2.1");
    let mut checked = 0;
    for user in 0..1_000 {
        let decision = limits.check_ip(carrier, Some(&did(user)));
        if decision.refused.is_none() {
            checked += 1;
            limits.proved(&decision, carrier, &did(user));
        }
    }
    assert_eq!(checked, 100);
}

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
}

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
fn whoever_keeps_knocking_goes_to_the_box_and_comes_out_again() {
    let limits = limits(|settings| settings.penalties.strikes = 50);
    let stranger = ip("192.0.2.1");
    let mut last = None;
    for _ in 0..66 + 50 {
        last = limits.check_ip(stranger, None).refused;
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
            limits.check_ip(stranger, None);
        }
        assert!(limits.admit_connection(stranger).is_err(), "in the box");
        wait(&limits, asked_again_after);
        let told = limits.check_ip(stranger, None).refused.unwrap();
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
    limits.check_ip(client, Some(&alice));
    let of_tokens = limits.check_ip(client, Some(&alice));
    for _ in 0..70 {
        limits.check_ip(client, None);
        limits.check_did(&alice, Nsid::CreateConvo);
    }
    let _socket = (socket(), limits.admit_upgrade(&alice));
    let refused = [
        (of_tokens.refused, "tokens from this address"),
        (limits.check_ip(client, None).refused, "from this address"),
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
    let message = told(limits.check_ip(client, None).refused);
    assert!(message.contains("refused too often"), "{message}");
}

#[test]
fn an_address_in_the_box_does_not_take_its_known_accounts_along() {
    let limits = limits(|settings| settings.penalties.strikes = 50);
    let (carrier, alice) = (ip("192.0.2.1"), did(1));
    prove(&limits, carrier, &alice);
    for _ in 0..200 {
        limits.check_ip(carrier, None);
    }
    assert!(limits.admit_connection(carrier).is_ok());
    assert!(refuses(&limits, carrier, None));
    assert!(!refuses(&limits, carrier, Some(&alice)));
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
    let limits = limits(|settings| settings.exempt = vec!["192.0.2.0/24".parse().unwrap()]);
    for _ in 0..500 {
        assert!(!refuses(&limits, ip("192.0.2.1"), None));
    }
    assert!((0..500).all(|_| limits.admit_connection(ip("192.0.2.1")).is_ok()));
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
fn a_new_blind_key_forgets_nothing_that_counts() {
    let limits = limits(|settings| settings.tables.blind_key_for = Duration::from_secs(3_600));
    wait(&limits, Duration::from_secs(3_600));
    let _sockets: Vec<_> = (0..5)
        .map(|_| limits.admit_socket(ip("192.0.2.1"), &did(1)).unwrap())
        .collect();
    for _ in 0..66 {
        limits.check_ip(ip("192.0.2.1"), None);
    }
    limits.sweep();
    assert!(refuses(&limits, ip("192.0.2.1"), None));
    assert!(limits.admit_socket(ip("192.0.2.2"), &did(1)).is_err());
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
        let refused = limits.check_ip(ip("192.0.2.1"), None).refused;
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
