//! What an account may send and be given, in a minute and in a day.

use super::*;
use crate::limits::Clock;
use crate::runtime::Live;
use crate::types::Nsid;

const MIB: u64 = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);

fn limits(change: impl FnOnce(&mut Settings)) -> Limits {
    let mut settings = Settings::default();
    change(&mut settings);
    Limits::new(Live::new(settings), Clock::manual())
}

fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

/// How many bodies of this size pass at once.
fn passed(limits: &Limits, did: &Did, bytes: u64) -> usize {
    let sends =
        |_: &usize| limits.check_body(did, bytes).is_ok() && limits.charge_body(did, bytes).is_ok();
    (0..1_000).take_while(sends).count()
}

fn by(refused: LimitError) -> Rule {
    match refused {
        LimitError::Reached { rule, .. } => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nine_photographs_of_the_largest_size_pass_and_whoever_waits_as_told_gets_in() {
    let (limits, alice) = (limits(|_| {}), did("alice"));
    // Ten MiB in base64, and some room.
    let photograph = 14 * MIB;
    for _ in 0..3 {
        assert_eq!(passed(&limits, &alice, photograph), 9);
        let announced = limits.check_body(&alice, photograph).unwrap_err();
        let sent = limits.charge_body(&alice, photograph).unwrap_err();
        assert_eq!(announced, sent, "in the head or in pieces");
        limits
            .clock()
            .advance(sent.retry_after() - Duration::from_millis(1));
        assert!(limits.check_body(&alice, photograph).is_err());
        limits.clock().advance(Duration::from_millis(1));
        assert!(limits.check_body(&alice, photograph).is_ok());
        assert!(limits.charge_body(&alice, photograph).is_ok());
        assert!(limits.check_body(&did("bob"), photograph).is_ok());
        limits.clock().advance(MINUTE);
    }
}

#[test]
fn whoever_never_stops_has_a_day_at_once_and_then_waits_minutes_and_not_until_midnight() {
    let (limits, alice) = (limits(|_| {}), did("alice"));
    let mut sent = 0;
    let spent = loop {
        match limits.charge_body(&alice, 14 * MIB) {
            Ok(()) => sent += 14,
            Err(refused) if by(refused) == Rule::BodyBytesDay => break refused,
            Err(of_the_minute) => limits.clock().advance(of_the_minute.retry_after()),
        }
    };
    // And what came back in the quarter of an hour that it took.
    assert!((2_048..2_080).contains(&sent), "{sent} MiB");
    assert!(spent.retry_after() < 10 * MINUTE, "{spent:?}");
    assert_eq!(limits.check_body(&alice, 14 * MIB).unwrap_err(), spent);
    let words = limits.check_body(&alice, 1_024);
    assert!(words.is_ok(), "where albums do not pass");
    let almost = spent.retry_after() - Duration::from_millis(1);
    limits.clock().advance(almost);
    assert!(limits.check_body(&alice, 14 * MIB).is_err());
    limits.clock().advance(Duration::from_millis(1));
    assert!(limits.charge_body(&alice, 14 * MIB).is_ok());
    assert!(limits.charge_body(&did("bob"), 14 * MIB).is_ok());
}

#[test]
fn a_day_is_remembered_while_it_is_owed_whatever_is_swept_and_under_a_new_key() {
    let gib = 1_024 * MIB;
    let limits = limits(|settings| {
        settings.calls.body_bytes = 1 << 30;
        settings.calls.body_bytes_day = gib;
    });
    let (alice, hour) = (did("alice"), 60 * MINUTE);
    let entries = || limits.inner.accounts.sweep(0, limits.clock().tick()).kept;
    limits.clock().advance(18 * hour);
    limits.charge_body(&alice, gib).unwrap();
    for passed in 1..24 {
        limits.clock().advance(hour);
        limits.sweep();
        let back = gib / 24 * passed;
        assert!(limits.check_body(&alice, back).is_ok(), "after {passed} h");
        let refused = limits.check_body(&alice, back + MIB).unwrap_err();
        assert_eq!(by(refused), Rule::BodyBytesDay);
    }
    assert_eq!(entries(), 1);
    limits.clock().advance(hour + MINUTE);
    assert!(limits.check_body(&alice, gib).is_ok());
    assert_eq!(entries(), 0, "it owes nothing");
}

#[test]
fn what_may_come_in_a_minute_may_come_whatever_a_day_is_set_to() {
    let limits = limits(|settings| settings.calls.body_bytes_day = 1);
    assert_eq!(passed(&limits, &did("alice"), 64 * MIB), 2);
}

#[test]
fn a_minute_that_is_only_counted_leaves_the_day_in_force() {
    let limits = limits(|settings| {
        (settings.calls.body_bytes, settings.calls.body_bytes_day) = (1 << 20, 4 * MIB);
        settings.dry_run = settings.dry_run.with(Rule::BodyBytes);
    });
    assert_eq!(passed(&limits, &did("alice"), MIB), 4);
    let refused = limits.check_body(&did("alice"), MIB).unwrap_err();
    assert_eq!(by(refused), Rule::BodyBytesDay);
}

#[test]
fn what_was_announced_and_did_not_come_costs_nothing() {
    let (limits, alice) = (limits(|_| {}), did("alice"));
    for _ in 0..100 {
        assert!(limits.check_body(&alice, 14 * MIB).is_ok());
    }
    assert_eq!(passed(&limits, &alice, MIB), 128);
}

#[test]
fn an_account_that_finds_no_room_in_the_table_owes_what_it_was_given_all_the_same() {
    let (limits, alice) = (
        limits(|settings| settings.tables.did_keys = 0),
        did("alice"),
    );
    for nth in 0..15 {
        limits.charge_answer(&did(&nth.to_string()), 1);
    }
    let answers = (0..200).take_while(|_| {
        limits.charge_answer(&alice, 64 * MIB);
        limits.check_answer(&alice).is_ok()
    });
    assert_eq!(answers.count(), 16 * 4);
}

#[test]
fn accounts_that_find_no_room_in_the_table_are_limited_together() {
    let limits = limits(|settings| settings.tables.did_keys = 0);
    for nth in 0..15 {
        limits.charge_body(&did(&nth.to_string()), 1).unwrap();
    }
    assert_eq!(passed(&limits, &did("alice"), 64 * MIB), 16 * 2);
}

#[test]
fn a_dry_run_refuses_nothing_and_counts_each_body_once() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let limits =
            limits(|settings| settings.dry_run = Traffic::Bodies.rules().into_iter().collect());
        assert_eq!(passed(&limits, &did("alice"), 64 * MIB), 1_000);
    });
    let shown = recorder.handle().render();
    for (rule, times) in [("body_bytes", 998), ("body_bytes_day", 968)] {
        let counted = format!("rule=\"{rule}\",outcome=\"dry_run\"}} {times}\n");
        assert!(shown.contains(&counted), "{shown}");
    }
}

#[test]
fn good_standing_adds_to_it_and_a_refusal_tells_the_wait_without_it() {
    let (limits, alice) = (
        limits(|settings| settings.good_standing.enabled = true),
        did("alice"),
    );
    limits.check_body(&alice, 1).unwrap();
    limits.clock().advance(50 * 24 * 60 * MINUTE);
    assert_eq!(passed(&limits, &alice, 64 * MIB), 4);
    let refused = limits.check_body(&alice, 64 * MIB).unwrap_err();
    limits.clock().advance(refused.retry_after());
    assert!(limits.charge_body(&alice, 64 * MIB).is_ok());
    assert!(
        limits.charge_body(&alice, 64 * MIB).is_err(),
        "it has none any more"
    );
}

#[test]
fn a_new_blind_key_forgets_no_bytes_and_a_changed_limit_counts_at_once() {
    let settings = Live::new(Settings::default());
    let (limits, alice) = (Limits::new(settings.clone(), Clock::manual()), did("alice"));
    limits.clock().advance(24 * 60 * MINUTE);
    assert_eq!(passed(&limits, &alice, 64 * MIB), 2);
    limits.sweep();
    assert!(limits.check_body(&alice, MIB).is_err());
    assert!(limits.charge_body(&alice, MIB).is_err());
    let mut raised = Settings::default();
    raised.calls.body_bytes *= 2;
    settings.replace(raised);
    limits.clock().advance(MINUTE / 2);
    assert_eq!(passed(&limits, &alice, 64 * MIB), 2);
}

#[test]
fn an_answer_is_as_long_as_it_is_and_the_next_waits_until_it_is_paid() {
    let (limits, alice) = (limits(|_| {}), did("alice"));
    let page = 14 * MIB;
    for _ in 0..19 {
        limits.check_answer(&alice).unwrap();
        limits.charge_answer(&alice, page);
    }
    for _ in 0..3 {
        let refused = limits.check_answer(&alice).unwrap_err();
        assert_eq!(by(refused), Rule::AnswerBytes);
        assert!(refused.retry_after() < 4 * Duration::from_secs(1));
        assert!(limits.check_answer(&did("bob")).is_ok());
        assert!(limits.check_body(&alice, page).is_ok(), "of its own");
        limits
            .clock()
            .advance(refused.retry_after() - Duration::from_millis(1));
        assert!(limits.check_answer(&alice).is_err());
        limits.clock().advance(Duration::from_millis(1));
        limits.check_answer(&alice).unwrap();
        limits.charge_answer(&alice, page);
    }
}

#[test]
fn whoever_never_stops_reading_gets_a_day_at_once_and_then_what_comes_back() {
    let limits = limits(|settings| {
        (settings.tables.did_keys, settings.tables.ip_keys) = (100, 100);
    });
    let (alice, day) = (did("alice"), 24 * 60 * MINUTE);
    let (mut had, mut elapsed) = (0, Duration::ZERO);
    while elapsed < 2 * day {
        while limits.check_answer(&alice).is_ok() {
            limits.charge_answer(&alice, 14 * MIB);
            had += 14;
        }
        limits.clock().advance(10 * MINUTE);
        limits.sweep();
        elapsed += 10 * MINUTE;
    }
    let days = 3 * 16 * 1_024;
    // The last ten minutes are not spent.
    assert!((days - 128..days + 14).contains(&had), "{had} MiB");
}

#[test]
fn what_answers_are_only_counted_by_is_never_owed() {
    let settings = Live::new(Settings {
        dry_run: Traffic::Answers.rules().into_iter().collect(),
        ..Settings::default()
    });
    let (limits, alice) = (Limits::new(settings.clone(), Clock::manual()), did("alice"));
    for _ in 0..10_000 {
        limits.check_answer(&alice).unwrap();
        limits.charge_answer(&alice, 64 * MIB);
    }
    settings.replace(Settings::default());
    limits.clock().advance(MINUTE);
    assert!(limits.check_answer(&alice).is_ok());
}

#[test]
fn whoever_leaves_the_box_does_not_find_its_answers_still_to_be_paid() {
    let limits = limits(|settings| settings.calls.answer_bytes = 1 << 20);
    let alice = did("alice");
    limits.charge_answer(&alice, 5 * MIB);
    for _ in 0..200 {
        limits.check_answer(&alice).unwrap_err();
    }
    let boxed = limits.check_did(&alice, Nsid::GetMessages).refused.unwrap();
    assert_eq!(by(boxed), Rule::PenaltyBox);
    limits.clock().advance(boxed.retry_after());
    let reading = limits.check_did(&alice, Nsid::GetMessages);
    assert!(reading.refused.is_none());
    assert!(limits.check_answer(&alice).is_ok());
}

#[test]
fn whoever_keeps_sending_too_much_is_boxed_and_does_not_find_it_spent_afterwards() {
    let (limits, alice) = (limits(|_| {}), did("alice"));
    passed(&limits, &alice, 64 * MIB);
    let refused = (0..200).map(|_| limits.charge_body(&alice, 64 * MIB).unwrap_err());
    assert_eq!(
        refused.map(|error| error.retry_after()).max(),
        Some(MINUTE / 2)
    );
    let boxed = limits.check_did(&alice, Nsid::SendMessage).refused.unwrap();
    assert_eq!(by(boxed), Rule::PenaltyBox);
    assert_eq!(boxed.retry_after(), MINUTE, "until all of it is back");
    let reading = limits.check_did(&alice, Nsid::GetConvos).refused.unwrap();
    assert!(reading.retry_after() < MINUTE);
    limits.clock().advance(boxed.retry_after());
    assert!(
        limits
            .check_did(&alice, Nsid::SendMessage)
            .refused
            .is_none()
    );
    assert_eq!(passed(&limits, &alice, 64 * MIB), 2);
}
