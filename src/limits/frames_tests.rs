//! The budgets of a socket, an account and an address, frame by frame.

use super::*;
use crate::limits::{Clock, Limits};
use crate::runtime::Live;
use crate::types::{ClientIp, Did};

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.sockets.frames = 10;
    settings.sockets.bytes = 1_000;
    settings.sockets.control_frames = 5;
    settings.sockets.strikes = 3;
    settings
}

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

fn judge(budget: &mut FrameBudget, kind: FrameKind, len: usize, now: Moment) -> FrameVerdict {
    budget.judge((kind, len), [], &settings(), now).0
}

#[test]
fn a_socket_is_warned_at_four_fifths_then_refused_then_closed() {
    let mut budget = FrameBudget::new(at(0));
    let verdicts: Vec<_> = (0..14)
        .map(|_| judge(&mut budget, FrameKind::Content, 1, at(1)))
        .collect();
    assert!(
        verdicts[..7]
            .iter()
            .all(|verdict| *verdict == FrameVerdict::Pass)
    );
    let info = BudgetInfo {
        policy: Rule::Frames,
        remaining: 2,
        reset: Duration::from_secs(60),
    };
    assert_eq!(verdicts[7], FrameVerdict::Warn(info));
    assert_eq!(verdicts[8..10], [FrameVerdict::Pass; 2]);
    let refuse = FrameVerdict::Refuse {
        policy: Rule::Frames,
        retry_after: Duration::from_secs(60),
    };
    assert_eq!(verdicts[10..13], [refuse; 3]);
    assert_eq!(
        verdicts[13],
        FrameVerdict::Close {
            policy: Rule::Frames
        }
    );
    assert_eq!(
        judge(&mut budget, FrameKind::Content, 1, at(61)),
        FrameVerdict::Pass
    );
}

#[test]
fn what_makes_load_smaller_passes_even_from_a_spent_socket() {
    let mut budget = FrameBudget::new(at(0));
    for _ in 0..5 {
        judge(&mut budget, FrameKind::Ping, 0, at(1));
    }
    assert_eq!(
        judge(&mut budget, FrameKind::Ping, 0, at(1)),
        FrameVerdict::Ignore
    );
    for _ in 0..100 {
        let ack = judge(&mut budget, FrameKind::Ack, 1, at(1));
        assert_eq!(ack, FrameVerdict::Pass);
    }
}

#[test]
fn a_flood_of_bytes_is_one_even_if_it_calls_itself_acks() {
    let mut budget = FrameBudget::new(at(0));
    let last = (0..20)
        .map(|_| judge(&mut budget, FrameKind::Ack, 900, at(1)))
        .last();
    let policy = Rule::FrameBytes;
    assert_eq!(last, Some(FrameVerdict::Close { policy }));
}

#[test]
fn bytes_and_pings_are_warned_of_as_well_each_once() {
    let mut budget = FrameBudget::new(at(0));
    let policies: Vec<_> = [
        (FrameKind::Content, 100),
        (FrameKind::Content, 700),
        (FrameKind::Content, 1),
        (FrameKind::Ping, 1),
        (FrameKind::Ping, 1),
        (FrameKind::Ping, 1),
        (FrameKind::Ping, 1),
        (FrameKind::Ping, 1),
    ]
    .into_iter()
    .map(|(kind, len)| match judge(&mut budget, kind, len, at(1)) {
        FrameVerdict::Warn(info) => Some((info.policy, info.remaining)),
        _ => None,
    })
    .collect();
    let mut expected = vec![None; 8];
    expected[1] = Some((Rule::FrameBytes, 200));
    expected[6] = Some((Rule::ControlFrames, 1));
    assert_eq!(policies, expected);
}

#[test]
fn whoever_shares_a_budget_hears_that_it_is_scarce() {
    let shared = parking_lot::Mutex::new(Meter::new(at(0)));
    let mut sockets = [FrameBudget::new(at(0)), FrameBudget::new(at(0))];
    let warned = (0..10).filter(|nth| {
        let (frame, shared) = ((FrameKind::Content, 1), [(&shared, 1)]);
        let (verdict, _) = sockets[nth % 2].judge(frame, shared, &settings(), at(1));
        matches!(verdict, FrameVerdict::Warn(_))
    });
    assert_eq!(warned.count(), 2, "each socket once");
}

#[test]
fn a_flood_of_control_frames_is_closed() {
    let mut budget = FrameBudget::new(at(0));
    let last = (0..20)
        .map(|_| judge(&mut budget, FrameKind::Pong, 0, at(1)))
        .last();
    let policy = Rule::ControlFrames;
    assert_eq!(last, Some(FrameVerdict::Close { policy }));
}

#[test]
fn bytes_count_apart_and_a_refused_frame_takes_no_place() {
    let mut budget = FrameBudget::new(at(0));
    assert_eq!(
        judge(&mut budget, FrameKind::Content, 700, at(1)),
        FrameVerdict::Pass
    );
    let refuse = FrameVerdict::Refuse {
        policy: Rule::FrameBytes,
        retry_after: Duration::from_secs(6),
    };
    assert_eq!(judge(&mut budget, FrameKind::Content, 400, at(1)), refuse);
    let warned = judge(&mut budget, FrameKind::Content, 400, at(7));
    assert!(matches!(warned, FrameVerdict::Warn(_)), "and it passes");
    for _ in 0..10 {
        judge(&mut budget, FrameKind::Content, 400, at(7));
    }
    let short = judge(&mut budget, FrameKind::Content, 0, at(7));
    assert_eq!(short, FrameVerdict::Pass, "however many were refused");
}

#[test]
fn budgets_that_become_scarce_at_once_are_warned_of_one_after_the_other() {
    let mut budget = FrameBudget::new(at(0));
    let lens = [0, 0, 0, 0, 0, 0, 0, 900, 0];
    let warned = lens.map(
        |len| match judge(&mut budget, FrameKind::Content, len, at(1)) {
            FrameVerdict::Warn(info) => Some(info.policy),
            _ => None,
        },
    );
    assert_eq!(warned[7..], [Some(Rule::Frames), Some(Rule::FrameBytes)]);
}

#[test]
fn a_socket_that_stays_for_months_answers_for_its_last_minute_only() {
    let day = 86_400;
    for (said, meanwhile) in [
        (FrameKind::Content, FrameKind::Pong),
        (FrameKind::Pong, FrameKind::Content),
    ] {
        let mut budget = FrameBudget::new(at(0));
        let flood = |budget: &mut FrameBudget, now| [(); 13].map(|()| judge(budget, said, 0, now));
        let first = flood(&mut budget, at(1));
        for nth in 1..30 {
            let verdict = judge(&mut budget, meanwhile, 0, at(nth * day));
            assert_eq!(verdict, FrameVerdict::Pass);
        }
        assert_eq!(flood(&mut budget, at(30 * day)), first);
    }
}

#[test]
fn sockets_of_one_account_share_a_budget() {
    let shared = parking_lot::Mutex::new(Meter::new(at(0)));
    let mut sockets = [FrameBudget::new(at(0)), FrameBudget::new(at(0))];
    let mut refused = 0;
    for nth in 0..20 {
        let (frame, shared) = ((FrameKind::Content, 1), [(&shared, 1)]);
        let (verdict, _) = sockets[nth % 2].judge(frame, shared, &settings(), at(1));
        refused += usize::from(matches!(
            verdict,
            FrameVerdict::Refuse { .. } | FrameVerdict::Close { .. }
        ));
    }
    assert_eq!(refused, 10);
}

#[test]
fn a_dry_run_refuses_nothing() {
    let mut settings = settings();
    settings.dry_run = [Rule::Frames].into_iter().collect();
    let mut budget = FrameBudget::new(at(0));
    for _ in 0..50 {
        let (verdict, _) = budget.judge((FrameKind::Content, 1), [], &settings, at(1));
        assert!(matches!(
            verdict,
            FrameVerdict::Pass | FrameVerdict::Warn(_)
        ));
    }
}

#[test]
fn a_ping_that_is_too_long_is_counted_by_the_rule_that_it_broke() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let limits = Limits::new(Live::new(settings()), Clock::manual());
        let (client, did) = (
            ClientIp::new([192, 0, 2, 1].into()),
            Did::parse("did:plc:a"),
        );
        let mut socket = limits.admit_socket(client, &did.unwrap()).ok().unwrap();
        for len in [1_001, 125] {
            socket.frame(FrameKind::Ping, len);
        }
    });
    let shown = recorder.handle().render();
    let expected = "rule=\"frame_bytes\",outcome=\"refused\"} 1\n";
    assert!(shown.contains(expected), "{shown}");
}
