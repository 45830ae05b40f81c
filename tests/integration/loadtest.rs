//! The load generator against a built relay: each scenario that comes with it, made
//! small, runs clean, and its report is whole as JSON and as a page.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::load::report::Report;
use mls_relay_loadtest::load::scenario::{Limits, Scenario};
use mls_relay_loadtest::load::timeline::Moment;
use mls_relay_loadtest::load::{Stop, Target, html, run};
use serde_json::Value;
use tokio::time::timeout;

use crate::relay::Home;

/// All scenarios that want such limits, small enough for a few seconds.
fn scenarios(limits: Limits) -> Vec<(String, Scenario)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/scenarios");
    let files = std::fs::read_dir(directory).unwrap();
    let scenarios = files.map(|file| {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, small(Scenario::parse(&text).unwrap()))
    });
    scenarios.filter(|(_, s)| s.limits == limits).collect()
}

fn small(mut scenario: Scenario) -> Scenario {
    scenario.conversations = scenario.conversations.min(2);
    scenario.accounts = 2;
    scenario.sockets = scenario.sockets.min(2);
    scenario.seconds = 3;
    scenario.rate = scenario.rate.min(10.0);
    scenario.settle_seconds = 0.5;
    if let Some(storm) = &mut scenario.storm {
        storm.every_seconds = 1.0;
    }
    if let Some(abuse) = &mut scenario.abuse {
        scenario.seconds = 6;
        abuse.calm_seconds = 1.0;
        // A minute's frames, and some, in the time that there is.
        abuse.frames = 300.0;
    }
    scenario.check().unwrap();
    scenario
}

/// Plays them side by side against one relay.
async fn play(scenarios: Vec<(String, Scenario)>) -> Vec<Report> {
    play_until(scenarios, &Stop::default()).await
}

async fn play_until(scenarios: Vec<(String, Scenario)>, stop: &Stop) -> Vec<Report> {
    let directory = Directory::start().await.unwrap();
    let settings = scenarios.first().unwrap().1.relay_environment();
    let home = Home::lived_in().knowing(&directory).with_all(settings);
    let process = home.start();
    let target = Target {
        relay: process.reach(),
        directory: &directory,
        pid: u32::try_from(process.process().as_raw_nonzero().get()).ok(),
        admin: Some(process.admin),
    };
    let runs = scenarios.iter().map(async |(name, scenario)| {
        let mut said = String::new();
        let report = run(name, scenario, &target, stop, |text| said.push_str(text)).await;
        // Also where no message is due.
        let progress = format!("1/{} s, sent ", scenario.seconds);
        assert!(said.contains(&progress), "{name}: {said}");
        report.unwrap()
    });
    join_all(runs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_with_raised_limits_runs_clean_and_its_report_is_whole() {
    let reports = play(scenarios(Limits::Raised)).await;
    assert!(reports.len() >= 8);
    for report in &reports {
        assert!(report.is_clean, "{}", report.table());
        assert_eq!(report.refused, 0, "{}", report.table());
        is_whole(report);
    }
    let storm = reports.iter().find(|report| report.scenario == "storm");
    let storm = storm.unwrap();
    assert!(storm.reconnects > 0);
    assert!(storm.timeline.moment(Moment::Storm).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_told_to_stop_reports_what_there_was() {
    stopped(Limits::Raised, "soak").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_who_have_not_begun_do_not_hold_up_a_run_that_is_told_to_stop() {
    let report = stopped(Limits::Standing, "abuse").await;
    assert!(report.abuse.unwrap().attacks.is_empty());
}

/// A run of an hour that is told to stop after two seconds.
async fn stopped(limits: Limits, name: &str) -> Report {
    let scenarios = scenarios(limits).into_iter();
    let mut long: Vec<_> = scenarios.filter(|(ours, _)| ours == name).collect();
    long[0].1.seconds = 3600;
    if let Some(abuse) = &mut long[0].1.abuse {
        abuse.calm_seconds = 3000.0;
    }
    let stop = Stop::default();
    let stopping = async {
        // Before the first message there is nothing to report.
        assert!(!stop.tell());
        while !stop.is_heeded() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(stop.tell());
    };
    let played = timeout(PATIENCE, play_until(long, &stop));
    let (reports, ()) = tokio::join!(played, stopping);
    let report = reports.expect("it ends when it is told").pop().unwrap();
    assert!(report.is_cut_short && report.is_clean, "{}", report.table());
    assert!(report.table().contains("told to stop after"));
    is_whole(&report);
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_feels_a_socket_that_does_not_read() {
    let scenarios = scenarios(Limits::Raised).into_iter();
    let mut slow: Vec<_> = scenarios.filter(|(name, _)| name == "slow").collect();
    let scenario = &mut slow[0].1;
    scenario.conversations = 1;
    (scenario.sockets, scenario.seconds, scenario.rate) = (3, 8, 150.0);
    for report in play(slow).await {
        assert!(report.is_clean, "{}", report.table());
        assert!(report.slow.unwrap().overflows > 0, "{}", report.table());
        // What it reads at the end is in no latency and in no rate.
        let relay = report.relay.unwrap();
        let rated = relay.deliveries_per_cpu_second * relay.cpu_seconds;
        assert!(rated < report.delivery.count as f64 + 1.0, "{rated}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hostile_are_limited_and_the_honest_lose_nothing() {
    for report in play(scenarios(Limits::Standing)).await {
        // Clean: each kind of abuse met a limit, and nobody else noticed.
        assert!(report.is_clean, "{}", report.table());
        is_whole(&report);
        let abuse = report.abuse.as_ref().unwrap();
        assert_eq!(abuse.attacks.len(), 5);
        let both = abuse.calm_delivery.count + abuse.attacked_delivery.count;
        assert_eq!(both, report.delivery.count);
        assert!(report.timeline.moment(Moment::Attack).is_some());
        let page = html::page(&report);
        for attack in &abuse.attacks {
            assert!(page.contains(attack.name) && page.contains(&attack.told()));
        }
    }
}

fn is_whole(report: &Report) {
    let points = &report.timeline.points;
    let deliveries: u64 = points.iter().map(|point| point.deliveries).sum();
    let sends: u64 = points.iter().map(|point| point.sends).sum();
    assert_eq!(deliveries, report.delivered);
    assert_eq!(sends, report.sent);
    assert_eq!(report.delivered + report.lost, report.expected);
    assert_eq!((report.absent, report.held_back), (0, 0));
    assert!(report.generator_late.count > 0);
    let live = report.sockets as u64;
    assert!(points.iter().any(|point| point.live == live));
    let mut resident = points.iter().map(|point| point.relay_resident_kib);
    assert!(resident.all(|kib| kib.is_some()));
    for what in [Moment::Begin, Moment::End, Moment::Over] {
        assert!(report.timeline.moment(what).is_some(), "{what:?}");
    }

    let mut gone = report.clone();
    (gone.absent, gone.relay) = (1, None);
    assert_eq!(gone.verdict(), "Not clean: 1 sockets not live at the end.");
    assert!(gone.table().contains("The relay's process ended"));

    let json: Value = serde_json::to_value(report).unwrap();
    for (name, latency) in [
        ("connect", report.connect),
        ("send", report.send),
        ("delivery", report.delivery),
    ] {
        let buckets = json["histograms"][name].as_array().unwrap();
        let count: u64 = buckets.iter().map(|b| b["count"].as_u64().unwrap()).sum();
        assert_eq!(count, latency.count, "{name}");
        assert_eq!(json[name]["count"], latency.count);
    }
    let readme = include_str!("../../loadtest/README.md");
    for field in json.as_object().unwrap().keys() {
        assert!(readme.contains(&format!("`{field}`")), "{field}");
    }
    assert_eq!(json["is_clean"], report.faults().is_empty());
    assert_eq!(json["relay_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["machine"]["cores"], report.machine.cores);

    let page = html::page(report);
    is_well_formed(&page);
    for said in [&report.started, &report.relay_address, &report.verdict()] {
        assert!(page.contains(said), "{said} is not in the page");
    }
    let table = report.table();
    assert!(table.contains(&report.verdict()));
    // A terminal has 80 columns. The sentence about the scenario is its author's.
    let mut figures = table.lines().skip(2).filter(|line| line.contains("   "));
    assert!(figures.all(|line| line.chars().count() <= 80), "{table}");
    for foreign in ["<script", "://", "src=", "@import"] {
        assert!(!page.contains(foreign), "{foreign} in the page");
    }
    let charts = page.matches("<svg").count();
    // Four time lines have values in any run, and there is a histogram of connecting.
    assert!(charts >= 5, "{charts} charts");
    if report.sent > 0 {
        assert_eq!(charts, 9);
    }
}

/// Every tag that opens closes, in order.
fn is_well_formed(page: &str) {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') && !["!doctype", "meta"].contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

/// A busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(100);
