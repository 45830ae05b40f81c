//! Each alert fires on what it is for, and on nothing that only looks like it: worlds of a few
//! series, in which `promtool` plays Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{promtool, text, watching::alerts};

/// An alert, the worlds in which it fires, and those in which it does not. A world is series and
/// their values of each minute, of one relay; it is looked at after half an hour.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const CASES: &[Case] = &[
    (
        "RelayDown",
        &["up 1x3 0x30", "other 1x30"],
        &["up 1x30", "up 1x28 0 1x9"],
    ),
    (
        "RelayDatabaseAway",
        &["relay_store_up 1 0x30"],
        &["relay_store_up 1x28 0 1x9"],
    ),
    (
        "RelayClockWrong",
        &[
            "relay_process_clock_ahead_seconds 11x30",
            "relay_process_clock_ahead_seconds -11x30",
        ],
        &["relay_process_clock_ahead_seconds 9x30"],
    ),
    (
        "RelayDiskFull",
        &[r#"relay_store_errors_total{kind="disk_full"} 0x27 1x9"#],
        &[r#"relay_store_errors_total{kind="disk_full"} 1x30"#],
    ),
    (
        "RelayBlind",
        &["relay_events_hearing 2 0x30\nrelay_store_up 1x30"],
        &[
            "relay_events_hearing 2 0x30\nrelay_store_up 1 0x30",
            "relay_events_hearing 1x30",
            "relay_events_hearing 2x28 0 2x9",
        ],
    ),
    (
        "RelayPolling",
        &["relay_events_hearing 1x30"],
        &[
            "relay_events_hearing 0x30",
            "relay_events_hearing 2x27 1 1 2x9",
        ],
    ),
    (
        "RelayDoorbellSlow",
        &[r#"relay_events_doorbell_lag_seconds_bucket{le="0.5"} 0x30
             relay_events_doorbell_lag_seconds_bucket{le="1"} 0+60x30
             relay_events_doorbell_lag_seconds_bucket{le="+Inf"} 0+60x30"#],
        &[
            r#"relay_events_doorbell_lag_seconds_bucket{le="0.5"} 0+60x30
             relay_events_doorbell_lag_seconds_bucket{le="+Inf"} 0+60x30"#,
        ],
    ),
    (
        "RelayNotificationQueueFilling",
        &["relay_events_notification_queue_usage 0.3x30"],
        &["relay_events_notification_queue_usage 0.2x30"],
    ),
    (
        "RelayEventsUnreadable",
        &["relay_events_unreadable_total 0x27 1x9"],
        &["relay_events_unreadable_total 1x30"],
    ),
    (
        "RelayEventHoles",
        &["relay_events_holes_total 0x27 1x9"],
        &["relay_events_holes_total 1x30"],
    ),
    (
        "RelaySendsFailing",
        &["relay_append_failing_seconds 31x30\nrelay_store_up 1x30"],
        &[
            "relay_append_failing_seconds 29x30\nrelay_store_up 1x30",
            "relay_append_failing_seconds 31x30\nrelay_store_up 0x30",
        ],
    ),
    (
        "RelaySendsQueue",
        &["relay_append_queue_items 2000x30"],
        &["relay_append_queue_items 0x28 2000 0x9"],
    ),
    (
        "RelayConfigRefused",
        &["relay_config_faults 1x30"],
        &["relay_config_faults 0x30"],
    ),
    (
        "RelayStoreErrors",
        &[r#"relay_store_errors_total{kind="timeout"} 0+20x30"#],
        &[r#"relay_store_errors_total{kind="timeout"} 0+5x30"#],
    ),
    (
        "RelayCallsFailing",
        &[r#"relay_calls_refused_total{status="503"} _x9 1+6x30
             relay_call_seconds_count 0+100x40"#],
        &[
            r#"relay_calls_refused_total{status="404"} 0+60x30
               relay_call_seconds_count 0+100x30"#,
            r#"relay_calls_refused_total{status="502"} 0+60x30
               relay_calls_refused_total{status="504"} 0+60x30
               relay_call_seconds_count 0+100x30"#,
            r#"relay_calls_refused_total{status="503",error="BlueskyServiceUnavailable"} 0+60x30
               relay_call_seconds_count 0+100x30"#,
            r#"relay_calls_refused_total{status="503"} 0x27 1x9
               relay_call_seconds_count 0+100x40"#,
        ],
    ),
    (
        "RelayCallsSlow",
        &[r#"relay_call_seconds_bucket{le="1"} 0+50x30
             relay_call_seconds_bucket{le="2.5"} 0+60x30
             relay_call_seconds_bucket{le="+Inf"} 0+60x30"#],
        &[r#"relay_call_seconds_bucket{le="1"} 0+60x30
             relay_call_seconds_bucket{le="+Inf"} 0+60x30"#],
    ),
    (
        "RelayConsumersTooSlow",
        &[r#"relay_sessions_closed_total{close_reason="ConsumerTooSlow"} 0+120x30"#],
        &[
            r#"relay_sessions_closed_total{close_reason="ConsumerTooSlow"} 0+30x30"#,
            r#"relay_sessions_closed_total{close_reason="Draining"} 0+120x30"#,
        ],
    ),
    (
        "RelaySessionsBroken",
        &[r#"relay_sessions_closed_total{close_reason="InternalError"} 0x27 1x9"#],
        &[r#"relay_sessions_closed_total{close_reason="ConsumerTooSlow"} 0x27 1x9"#],
    ),
    (
        "RelayFull",
        &[r#"relay_limits_refused_total{rule="connections_total",outcome="refused"} 0x20 1+9x20"#],
        &[
            r#"relay_limits_refused_total{rule="connections_total",outcome="dry_run"} 0+9x30"#,
            r#"relay_limits_refused_total{rule="connections_ip",outcome="refused"} 0+9x30"#,
        ],
    ),
    (
        "RelayCrowded",
        &[r#"relay_limits_refused_total{rule="connections_share",outcome="refused"} 0+90x30"#],
        &[r#"relay_limits_refused_total{rule="connections_share",outcome="refused"} 0+9x30"#],
    ),
    (
        "RelayProxiesRefused",
        &[
            "relay_edge_strangers_refused_total 0+60x30",
            r#"relay_edge_proxy_headers_refused_total{reason="malformed"} 0+60x30"#,
        ],
        &[
            "relay_edge_strangers_refused_total 0+2x30",
            r#"relay_edge_proxy_headers_refused_total{reason="ended"} 0+60x30"#,
        ],
    ),
    (
        "RelayClientsAsOne",
        &[
            r#"relay_edge_client_address_total{from="proxy"} 0+600x30
               relay_limits_refused_total{rule="ip",outcome="refused"} 0+500x30"#,
            r#"relay_edge_client_address_total{from="untrusted"} 0+600x10 6000x20
               relay_limits_refused_total{rule="penalty_box",outcome="refused"} 0+500x30"#,
        ],
        &[
            r#"relay_edge_client_address_total{from="proxy"} 0+30x30"#,
            r#"relay_edge_client_address_total{from="proxy"} 0+30x30
               relay_edge_client_address_total{from="header"} 0+600x30
               relay_limits_refused_total{rule="ip",outcome="refused"} 0+500x30"#,
            r#"relay_edge_client_address_total{from="socket"} 0+600x30
               relay_limits_refused_total{rule="ip",outcome="refused"} 0+500x30"#,
        ],
    ),
    (
        "RelayAcceptErrors",
        &["relay_edge_accept_errors_total 0+60x30"],
        &["relay_edge_accept_errors_total 0x28 1x9"],
    ),
    (
        "RelayCertificateFaulty",
        &["relay_tls_certificate_faulty 1x30"],
        &["relay_tls_certificate_faulty 0x28 1 0x9"],
    ),
    (
        "RelayCertificateExpiring",
        &["relay_tls_certificates_expiring 1x30"],
        &["relay_tls_certificates_expiring 0x30"],
    ),
    (
        "RelayCertificateEnds",
        &[
            "relay_tls_certificate_expires_seconds 80000x30\nrelay_tls_certificates_expiring 1x30",
            "relay_tls_certificate_expires_seconds 100x30\nrelay_tls_certificates_expiring 1x30",
        ],
        &[
            // A short life, which has begun.
            "relay_tls_certificate_expires_seconds 80000x30\nrelay_tls_certificates_expiring 0x30",
            "relay_tls_certificate_expires_seconds 99000x30\nrelay_tls_certificates_expiring 1x30",
        ],
    ),
    (
        "RelayAcmeFailing",
        &[r#"relay_acme_orders_total{outcome="failed"} _x9 1 2 3x30"#],
        &[
            r#"relay_acme_orders_total{outcome="failed"} _x9 1x30"#,
            r#"relay_acme_orders_total{outcome="failed"} 0 1 2 3x30
               relay_acme_orders_total{outcome="issued"} 0 0 0 1x30"#,
        ],
    ),
    (
        "RelayTicketKeyMissing",
        &["relay_tls_ticket_key_in_force 0x30"],
        &["relay_tls_ticket_key_in_force 1x28 0 1x9"],
    ),
    (
        "RelayHandshakesFailing",
        &[
            r#"relay_edge_handshakes_failed_total{reason="failed"} 0+120x30
             relay_edge_handshake_seconds_count{kind="full"} 0x30"#,
        ],
        &[
            r#"relay_edge_handshakes_failed_total{reason="failed"} 0+120x30
               relay_edge_handshake_seconds_count{kind="full"} 0+600x30"#,
            // Somebody who tries the port.
            r#"relay_edge_handshakes_failed_total{reason="failed"} 0+9x30
               relay_edge_handshake_seconds_count{kind="full"} 0x30"#,
        ],
    ),
    (
        "RelayLimitsBusy",
        &[r#"relay_limits_refused_total{rule="ip",outcome="refused"} 0+6000x30"#],
        &[
            r#"relay_limits_refused_total{rule="ip",outcome="refused"} 0+600x30"#,
            r#"relay_limits_refused_total{rule="ip",outcome="dry_run"} 0+6000x30"#,
        ],
    ),
    (
        "RelayLimiterCrowded",
        &["relay_limits_shared_entry_total 0+60x30"],
        &["relay_limits_shared_entry_total 60x30"],
    ),
    (
        "RelayAppViewFailing",
        &[r#"relay_blocks_questions_total{outcome="failed"} 0+12x30"#],
        &[r#"relay_blocks_questions_total{outcome="answered"} 0+12x30"#],
    ),
    (
        "RelayDirectoryFailing",
        &[r#"relay_auth_lookups_total{outcome="failed"} _x9 1+30x30"#],
        &[r#"relay_auth_lookups_total{outcome="failed"} 0+3x30
             relay_auth_lookups_total{outcome="found"} 0+60x30"#],
    ),
    (
        "RelaySignaturesWrong",
        &[
            r#"relay_auth_checks_total{outcome="signature_wrong"} 0+30x30
             relay_auth_checks_total{outcome="accepted"} 0+60x30"#,
        ],
        &[r#"relay_auth_checks_total{outcome="signature_wrong"} 0+3x30
             relay_auth_checks_total{outcome="accepted"} 0+60x30"#],
    ),
    (
        SLOWEST,
        &[
            r#"relay_retention_runs_total{task="days",outcome="ok"} 5x360
             relay_retention_runs_total{task="days",outcome="failed"} 0+1x360"#,
        ],
        &[r#"relay_retention_runs_total{task="days",outcome="ok"} 0+0.02x360"#],
    ),
    (
        "RelayPanics",
        &["relay_process_panics_total 0x27 1x9"],
        &["relay_process_panics_total 1x30"],
    ),
    (
        "RelayLogLost",
        &[r#"relay_log_lines_dropped_total{reason="full"} 0x27 1x9"#],
        &[r#"relay_log_lines_dropped_total{reason="repeated"} 0x27 1x9"#],
    ),
    (
        "RelayPrivatePostgresDown",
        &["relay_postgres_up 1 0x30"],
        &["relay_postgres_up 1x28 0 1x9", "other 1x30"],
    ),
];

/// It must fail for five hours.
const SLOWEST: &str = "RelayRetentionFailing";

#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    let alerts = alerts();
    let rules: BTreeMap<_, _> = alerts
        .iter()
        .map(|rule| (text(rule, "/alert"), rule))
        .collect();
    let named: BTreeSet<_> = CASES.iter().map(|(alert, ..)| *alert).collect();
    let known: BTreeSet<_> = rules.keys().copied().collect();
    assert_eq!(named, known);
    // Each alone: in every world all the rules of a file are looked at, minute by minute.
    let dir = tempfile::tempdir().unwrap();
    let write = |name: String, file: Value| {
        let path = dir.path().join(name);
        std::fs::write(&path, file.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut arguments = vec!["test".to_owned(), "rules".to_owned()];
    for (alert, fires, rests) in CASES {
        let group = json!({"name": alert, "rules": [rules[alert]]});
        let rule = write(format!("{alert}.rule"), json!({"groups": [group]}));
        let fires = fires.iter().map(|world| played(alert, world, 1));
        let tests = fires.chain(rests.iter().map(|world| played(alert, world, 0)));
        let file = json!({
            "rule_files": [rule],
            "evaluation_interval": "1m",
            "tests": tests.collect::<Vec<_>>(),
        });
        arguments.push(write(format!("{alert}.test"), file));
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    promtool(&arguments, "");
}

/// The series of a world, of one relay.
pub(crate) fn series(world: &str) -> Value {
    let series = world.lines().map(|line| {
        let (series, values) = line.trim().split_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let series = format!("{name}{{instance=\"a\",job=\"mls-relay\",{labels}");
        json!({"series": series, "values": values})
    });
    series.collect()
}

/// A world of which is asked whether the alert fires.
fn played(alert: &str, world: &str, expected: u8) -> Value {
    let firing = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}");
    json!({
        "name": format!("{alert}: {world}"),
        "interval": "1m",
        "input_series": series(world),
        "promql_expr_test": [{
            "expr": format!("count({firing}) > bool 0 or vector(0)"),
            "eval_time": if alert == SLOWEST { "6h" } else { "30m" },
            "exp_samples": [{"labels": "{}", "value": expected}],
        }],
    })
}
