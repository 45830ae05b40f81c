//! One incident is one page: what another alert explains wakes nobody a second time.

use serde_json::json;

use crate::alerts::series;
use crate::{promtool, root};

/// Incidents of ten minutes and half an hour after each, with all that shows them, and the one
/// alert that wakes someone.
const INCIDENTS: &[(&str, &str)] = &[
    (
        "RelayDatabaseAway",
        r#"relay_store_up 1x4 0x9 1x45
           relay_postgres_up 1x4 0x9 1x45
           relay_events_hearing 2x4 0x9 2x45
           relay_append_failing_seconds 0x4 60+60x10 0x44
           relay_append_queue_items 0x4 2000x9 0x45
           relay_store_errors_total{kind="connection"} 0x4 60+60x9 600x45
           relay_calls_refused_total{status="503"} 0x4 60+60x9 600x45
           relay_call_seconds_count 0+100x60
           up 1x60"#,
    ),
    (
        "RelayDiskFull",
        r#"relay_store_up 1x60
           relay_append_failing_seconds 0x4 60+60x9 0x45
           relay_store_errors_total{kind="disk_full"} 0x4 60+60x9 600x45
           relay_calls_refused_total{status="503"} 0x4 60+60x9 600x45
           relay_call_seconds_count 0+100x60
           up 1x60"#,
    ),
    (
        "RelaySendsFailing",
        r#"relay_store_up 1x60
           relay_append_failing_seconds 0x4 60+60x9 0x45
           relay_calls_refused_total{status="503"} 0x4 60+60x9 600x45
           relay_call_seconds_count 0+100x60
           up 1x60"#,
    ),
];

#[test]
fn an_incident_wakes_someone_once() {
    let dir = tempfile::tempdir().unwrap();
    let tests = INCIDENTS.iter().map(|(alert, world)| {
        let pages = "max_over_time(ALERTS{severity=\"page\",alertstate=\"firing\"}[45m])";
        json!({
            "name": alert,
            "interval": "1m",
            "input_series": series(world),
            "promql_expr_test": [{
                "expr": format!("count by (alertname) ({pages})"),
                "eval_time": "45m",
                "exp_samples": [{"labels": format!("{{alertname=\"{alert}\"}}"), "value": 1}],
            }],
        })
    });
    let file = json!({
        "rule_files": [root().join("deploy/alerts.yml")],
        "evaluation_interval": "1m",
        "tests": tests.collect::<Vec<_>>(),
    });
    let path = dir.path().join("incidents.test");
    std::fs::write(&path, file.to_string()).unwrap();
    promtool(&["test", "rules", path.to_str().unwrap()], "");
}
